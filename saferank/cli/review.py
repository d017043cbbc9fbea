"""``saferank review``: people decide the edge cases in a browser; ``reviewers``: who may."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from saferank.cli.extras import needs_extra
from saferank.cli.options import CategoryOption, PolicyOption, settings_about
from saferank.cli.output import say, warn
from saferank.connection import clear_errors, connect
from saferank.errors import ConfigurationError
from saferank.ranker import load_policy
from saferank.settings import get_settings

_reviewers = typer.Typer(help="Who may review.", no_args_is_help=True)


class RoleChoice(StrEnum):
    """What somebody may do."""

    REPORT = "report"
    VIEW = "view"
    DECIDE = "decide"
    UNDO_OTHERS = "undo_others"


def register(app: typer.Typer) -> None:
    """Add the command and the group to the command line."""
    app.command(name="review")(review)
    app.add_typer(_reviewers, name="reviewers")


def review(
    index: Annotated[
        str, typer.Argument(help="Index, or the alias that the application uses.", metavar="INDEX")
    ],
    policy: PolicyOption = None,
    sample: Annotated[
        Path | None,
        typer.Option(help="File of 'saferank sample', whose documents become a queue."),
    ] = None,
    category: CategoryOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's needs TLS in front.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8600,
) -> None:
    """Let people decide about the documents of an index, in a browser.

    Add reviewers first, with 'saferank reviewers add', then open http://127.0.0.1:8600.

    With several categories, the thresholds of one of them make the queues. Any but the first needs
    'override_field' set, so that a decision is about the whole document.
    """
    if category is not None and not get_settings().decides_about(category):
        raise ConfigurationError(
            f"decisions say nothing about the category {category!r}, as each has decisions of its "
            "own; set SAFERANK_OVERRIDE_FIELD, and override_field of each category in the "
            "policy, so that a decision is about the whole document"
        )
    settings = settings_about(category)
    rules = load_policy(policy or settings.policy)
    with needs_extra("review"):
        from saferank.review.sample import read_sample
        from saferank.review.web.serve import make_app, serve
    drawn = None if sample is None else read_sample(sample)
    if host not in ("127.0.0.1", "::1", "localhost"):
        warn(f"{host} can be reached from other machines; let a proxy with TLS stand before it")
    client = connect(settings)
    with clear_errors(settings.elasticsearch_url):
        app = make_app(client, index, settings, rules, drawn)
    say(f"review of {index!r} at http://{host}:{port}")
    serve(app, host, port)


@_reviewers.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As it will stand in the log.")],
    role: Annotated[RoleChoice, typer.Option(help="What they may do.")] = RoleChoice.DECIDE,
    token: Annotated[
        bool, typer.Option(help="Make a token; none is needed behind single sign-on.")
    ] = True,
) -> None:
    """Add a reviewer, or an application that reports, and print their token once."""
    from saferank.review.people import Role, add_person

    settings = get_settings()
    made = add_person(settings.review.reviewers, name, Role(role.value), with_token=token)
    if made is not None:
        typer.echo(made)
