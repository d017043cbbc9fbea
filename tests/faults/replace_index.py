"""Copy an index into a new one and move its alias, with writes and searches going on.

    python tests/faults/replace_index.py [--documents 5000] [--rate 200]

While the reindex runs, a client writes through the alias (new documents, changes,
decisions, deletes), and searches go through it at a strict level, at which neither a document
with the word ``hidden`` nor an unscored one may appear. Then all of it again in a rollback.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import harness
from brightness import data_uri, png
from elasticsearch import Elasticsearch, helpers
from rich.console import Console
from rich.table import Table
from workers import running_worker
from writer import Writer

from saferank.indexer.jobs.records import Job, Jobs, Pace
from saferank.indexer.jobs.selection import Selection
from saferank.indexer.reindex.merge import digest
from saferank.indexer.reindex.start import start_reindex, start_rollback
from saferank.indexer.reindex.steps import Reindex
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import model_identity
from saferank.local.stack import temporary_stack
from saferank.mappings import add_to_index
from saferank.mappings.fields import SafetyFields
from saferank.ranker import SafeSearch, load_policy
from saferank.settings import IndexerSettings, Settings

# Each has documents of its own, so that each knows what must be there.
WRITERS = 4
POLICY = """
version: 1
levels:
  off: {}
  strict: {hide_from: 0.5, unscored: hide}
contexts:
  - {level: strict}
