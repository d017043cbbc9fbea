"""``saferank index``: score documents of an index, here or by the workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from saferank.cli.extras import needs_extra
from saferank.cli.indices import check_ready
from saferank.cli.options import AsJson, parse_query
from saferank.cli.output import make_console, print_json, say
from saferank.connection import clear_errors, connect
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.report import Outcome, Report
from saferank.mappings.fields import SafetyFields
from saferank.settings import Settings, get_settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch
    from rich.console import Console

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(index)


def index(
    name: Annotated[str, typer.Argument(metavar="INDEX", help="Index or alias.")],
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Document ids.", show_default="those never scored"),
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="An Elasticsearch query as JSON, instead of ids.")
    ] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Let the workers do it, without waiting for them.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Score known images again, and also those that crashed workers."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score the images of documents and store the result with them.

    Exits with 1 when a document is missing or could not be stored, or when an image failed. Images
    of kinds that are not read do not count as failed.
    """
    parsed = parse_query(query)
    if ids and parsed is not None:
        raise typer.BadParameter("give ids or --query, not both", param_hint="--query")
    if queue and force:
        raise typer.BadParameter("only without --queue", param_hint="--force")
    settings = get_settings()
    console = make_console(stderr=True)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        check_ready(client, name, settings)
        if ids:
            chosen: Iterable[tuple[str, list[DocumentKey]]] = [(name, [*map(DocumentKey, ids)])]
        else:
            chosen = _selected(client, settings, name, parsed)
        if queue:
            _queue(settings, chosen, as_json=as_json)
        elif not _score(settings, chosen, console, force=force, as_json=as_json):
            raise typer.Exit(1)


def _selected(
    client: Elasticsearch, settings: Settings, name: str, query: dict[str, object] | None
) -> Iterator[tuple[str, list[DocumentKey]]]:
    """Walk through the documents of a query, or those never scored, by concrete index."""
    from saferank.indexer.bulk.pages import pages
    from saferank.indexer.jobs.selection import Only, Selection

    selection = Selection(Only.MISSING) if query is None else Selection(Only.ALL, query)
    each = [selection.to_query(fields, model="") for fields in SafetyFields.each(settings)]
    wanted = {"bool": {"should": each}}
    for page in pages(client, name, wanted, size=settings.indexer.chunk_size):
        for concrete, found in groupby(page, key=lambda one: one.index):
            yield concrete, [one.key for one in found]


def _queue(
    settings: Settings, chosen: Iterable[tuple[str, list[DocumentKey]]], *, as_json: bool
) -> None:
    with needs_extra("queue"):
        from saferank.indexer.brokers import broker_app
        from saferank.indexer.queue import queue_documents

    app = broker_app(settings)
    documents = tasks = 0
    for concrete, keys in chosen:
        tasks += queue_documents(concrete, keys, app=app, settings=settings)
        documents += len(keys)
    if as_json:
        print_json({"documents": documents, "tasks": tasks})
    else:
        typer.echo(f"{documents} documents in {tasks} tasks wait for a worker")


def _score(
    settings: Settings,
    chosen: Iterable[tuple[str, list[DocumentKey]]],
    console: Console,
    *,
    force: bool,
    as_json: bool,
) -> bool:
    with needs_extra("indexer"):
        from saferank.indexer.score.scoring import score_documents
        from saferank.indexer.worker.resources import make_resources

    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks([])  # What is tried again in vain ends in one sentence.

    size = settings.indexer.chunk_size
    total = Report()
    columns = (SpinnerColumn(), TextColumn("scoring"), MofNCompleteColumn())
    with console.status("loading the model"):
        resources = make_resources(settings)
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("scoring", total=None)
        for concrete, keys in chosen:
            for start in range(0, len(keys), size):
                chunk = keys[start : start + size]
                report = score_documents(
                    resources.pipeline,
                    resources.store,
                    concrete,
                    chunk,
                    force=force,
                    memory=resources.memory,
                )
                total.add(report)
                progress.advance(bar, len(chunk))
    if as_json:
        print_json(total.to_json())
    else:
        show_report(total)
    return not (total.missing or total.rejected or total.waiting or total.counts[Outcome.FAILED])


def show_report(report: Report) -> None:
    """Print the outcome as a table, and name the documents at fault."""
    table = Table("outcome", "documents")
    table.columns[1].justify = "right"
    for outcome in Outcome:
        if report.counts[outcome] or outcome is Outcome.SCORED:
            table.add_row(outcome.value, str(report.counts[outcome]))
        if outcome is Outcome.FAILED:
            for code, count in sorted(report.failures.items()):
                table.add_row(f"  {code}", str(count))
    make_console().print(table)
    for image in report.examples.values():
        say(f"such as {image}")
    for key in report.missing[:_SHOWN]:
        say(f"no such document: {key.id}")
    for key, reason in list(report.rejected.items())[:_SHOWN]:
        say(f"not stored: {key.id}: {reason}")
