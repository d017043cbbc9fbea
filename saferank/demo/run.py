"""The demo from end to end: real pictures, a real worker, one search at every level."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from celery import Celery
from elasticsearch import Elasticsearch, helpers
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from saferank import local
from saferank.connection import connect
from saferank.demo.page import Column, Credit, Onward, Row, render, write
from saferank.demo.pictures import Picture, pictures
from saferank.demo.search import search_levels
from saferank.errors import ConfigurationError, ServiceUnavailable
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.local.folders import cache_folder
from saferank.mappings import SafetyFields, add_to_index
from saferank.models.description import load_description, locate
from saferank.ranker import load_policy
from saferank.settings import IndexerSettings, Settings

INDEX = "saferank-demo"

# A queue of its own: another worker on the same broker may not read the demo's pictures.
_QUEUE = "saferank.demo"
_MODEL = "open_nsfw"
_CHUNK = 10

_WORKER_TIMEOUT = 120
_SCORING_TIMEOUT = 600
_POLL_SECONDS = 0.25


def run(words: str, *, page: Path, keep: bool) -> None:
    """Run the demo: prints a table and writes a page.

    Args:
        words: searched in the pictures' titles.
        page: where the page goes.
        keep: leave the local stack running.

    Raises:
        ServiceUnavailable: a part could not be started, or a score is missing.
        ModelNotFound: the model's weights are not here yet.
    """
    console = Console()
    locate(*load_description(_MODEL))  # what is missing is said before anything is started
    with _running_stack(console, keep=keep) as stack:
        columns = show(stack, words, page=page, console=console)
    console.print(_table(words, columns))
    console.print(
        "All these pictures are harmless. The demo's thresholds are far below useful ones, so "
        "that some are demoted and hidden."
    )
    console.print(f"\nThe page:  [bold]{page.resolve().as_uri()}[/bold]", soft_wrap=True)
    if keep:
        console.print(
            'The stack runs on. Use it:  [bold]eval "$(saferank stack env)"[/bold]   '
            "Stop it:  [bold]saferank stack down[/bold]",
            soft_wrap=True,
        )


def show(stack: local.Stack, words: str, *, page: Path, console: Console) -> list[Column]:
    """Score the demo's pictures on a running stack, search them, and write the page.

    Returns:
        The search at each level, from the loosest to the strictest.

    Raises:
        ServiceUnavailable: the worker did not start, or did not score all pictures.
        ConfigurationError: nothing was found.
    """
    scored = _score_pictures(stack, console)
    policy_text = (files("saferank.demo") / "policy.yaml").read_text(encoding="utf-8")
    with _connected(stack) as client:
        columns = search_levels(client, load_policy(policy_text), INDEX, words)
        stored = _stored(client)
    if not columns[0].hits:
        raise ConfigurationError(f"no title has any of the words {words!r}; try others")
    credits = [
        Credit(
            picture.name,
            picture.title,
            picture.source,
            picture.licence,
            stored[picture.name].get("probability"),
        )
        for picture in scored.catalogue
    ]
    html = render(
        query=words,
        columns=columns,
        credits=credits,
        pictures=scored.made,
        policy=policy_text,
        facts=_facts(stack, scored, stored),
        onward=_onward(page.parent),
    )
    write(page, html)
    return columns


@dataclass(frozen=True, slots=True)
class _Scored:
    """The demo's pictures in the index, scored.

    Args:
        catalogue: what is known of them.
        made: the pictures by name.
        start_seconds: how long the worker took to be ready.
        score_seconds: from the request to the last score stored.
    """

    catalogue: list[Picture]
    made: Mapping[str, Image.Image]
    start_seconds: float
    score_seconds: float


@contextmanager
def _running_stack(console: Console, *, keep: bool) -> Iterator[local.Stack]:
    """Yield the user's local stack; one that was started here is stopped unless ``keep``."""
    already_running = local.status() is not None
    with console.status("looking for a running stack") as progress:
        stack = local.up(stay=keep, report=progress.update)
    try:
        yield stack
    finally:
        if not keep and not already_running:
            with console.status("stopping the services"):
                local.down()


def _score_pictures(stack: local.Stack, console: Console) -> _Scored:
    """Index the demo's pictures and have a worker score them, asked through the broker.

    Raises:
        ServiceUnavailable: the worker did not start, or ended before all were scored.
    """
    folder = cache_folder() / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    with console.status("painting and cutting out the pictures"):
        catalogue = list(pictures())
        made = {picture.name: picture.make() for picture in catalogue}
        for name, image in made.items():
            image.save(folder / "pictures" / f"{name}.jpg", quality=92)
    with _connected(stack) as client:
        with console.status("indexing the pictures"):
            _create_index(client, catalogue, folder / "pictures")
        settings = Settings(
            broker_url=stack.broker.url,
            indexer=IndexerSettings(fresh_queue=_QUEUE, chunk_size=_CHUNK),
        )
        app = create_app(settings)
        started = time.monotonic()
        with console.status("starting a worker"):
            worker = _start_worker(stack, app, folder)
        try:
            ready = time.monotonic()
            queue_documents(INDEX, map(DocumentKey, made), app=app, settings=settings)
            _wait_for_scores(client, len(made), worker, console)
            scored = time.monotonic()
        finally:
            with console.status("stopping the worker"):
                worker.stop()
    return _Scored(catalogue, made, start_seconds=ready - started, score_seconds=scored - ready)


