"""What one core scores in a second, what a worker process holds, and what a task costs the broker.

    python benchmarks/bench_sizing.py [--seconds 10] [--broker URL]

Images per second: one process, all threads of the model on one core, photographs of about half a
megapixel from memory, so without the network. Memory: resident, of a process that has scored two
tasks of them as a worker's does. Broker: bytes of memory per queued task, by the
number of documents in it, on a private Valkey unless ``--broker`` names another.
"""

from __future__ import annotations

import argparse
import base64
import io
import multiprocessing
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import redis
from PIL import Image
from rich.console import Console
from rich.table import Table

from saferank.indexer.decode import Decoded, decode
from saferank.indexer.documents import Document
from saferank.indexer.fetch import Fetcher
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import send
from saferank.indexer.score.pipeline import Pipeline
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import make_pipeline
from saferank.local.valkey import start_broker
from saferank.mappings import Status
from saferank.models import load_model
from saferank.settings import DecodeSettings, FetchSettings, IndexerSettings, Settings

CHUNK = IndexerSettings().chunk_size
TASKS = 2000
# As long as those that Elasticsearch gives its clusters.
INSTALLATION = "aGVsbG8tdGhlcmUtMTIzNA/saferank-jobs"


def photograph(number: int) -> bytes:
    """A JPEG with the detail of a photograph; each number is another image."""
    random = np.random.default_rng(number)
    small = random.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((800, 600), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def as_documents(pictures: list[bytes]) -> list[Document]:
    references = ["data:image/jpeg;base64," + base64.b64encode(data).decode() for data in pictures]
    return [Document(DocumentKey(str(n)), (name,)) for n, name in enumerate(references)]


def resident_megabytes() -> float:
    """Score two tasks in this process, which has done nothing else, and see what it holds then."""
    pipeline = make_pipeline(Settings(indexer=IndexerSettings(digests=0)))
    for task in range(2):
        numbers = range(task * CHUNK, (task + 1) * CHUNK)
        pipeline.score(as_documents([photograph(number) for number in numbers]))
    return psutil.Process().memory_info().rss / 2**20


def images_per_second(seconds: float) -> dict[str, float]:
    """Score chunks for a while, and give the rate by stage and in all, per core."""
    pictures = [photograph(number) for number in range(CHUNK)]
    model = load_model("open_nsfw")
    settings = DecodeSettings()

    def decoder(data: bytes) -> Decoded:
        return decode(data, settings)

    pipeline = Pipeline(model, Fetcher(FetchSettings()).fetch, decoder)
    documents = as_documents(pictures)
    frames = [decode(data, settings).frames[0] for data in pictures]
    blobs = np.stack([model.preprocess(frame) for frame in frames[:16]])
    assert all(one.record.status is Status.SCORED for one in pipeline.score(documents[:16]))
    rates: dict[str, list[float]] = {}
    process = psutil.Process()
    end = time.monotonic() + seconds
    stages = {
        "decode": (CHUNK, lambda: [decode(data, settings) for data in pictures]),
        "preprocess": (CHUNK, lambda: [model.preprocess(frame) for frame in frames]),
        "infer": (16, lambda: model.probabilities(blobs)),
        "all": (CHUNK, lambda: pipeline.score(documents)),
    }
    while time.monotonic() < end:
        for name, (count, call) in stages.items():
            # Time on the processor, of children too: other programs do not count.
            before = sum(process.cpu_times()[:4])
            call()
            used = sum(process.cpu_times()[:4]) - before
            rates.setdefault(name, []).append(count / max(used, 0.01))
    return {name: statistics.median(values) for name, values in rates.items()}


@contextmanager
def valkey(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory() as folder:
        broker = start_broker(Path(folder))
        try:
            yield broker.url
        finally:
            broker.stop()


def broker_bytes(url: str, documents: int, *, job: bool) -> float:
    """Queue tasks and give the memory that each takes."""
    queue = f"bench-{uuid.uuid4().hex[:8]}"
    settings = Settings(broker_url=url)
    app = create_app(settings)
    server = redis.Redis.from_url(url)
    # Ids like those that Elasticsearch makes.
    keys = [DocumentKey(uuid.uuid4().hex[:20]) for _ in range(documents)]
    chunk = {"job": "products.safety.missing", "since": "2026-01-01T00:00:00+00:00", "chunk": "1"}
    send(app, "products", keys, queue, installation=INSTALLATION, job=chunk if job else None)
    before = int(server.info("memory")["used_memory"])
    for _ in range(TASKS):
        send(app, "products", keys, queue, installation=INSTALLATION, job=chunk if job else None)
    after = int(server.info("memory")["used_memory"])
    server.delete(queue)
    return (after - before) / TASKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--broker")
    options = parser.parse_args()
    console = Console()
    table = Table("stage", "images per second of one core", title="one process")
    table.columns[1].justify = "right"
    for name, rate in images_per_second(options.seconds).items():
        table.add_row(name, f"{rate:.1f}")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        resident = pool.apply(resident_megabytes)
    table.caption = f"{os.cpu_count()} cores here; a worker process holds {resident:.0f} MB"
    console.print(table)
    table = Table("documents in a task", "bytes per queued task", "per document", title="broker")
    for column in table.columns:
        column.justify = "right"
    with valkey(options.broker) as url:
        for documents in (1, 64, 256):
            used = broker_bytes(url, documents, job=documents > 1)
            table.add_row(str(documents), f"{used:,.0f}", f"{used / documents:,.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
