"""A million documents whose pictures are known by their bytes: how fast, and how flat.

    python tests/faults/throughput.py [--documents 1000000]

The documents hold what is known about their picture, and lack the fields that queries use, as
after a change of the mapping. So nothing goes through the model, and every document is written.
The yardstick is ``elasticsearch.helpers.bulk`` updating the same fields of the same number of
documents, run before and after the backfill. Both are limited by this machine's one node.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch, helpers
from harness import Node, Producer, Valkey, Workers, data_uri, environment, png, started

from saferank.indexer.jobs.records import Job, Jobs
from saferank.indexer.worker.resources import model_identity
from saferank.mappings import add_to_index
from saferank.mappings.record import ImageRecord, SafetyRecord
from saferank.settings import Settings

INDEX = "pictures"
MODEL = model_identity("open_nsfw")
PICTURES = [png(level) for level in range(256)]
REFERENCES = [data_uri(data) for data in PICTURES]
IMAGES = [
    {
        "reference": reference,
        "sha256": hashlib.sha256(data).hexdigest(),
        "probability": 0.25,
        "frames": 1,
        "width": 8,
        "height": 8,
    }
    for reference, data in zip(REFERENCES, PICTURES, strict=True)
]


def documents(count: int) -> Iterator[dict[str, Any]]:
    for n in range(count):
        yield {
            "_index": INDEX,
            "_id": str(n),
            "title": f"picture {n}",
            "image": REFERENCES[n % 256],
            "safety": {"model": MODEL, "images": [IMAGES[n % 256]]},
        }


def updates(count: int) -> Iterator[dict[str, Any]]:
    """The very fields that scoring writes."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    records = [SafetyRecord(MODEL, at, (ImageRecord.from_document(one),)) for one in IMAGES]
    stored = [record.to_document() for record in records]
    for n in range(count):
        yield {
            "_op_type": "update",
            "_index": INDEX,
            "_id": str(n),
            "doc": {"safety": stored[n % 256]},
        }


def fill(client: Elasticsearch, count: int) -> None:
    client.options(ignore_status=404).indices.delete(index=INDEX)
    client.indices.create(
        index=INDEX,
        settings={"number_of_shards": 2, "number_of_replicas": 0},
        mappings={"dynamic": False, "properties": {"title": {"type": "text"}}},
    )
    add_to_index(client, INDEX)
    for _ in helpers.parallel_bulk(client, documents(count), thread_count=2, chunk_size=1000):
        pass
    client.indices.refresh(index=INDEX)


def yardstick(client: Elasticsearch, count: int, chunk: int) -> float:
    """Documents a second of the bulk helper, on a fresh index."""
    fill(client, count)
    began = time.monotonic()
    helpers.bulk(client, updates(count), chunk_size=chunk)
    return count / (time.monotonic() - began)


def finished(client: Elasticsearch) -> Job | None:
    jobs = [job for job in Jobs(client, "saferank-jobs").all() if job.state.finished]
    return jobs[0] if jobs else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--yardstick", type=int, default=200_000, help="documents of each")
    parser.add_argument("--chunk", type=int, default=2000, help="documents of a task and a bulk")
    parser.add_argument("--workers", type=int, default=3, help="each with one child")
    arguments = parser.parse_args()
    count = arguments.documents
    with tempfile.TemporaryDirectory(prefix="saferank-throughput-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        node, broker = Node(folder / "node", heap="1g"), Valkey(folder / "broker")
        with started(node, broker):
            client = Elasticsearch(node.url, request_timeout=120)
            before = yardstick(client, arguments.yardstick, arguments.chunk)
            print(f"helpers.bulk: {before:,.0f} documents/s", flush=True)
            fill(client, count)
            settings = Settings(elasticsearch_url=node.url, broker_url=broker.url)
            noted = folder / "inferences"
            env = environment(settings, TEST_INFERENCES=str(noted))
            workers = Workers(arguments.workers, env, folder / "worker.log")
            pace = ("--chunk", str(arguments.chunk), "--in-flight", "16", "--slices", "2")
            producer = Producer(env, folder / "producer.log", INDEX, *pace)
            samples: list[tuple[float, float, list[float], int]] = []
            closing = threading.Event()
            began = time.monotonic()

            def sample() -> None:
                while not closing.wait(max(2.0, count / 100_000)):
                    now = time.monotonic() - began
                    samples.append(
                        (now, producer.megabytes(), workers.megabytes(), broker.memory())
                    )

            sampler = threading.Thread(target=sample)
            sampler.start()
            try:
                producer.run(lambda: finished(client) is not None, 7200)
            finally:
                closing.set()
                sampler.join()
                workers.stop()
            job = finished(client)
            assert job is not None
            assert job.finished_at is not None
            seconds = (job.finished_at - job.started_at).total_seconds()
            lost_views = (folder / "producer.log").read_text().count("waits:")
            after = yardstick(client, arguments.yardstick, arguments.chunk)
            inferences = len(noted.read_text().split()) if noted.exists() else 0
    speed = count / seconds
    print(f"helpers.bulk again: {after:,.0f} documents/s")
    print(
        f"backfill: {count:,} documents in {seconds:.0f} s, {speed:,.0f} documents/s, "
        f"{speed / ((before + after) / 2):.2f} of helpers.bulk"
    )
    print(
        f"counts {job.counts}, walks {job.passes}, inferences {inferences}, "
        f"frozen views lost {lost_views}, producer starts {producer.starts}"
    )
    print("seconds  producer MB  workers MB (each with its child)  broker MB")
    for now, produced, worked, stored in samples[:: max(1, len(samples) // 5)]:
        print(f"{now:7.0f}  {produced:11.0f}  {worked}  {stored / 2**20:.1f}")
    sys.exit(0 if job.counts.get("scored") == count and not inferences else 1)


if __name__ == "__main__":
    main()
