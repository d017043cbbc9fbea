"""``saferank review-log``: what reviewers decided, and making it true again."""

from __future__ import annotations

from typing import Annotated

import typer

from saferank.cli.extras import needs_extra
from saferank.cli.output import say, warn
from saferank.connection import clear_errors, connect
from saferank.review.projection import Projection
from saferank.settings import get_settings

_review_log = typer.Typer(help="The log of what reviewers decided.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_review_log, name="review-log")


@_review_log.command()
def rebuild(
    index: Annotated[str | None, typer.Argument(help="Index or alias, as in the review.")] = None,
) -> None:
    """Restore every override and every open item from the review log.

    For documents that were rewritten, restored or copied without their overrides. Exits with 1 when
    an override could not be written.
    """
    settings = get_settings()
    written = kept = failed = 0
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        with needs_extra("indexer"):
            projection = Projection.of(client, settings)
        projection.log.install()
        projection.work.install()
        for one in projection.rebuild(index):
            if one.problem is not None:
                failed += 1
                warn(one.problem)
            elif one.kept:
                kept += 1
            else:
                written += 1
    say(
        f"{written} documents are as the log says; {kept} were decided about elsewhere since and "
        f"left; {failed} could not be written"
    )
    if failed:
        raise typer.Exit(1)