def _connected(stack: local.Stack) -> Elasticsearch:
    settings = Settings(engine=stack.engine, elasticsearch_url=stack.elasticsearch.url)
    return connect(settings, timeout=60)


def _create_index(client: Elasticsearch, catalogue: list[Picture], folder: Path) -> None:
    client.indices.delete(index=INDEX, ignore_unavailable=True)
    client.indices.create(
        index=INDEX,
        settings={"number_of_shards": 1, "number_of_replicas": 0},
        mappings={
            "properties": {
                "title": {"type": "text"},
                "image": {"type": "keyword", "index": False},
                "source": {"type": "keyword"},
                "licence": {"type": "keyword"},
            }
        },
    )
    add_to_index(client, INDEX)
    helpers.bulk(
        client,
        (
            {
                "_index": INDEX,
                "_id": picture.name,
                "title": picture.title,
                "image": (folder / f"{picture.name}.jpg").as_uri(),
                "source": picture.source,
                "licence": picture.licence,
            }
            for picture in catalogue
        ),
        refresh="wait_for",
    )


def _start_worker(stack: local.Stack, app: Celery, folder: Path) -> local.Service:
    return local.Service.start(
        "Worker",
        [sys.executable, "-m", "saferank.cli", "worker", "--queues", "fresh"],
        folder=folder,
        environment={
            **os.environ,
            **stack.environment,
            "SAFERANK_FIELD": SafetyFields().root,
            "SAFERANK_IMAGE_FIELD": "image",
            "SAFERANK_MODEL": _MODEL,
            "SAFERANK_FETCH__FILE_ROOTS": json.dumps([str(folder / "pictures")]),
            "SAFERANK_INDEXER__FRESH_QUEUE": _QUEUE,
        },
        find_url=lambda: stack.broker.url if app.control.ping(timeout=0.5) else None,
        timeout=_WORKER_TIMEOUT,
    )


def _wait_for_scores(
    client: Elasticsearch, wanted: int, worker: local.Service, console: Console
) -> None:
    deadline = time.monotonic() + _SCORING_TIMEOUT
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("scoring through the broker", total=wanted)
        while (done := _scored(client)) < wanted:
            progress.update(task, completed=done)
            if not worker.running or time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"the worker stored {done} of {wanted} scores and then no more; "
                    f"its log is {worker.log}"
                )
            time.sleep(_POLL_SECONDS)


def _scored(client: Elasticsearch) -> int:
    client.indices.refresh(index=INDEX)
    exists = {"exists": {"field": SafetyFields().status}}
    return int(client.count(index=INDEX, query=exists)["count"])


def _stored(client: Elasticsearch) -> dict[str, dict[str, Any]]:
    """Return what the worker stored about each picture."""
    found = client.search(index=INDEX, size=1000, source_includes=[SafetyFields().root])
    return {hit["_id"]: hit["_source"][SafetyFields().root] for hit in found["hits"]["hits"]}


def _facts(
    stack: local.Stack, scored: _Scored, stored: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    rate = len(stored) / scored.score_seconds
    return {
        "Search engine": f"{stack.engine_version}, one node on this machine",
        "Broker": "Valkey on this machine, asked with Celery",
        "Worker": f"ready in {scored.start_seconds:.1f} s",
        "Scoring": f"{len(stored)} pictures in {scored.score_seconds:.1f} s ({rate:.0f} a second), "
        "from the request to the last stored score",
        "Model": ", ".join(sorted({str(fields.get("model")) for fields in stored.values()})),
    }


_PAGES = (
    ("Build it yourself, step by step: ", "the tutorial", "tutorial.md"),
    ("In your application: ", "put it into an application", "how-to/integrate.md"),
    ("Your own thresholds: ", "from labels, with a guarantee", "how-to/thresholds.md"),
    ("Which way in: ", "client, DSL, aliases or gateway", "how-to/ways.md"),
    ("Everything else: ", "all pages", "index.md"),
)


def _onward(folder: Path) -> list[Onward]:
    """What to read next, with addresses as seen from a folder; installed, there are no pages."""
    docs = Path(str(files("saferank"))).resolve().parent / "docs"
    return [
        Onward(
            before,
            name if (docs / path).exists() else f"{name} (docs/{path})",
            os.path.relpath(docs / path, folder.resolve()) if (docs / path).exists() else None,
        )
        for before, name, path in _PAGES
    ]


def _table(words: str, columns: Sequence[Column]) -> Table:
    """Lay the levels side by side, one line a document, in the order of the loosest level."""
    table = Table(
        title=f"“{words}”: place in the list at each level, and the factor of demoted pictures",
        title_justify="left",
    )
    table.add_column("title")
    table.add_column("probability", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.level, justify="right", no_wrap=True)
    by_level = [{row.name: row for row in (*column.hits, *column.hidden)} for column in columns]
    for row in columns[0].hits:
        places = [_place(rows[row.name]) for rows in by_level]
        probability = "none" if row.probability is None else f"{row.probability:.4f}"
        table.add_row(Text(row.title, no_wrap=True, overflow="ellipsis"), probability, *places)
    return table


def _place(row: Row) -> Text:
    if row.rank is None:
        return Text("hidden", style="red")
    if row.action == "demoted":
        return Text(f"x {row.factor:.2f}  {row.rank:>2}", style="yellow")
    return Text(f"{row.rank:>2}", style="green" if row.moved > 0 else "")
