"""``saferank import``: scores that Spark made, into an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saferank.cli.extras import needs_extra
from saferank.cli.index import show_report
from saferank.cli.indices import check_ready
from saferank.cli.output import say
from saferank.connection import clear_errors, connect
from saferank.indexer.score.report import Outcome, Report
from saferank.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(name="import")(import_scores)


def import_scores(
    name: Annotated[str, typer.Argument(metavar="INDEX", help="Index or alias.")],
    scores: Annotated[
        Path, typer.Argument(help="Parquet with the columns id and safety.", show_default=False)
    ],
    category: Annotated[str | None, typer.Option(help="Category, if there are several.")] = None,
) -> None:
    """Store scores that were made elsewhere, as a worker would have stored its own.

    A document whose images have changed since is left for a worker to score. Exits with 1 when a
    document is missing or could not be stored.
    """
    with needs_extra("spark"):
        from saferank.indexer.score.imported import Imported, read_scores
        from saferank.indexer.score.scoring import score_documents
        from saferank.indexer.storage.store import DocumentStore
        from saferank.indexer.worker.resources import model_identity

    every = get_settings()
    settings = every if category is None else every.of_category(category)
    if len(settings.categories) > 1:
        named = ", ".join(settings.categories)
        raise typer.BadParameter(f"say which of {named} they are for", param_hint="--category")
    model = model_identity(settings.model)
    total = Report()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        check_ready(client, name, settings)
        store = DocumentStore.of(client, every, [settings.field])
        for records in read_scores(scores, model):
            total.add(score_documents(Imported(model, records), store, name, [*records]))
    changed = len(total.rest)
    total.counts[Outcome.WAITING] -= changed
    show_report(total)
    if changed:
        say(f"{changed} documents have other images than were scored; they are left to the workers")
    if total.missing or total.rejected or total.waiting:
        raise typer.Exit(1)
