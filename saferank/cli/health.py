"""``saferank health``: for orchestrators and operators."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from saferank.cli.extras import needs_extra
from saferank.cli.options import AsJson
from saferank.cli.output import make_console, print_json
from saferank.cli.policy import inexact_thresholds
from saferank.connection import connect
from saferank.errors import SaferankError
from saferank.ranker import load_policy
from saferank.review.operator import check_overrides
from saferank.settings import Settings, get_settings

_TIMEOUT = 5.0


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(health)


def health(
    indices: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INDEX]...", help="Indices that must have the safety fields."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Only check whether the workers of this machine answer.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check whether documents that are queued now would be scored and stored.

    Checks Elasticsearch, the mapping of the named indices, the broker, a worker for each queue, the
    workers' settings and files, and whether the policy's thresholds lie where the model is exact.
    Exits with 1 when a check fails. With --live it only says whether to restart a worker that
    hangs: services that are away do not count, since a restart would not bring them back.
    """
    if live and indices:
        raise typer.BadParameter("--live looks at no index")
    with needs_extra("indexer"):
        from saferank.indexer.operate import health as checks
        from saferank.indexer.worker.app import create_app

    settings = get_settings()
    app = create_app(settings)
    if live:
        result = checks.live(app)
    else:
        with connect(settings, timeout=_TIMEOUT) as client:
            model = _models(settings)
            result = checks.ready(client, app, settings, indices or (), model=model)
        if (fault := _unfit(settings)) is not None:
            result = checks.Health((*result.checks, checks.Check("policy", False, fault)))
    if as_json:
        print_json(result.to_json())
    else:
        table = Table(show_header=False)
        for check in result.checks:
            state = "ok" if check.ok else "[red]fault[/red]"
            table.add_row(state, escape(check.name), escape(check.detail))
        make_console().print(table)
    if not result.ok:
        raise typer.Exit(1)


def _unfit(settings: Settings) -> str | None:
    """What is wrong between the policy and the settings, where the policy is on this machine."""
    if not settings.policy.is_file():
        return None
    try:
        policy = load_policy(settings.policy)
        check_overrides(policy, settings)
        faults = inexact_thresholds(policy, settings.model)
    except SaferankError as error:
        return str(error)
    return "; ".join(faults) or None


def _models(settings: Settings) -> str | None:
    """The models' identities, where their files are on this machine: an application needs none."""
    from saferank.indexer.worker.resources import model_identities

    try:
        return ", ".join(model_identities(settings).values())
    except SaferankError:
        return None
