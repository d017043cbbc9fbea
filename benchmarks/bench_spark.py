"""Images a second of Spark beside a Celery worker, on one core each and in turns; and the import.

    python benchmarks/bench_spark.py [--images 400] [--rounds 3] [--documents 20000]

Every picture is another one, and nothing is remembered between rounds: each goes through the
net.

What Spark scored is then imported, and its documents are compared with those of the worker; the
import's own speed is measured on documents whose scores are made up.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "faults")]

import pyarrow as pa  # noqa: E402
from bench_decode import photograph  # noqa: E402
from elasticsearch import Elasticsearch, helpers  # noqa: E402
from harness import Node, Valkey  # noqa: E402
from PIL import Image  # noqa: E402
from pyarrow import parquet  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from workers import running_worker  # noqa: E402

from saferank import spark as on_spark  # noqa: E402
from saferank.indexer.brokers import broker_app  # noqa: E402
from saferank.indexer.queue import queue_documents  # noqa: E402
from saferank.indexer.worker.resources import model_identity  # noqa: E402
from saferank.mappings import add_to_index  # noqa: E402
from saferank.settings import FetchSettings, IndexerSettings, Settings  # noqa: E402

MODEL = model_identity("open_nsfw")


def make_index(client: Elasticsearch, name: str, references: Iterator[tuple[str, str]]) -> None:
    properties = {"image": {"type": "keyword", "index": False}}
    client.indices.create(
        index=name,
        mappings={"properties": properties},
        settings={"number_of_replicas": 0},
    )
    add_to_index(client, name)
    lines = ({"_index": name, "_id": id, "image": reference} for id, reference in references)
    helpers.bulk(client, lines)
    client.indices.refresh(index=name)


def score_by_worker(client: Elasticsearch, name: str, ids: list[str], settings: Settings) -> float:
    began = time.monotonic()
    queue_documents(name, ids, app=broker_app(settings), settings=settings)
    done = {"exists": {"field": "safety.status"}}
    while True:
        client.indices.refresh(index=name)
        if client.count(index=name, query=done)["count"] == len(ids):
            return time.monotonic() - began
        time.sleep(0.1)


def stored(client: Elasticsearch, name: str) -> dict[str, Any]:
    client.indices.refresh(index=name)
    found = {hit["_id"]: hit["_source"] for hit in helpers.scan(client, index=name)}
    for one in found.values():
        one["safety"].pop("scored_at")
    return found


def imported(name: str, path: Path, environment: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "saferank.cli", "import", name, str(path)],
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - began


def made_up(folder: Path, count: int) -> Path:
    def safety(number: int) -> dict[str, Any]:
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        image = {"reference": f"{number}.jpg", "sha256": digest, "probability": 0.25}
        size = {"frames": 1, "frame_count": 1, "width": 400, "height": 300}
        at = "2026-01-01T00:00:00.000+00:00"
        return {"model": MODEL, "scored_at": at, "images": [{**image, **size}]}

    path = folder / "made_up.parquet"
    ids = [str(number) for number in range(count)]
    parquet.write_table(pa.table({"id": ids, "safety": [*map(safety, range(count))]}), path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=20_000)
    asked = parser.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), asked.images, asked.rounds, asked.documents)


def measure(folder: Path, images: int, rounds: int, documents: int) -> None:
    folder.chmod(0o755)
    picture = photograph((400, 300))
    every = []
    for number in range(images):
        path = folder / f"{number}.jpg"
        picture.rotate(360 * number / images, Image.Resampling.BILINEAR).save(path)
        every.append((str(number), f"file:{path}"))
    node, broker = Node(folder / "node"), Valkey(folder / "broker")
    node.start()
    broker.start()
    environment = {
        "SAFERANK_ELASTICSEARCH_URL": node.url,
        "SAFERANK_BROKER_URL": broker.url,
        "SAFERANK_FETCH__FILE_ROOTS": str(folder),
        "SAFERANK_INDEXER__DIGESTS": "0",
    }
    settings = Settings(
        elasticsearch_url=node.url,
        broker_url=broker.url,
        fetch=FetchSettings(file_roots=(folder,)),
        indexer=IndexerSettings(digests=0),
    )
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    table = Table("round", "worker, images/s", "Spark, images/s", "ratio")
    frame = spark.createDataFrame(every, "id string, image string").coalesce(1)
    path = folder / "scores.parquet"
    try:
        client = Elasticsearch(node.url)
        with running_worker(environment, folder / "log"):
            make_index(client, "first", iter(every[:1]))
            score_by_worker(client, "first", ["0"], settings)
            on_spark.score(frame.limit(1), settings=settings).collect()
            for number in range(1, rounds + 1):
                index = f"round{number}"
                make_index(client, index, iter(every))
                by_worker = score_by_worker(client, index, [id for id, _ in every], settings)
                began = time.monotonic()
                scored = on_spark.score(frame, settings=settings)
                scored.write.mode("overwrite").parquet(str(path))
                by_spark = time.monotonic() - began
                table.add_row(
                    str(number),
                    f"{images / by_worker:.1f}",
                    f"{images / by_spark:.1f}",
                    f"{by_worker / by_spark:.2f}",
                )
        console = Console()
        console.print(table)
        make_index(client, "imported", iter(every))
        imported("imported", path, environment)
        same = stored(client, "imported") == stored(client, index)
        console.print(f"{images} imported documents equal the worker's: {same}")
        rows = ((str(number), f"{number}.jpg") for number in range(documents))
        make_index(client, "made_up", rows)
        seconds = imported("made_up", made_up(folder, documents), environment)
        console.print(f"import: {documents / seconds:,.0f} documents a second ({documents:,})")
    finally:
        spark.stop()
        broker.stop()
        node.stop(hard=True)


if __name__ == "__main__":
    main()