"""


class Searcher:
    """Searches through the alias, and counts what must not be."""

    def __init__(self, url: str, alias: str) -> None:
        self.searches = self.failed = self.seen_hidden = self.empty = 0
        self.slowest = 0.0
        self._client = Elasticsearch(url, request_timeout=60, max_retries=0)
        self._safe = SafeSearch(self._client, load_policy(POLICY))
        self._alias = alias
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Searcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                found = self._safe.search(index=self._alias, query={"match_all": {}}, size=200)
                hits = found["hits"]["hits"]
                self.seen_hidden += sum(_must_be_hidden(hit["_source"]) for hit in hits)
                self.empty += not hits
            except Exception as error:
                self.failed += 1
                print(f"search failed: {error!r}")
            self.searches += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.02)


def _must_be_hidden(document: dict[str, Any]) -> bool:
    """Bright or unscored, and no person allowed it."""
    safety = document.get("safety", {})
    if safety.get("override") == "allow":
        return False
    probability = safety.get("probability")
    return "hidden" in document["title"] or probability is None or probability >= 0.5


def fill(client: Elasticsearch, index: str, alias: str, count: int) -> dict[str, dict[str, Any]]:
    """Make the old index; dark pictures are harmless, bright ones are to be hidden."""
    client.indices.create(
        index=index,
        settings={"number_of_shards": 2, "number_of_replicas": 0},
        mappings={
            "dynamic": "strict",
            "properties": {
                "image": {"type": "keyword", "index": False, "doc_values": False},
                "title": {"type": "text"},
            },
        },
        aliases={alias: {}},
    )
    add_to_index(client, index)
    documents = {}
    for n in range(count):
        bright = n % 2
        level = (200 if bright else 20) + n % 50
        picture = data_uri(png(level, (4 + n // 100 % 1000, 4 + n // 100_000)))
        documents[f"d{n}"] = {"image": picture, "title": "hidden" if bright else f"fine {n}"}
    actions = ({"_index": index, "_id": id, **document} for id, document in documents.items())
    helpers.bulk(client, actions, refresh=True)
    return documents


def compare(
    client: Elasticsearch, index: str, expected: dict[str, dict[str, Any]], settings: Settings
) -> tuple[int, int, int, int]:
    """Count documents: stored, missing, too many, different."""
    client.indices.refresh(index=index)
    stored = {hit["_id"]: hit["_source"] for hit in helpers.scan(client, index=index)}
    roots = [SafetyFields.of(settings).root]
    wrong = sum(
        digest(stored[id], roots) != digest(document, roots)
        for id, document in expected.items()
        if id in stored
    )
    return len(stored), len(expected.keys() - stored), len(stored.keys() - expected), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--elasticsearch", help="a running node instead of a private one")
    parser.add_argument("--broker", help="a running broker instead of a private one")
    options = parser.parse_args()
    console = Console()
    right = True
    unique = uuid.uuid4().hex[:8]
    old, new, alias = f"fault-{unique}-1", f"fault-{unique}-2", f"fault-{unique}"
    with ExitStack() as stack:
        if options.elasticsearch is None:
            services = stack.enter_context(temporary_stack())
            urls = services.elasticsearch.url, services.broker.url
        else:
            urls = options.elasticsearch, options.broker
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings(
            elasticsearch_url=urls[0],
            broker_url=urls[1],
            indexer=IndexerSettings(
                fresh_queue=f"fresh-{unique}",
                backfill_queue=f"backfill-{unique}",
                jobs_index=f"fault-jobs-{unique}",
            ),
        )
        environment = harness.environment(settings)
        client = stack.enter_context(Elasticsearch(urls[0], request_timeout=60))
        stack.callback(
            client.indices.delete,
            index=[old, new, settings.indexer.jobs_index],
            ignore_unavailable=True,
        )
        expected = fill(client, old, alias, options.documents)
        app = create_app(settings)
        jobs = Jobs(client, settings.indexer.jobs_index)
        stack.enter_context(running_worker(environment, folder / "worker.log", fast=True))
        job = Job(
            index=alias,
            field=settings.field,
            model=model_identity(settings.model),
            selection=Selection(),
            pace=Pace(settings.indexer.chunk_size, settings.indexer.in_flight, slices=2),
            into=new,
        )
        table = Table(title=f"{options.documents} documents, {options.rate:g} writes a second")
        for column in (
            "move",
            "seconds",
            "writes",
            "writes refused, s",
            "longest wait of a write, s",
            "documents",
            "lost",
            "too many",
            "different",
            "unscored at the end",
            "searches",
            "failed",
            "hidden seen",
            "slowest, s",
        ):
            table.add_column(column, justify="right")
        began = time.monotonic()
        for name, start in (
            ("forward", lambda: start_reindex(client, jobs, job)),
            ("back", lambda: start_rollback(client, jobs, job)),
        ):
            began = time.monotonic()
            last = ""

            def report(now: Job, phase: str, copied: int, began: float = began) -> None:
                nonlocal last
                if phase != last:
                    console.print(f"{time.monotonic() - began:7.2f} s  {phase}, {copied} copied")
                    last = phase

            parts = [dict(list(expected.items())[n::WRITERS]) for n in range(WRITERS)]
            writers = [
                Writer(urls[0], alias, part, rate=options.rate / WRITERS, seed=10 * len(name) + n)
                for n, part in enumerate(parts)
            ]
            with ExitStack() as busy, Searcher(urls[0], alias) as searcher:
                for writer in writers:
                    busy.enter_context(writer)
                done = Reindex(client, app, settings, jobs, start(), report=report).run()
                time.sleep(2)
            seconds = time.monotonic() - began
            target = next(iter(client.indices.get_alias(name=alias)))
            assert target == (new if name == "forward" else old), target
            for writer in writers:
                if writer.errors:
                    raise writer.errors[0]
            expected = {id: document for part in parts for id, document in part.items()}
            acknowledged = sum(writer.acknowledged for writer in writers)
            found, lost, extra, different = compare(client, target, expected, settings)
            unscored = client.count(
                index=target, query={"bool": {"must_not": {"exists": {"field": "safety.status"}}}}
            )["count"]
            table.add_row(
                name,
                f"{seconds:.1f}",
                f"{acknowledged} ({acknowledged / seconds:.0f}/s)",
                f"{done.progress['block_seconds']:.2f}",
                f"{max(writer.longest_wait for writer in writers):.2f}",
                f"{found} of {len(expected)}",
                str(lost),
                str(extra),
                str(different),
                str(unscored),
                str(searcher.searches),
                str(searcher.failed),
                str(searcher.seen_hidden),
                f"{searcher.slowest:.2f}",
            )
            right &= not (lost or extra or different or searcher.failed or searcher.seen_hidden)
        Console(width=200).print(table)
    if not right:
        raise SystemExit("not as it must be")


if __name__ == "__main__":
    main()
