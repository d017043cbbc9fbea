"""Break everything around a backfill while another client works on the same documents.

    python tests/faults/survive.py [--documents 5000] [--broker valkey|rabbitmq] [--fault NAME ...]

Each fault is tried in a run of its own, then all in one run. Faults strike whenever another share
of the documents has been through the model, so that a slow machine or a small index has as many of
them as any other, and each after work was done. After each run every live document
must be scored for the image that it has, or failed with a code; no decision of a person may have
changed, no deleted document may be back, and no field of the application may differ.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch, helpers
from harness import Node, Producer, Workers, data_uri, environment, make_broker, png, started
from rich.console import Console
from rich.table import Table

from saferank.errors import ServiceUnavailable
from saferank.indexer.brokers import queue_length
from saferank.indexer.jobs.records import Jobs
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import model_identity
from saferank.mappings import add_to_index
from saferank.mappings.float32 import as_probability
from saferank.mappings.record import reference_name
from saferank.settings import IndexerSettings, Settings

INDEX = "pictures"
MODEL = model_identity("open_nsfw")


def picture(number: int) -> tuple[str, float]:
    """A picture of its own bytes, and its probability."""
    level = number % 256
    return data_uri(png(level, (8 + number // 256, 8))), as_probability(level / 255)


def _inferences(noted: Path) -> int:
    """How many images have been through the model until now."""
    return noted.read_text().count("\n") if noted.exists() else 0


@dataclass
class Expected:
    """What the application wrote last."""

    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)
    probability: dict[str, float] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)


class Application(threading.Thread):
    """Another client: updates, new images, decisions, new documents and deletes, all the while."""

    def __init__(self, client: Elasticsearch, settings: Settings, expected: Expected) -> None:
        super().__init__()
        self._client = client
        self._settings = settings
        self._app = create_app(settings)
        self._expected = expected
        self._random = random.Random(7)
        self._next = 1_000_000
        self.closing = threading.Event()
        self.writes: Counter[str] = Counter()

    def run(self) -> None:
        actions = [self.update, self.update, self.decide, self.new_image, self.create, self.delete]
        while not self.closing.wait(0.03):
            action = self._random.choice(actions)
            action()
            self.writes[action.__name__] += 1

    def _surely(self, call: Callable[[], object]) -> None:
        while True:
            try:
                call()
                return
            except (TransportError, ApiError, ServiceUnavailable):
                time.sleep(0.5)

    def _any(self) -> str:
        while True:
            id = self._random.choice(list(self._expected.fields))
            if id not in self._expected.rejected:
                return id

    def _write(self, id: str, doc: dict[str, Any]) -> None:
        self._surely(lambda: self._client.update(index=INDEX, id=id, doc=doc, retry_on_conflict=50))

    def _queue(self, id: str) -> None:
        self._surely(
            lambda: queue_documents(
                INDEX, [DocumentKey(id)], app=self._app, settings=self._settings
            )
        )

    def update(self) -> None:
        id = self._any()
        self._expected.fields[id]["price"] = self._random.random()
        self._write(id, {"price": self._expected.fields[id]["price"]})

    def decide(self) -> None:
        id = self._any()
        decision = self._random.choice(["allow", "block"])
        self._expected.overrides[id] = decision
        self._write(id, {"safety": {"override": decision, "override_by": "someone"}})

    def _fresh_picture(self, id: str) -> str:
        self._next += 1
        reference, probability = picture(self._next)
        self._expected.probability[id] = probability
        return reference

    def new_image(self) -> None:
        id = self._any()
        reference = self._fresh_picture(id)
        self._expected.fields[id]["image"] = reference
        self._write(id, {"image": reference})
        self._queue(id)

    def create(self) -> None:
        id = f"new{self._next}"
        document = {"image": self._fresh_picture(id), "title": f"title {id}", "price": 1.0}
        self._surely(lambda: self._client.index(index=INDEX, id=id, document=document))
        self._expected.fields[id] = document
        self._queue(id)

    def delete(self) -> None:
        id = self._any()
        del self._expected.fields[id]
        self._expected.deleted.add(id)
        self._expected.overrides.pop(id, None)
        self._surely(lambda: self._client.options(ignore_status=404).delete(index=INDEX, id=id))


class Run:
    """One index, one backfill, some faults."""

    def __init__(self, node: Node, broker: Any, folder: Path, documents: int, strikes: int) -> None:
        self.node, self.broker, self.folder = node, broker, folder
        self.documents, self.strikes = documents, strikes
        self.random = random.Random(11)
        self.faults: Counter[str] = Counter()
        self.turned_away = 0
        self.client = Elasticsearch(node.url, request_timeout=60, max_retries=0)
        self.expected = Expected()
        self.settings = Settings(
            elasticsearch_url=node.url,
            broker_url=broker.url,
            indexer=IndexerSettings(chunk_size=32, store_patience=20.0),
        )

    def fill(self, conflicts: bool) -> None:
        self.client.indices.delete(index=f"{INDEX},saferank-jobs,flood", ignore_unavailable=True)
        self.client.indices.create(
            index=INDEX,
            settings={"number_of_shards": 2, "number_of_replicas": 0},
            mappings={
                "dynamic": False,
                "properties": {
                    "image": {"type": "keyword", "index": False, "doc_values": False},
                    "title": {"type": "text"},
                    "price": {"type": "float"},
                },
            },
        )
        for number in range(self.documents):
            id = str(number)
            reference, probability = picture(number)
            document = {"image": reference, "title": f"title {id}", "price": 0.5}
            if conflicts and number % 100 == 50:
                document["stock"] = "many"
                self.expected.rejected.add(id)
            if number % 200 == 7:
                document["image"] = reference[:60]  # cut short
                probability = -1.0
            self.expected.fields[id] = document
            self.expected.probability[id] = probability
            if number % 50 == 3:
                self.expected.overrides[id] = "block"
        helpers.bulk(
            self.client,
            (
                {
                    "_index": INDEX,
                    "_id": id,
                    **document,
                    **(
                        {"safety": {"override": self.expected.overrides[id]}}
                        if id in self.expected.overrides
                        else {}
                    ),
                }
                for id, document in self.expected.fields.items()
            ),
            refresh=True,
        )
        # From now on, what some documents hold no longer fits their mapping.
        self.client.indices.put_mapping(index=INDEX, properties={"stock": {"type": "integer"}})
        add_to_index(self.client, INDEX)

    def go(self, names: list[str]) -> dict[str, Any]:
        self.fill("mapping conflict" in names)
        noted = self.folder / f"inferences-{time.time_ns()}"
        env = environment(self.settings, TEST_INFERENCES=str(noted), TEST_SECONDS="0.01")
        workers = Workers(2, env, self.folder / "worker.log")
        producer = Producer(env, self.folder / "producer.log", INDEX, "--in-flight", "16")
        application = Application(self.client, self.settings, self.expected)
        done = threading.Event()
        breaker = threading.Thread(target=self._break, args=(names, workers, producer, noted, done))
        began = time.monotonic()
        try:
            application.start()
            breaker.start()
            producer.run(self._finished, 900)
            application.closing.set()
            done.set()
            breaker.join()
            application.join()
            self._settle(env)
            wall = time.monotonic() - began
            memory = workers.megabytes()
        finally:
            application.closing.set()
            done.set()
            producer.kill()
            workers.stop()
        return {
            "wall": wall,
            "producers": producer.starts,
            "writes": sum(application.writes.values()),
            "memory": memory,
            **self._check(noted),
        }

    def _finished(self) -> bool:
        with suppress(ApiError, TransportError):
            job = Jobs(self.client, "saferank-jobs").find(f"{INDEX}.safety.missing")
            return job is not None and job.state.finished
        return False

    def _settle(self, env: dict[str, str]) -> None:
        """Let the fresh documents of the last moments be scored."""
        app = create_app(self.settings)
        deadline = time.monotonic() + 420
        while time.monotonic() < deadline:
            self.client.indices.refresh(index=INDEX)
            if not queue_length(app, "saferank.fresh") and not self._unsettled():
                return
            time.sleep(1)

    def _unsettled(self) -> list[str]:
        return [
            hit["_id"]
            for hit in helpers.scan(self.client, index=INDEX, size=2000)
            if hit["_id"] not in self.expected.rejected and not self._right(hit)
        ]

    def _right(self, hit: dict[str, Any]) -> bool:
        safety = hit["_source"].get("safety", {})
        if self.expected.probability.get(hit["_id"]) == -1.0 or safety.get("status") == "failed":
            return safety.get("status") == "failed" and bool(safety.get("error"))
        return (
            safety.get("status") == "scored"
            and safety["model"] == MODEL
            and safety["probability"] == self.expected.probability.get(hit["_id"])
            and safety["images"][0]["reference"] == reference_name(hit["_source"]["image"])
        )

    def _break(
        self,
        names: list[str],
        workers: Workers,
        producer: Producer,
        noted: Path,
        done: threading.Event,
    ) -> None:
        actions: dict[str, Callable[[], None]] = {
            "kill worker child": lambda: workers.kill_child(self.random.randrange(2)),
            "kill worker": lambda: workers.kill_worker(self.random.randrange(2)),
            "kill producer": producer.kill,
            "restart broker": lambda: self._restart(self.broker, hard=False),
            "kill broker": lambda: self._restart(self.broker, hard=True),
            "restart Elasticsearch": lambda: self._restart(self.node, hard=False),
            "full write queue": self._flood,
        }
        chosen = [name for name in names if name in actions]
        if not chosen:
            return
        self.faults.update(dict.fromkeys(chosen, 0))
        strikes = max(self.strikes, len(chosen))
        bag: list[str] = []
        for number in range(1, strikes + 1):
            share = number / (strikes + 1)
            while _inferences(noted) < share * self.documents:
                if done.wait(0.2):
                    return
            bag = bag or self.random.sample(chosen, len(chosen))  # each once before any again
            name = bag.pop()
            actions[name]()
            self.faults[name] += 1

    def _restart(self, service: Any, *, hard: bool) -> None:
        service.stop(hard=hard)
        service.start()

    def _flood(self) -> None:
        """Fill the node's short write queue from many threads for some seconds."""
        self.client.options(ignore_status=[400, 404]).indices.create(
            index="flood", settings={"number_of_shards": 30, "number_of_replicas": 0}
        )
        end = time.monotonic() + 5

        def pour() -> None:
            client = Elasticsearch(self.node.url, request_timeout=30, max_retries=0)
            operations: list[dict[str, Any]] = []
            for number in range(600):
                operations += [{"index": {}}, {"text": "word " * 20, "n": number}]
            while time.monotonic() < end:
                with suppress(ApiError, TransportError):
                    items = client.bulk(index="flood", operations=operations)["items"]
                    self.turned_away += sum(item["index"]["status"] == 429 for item in items)

        threads = [threading.Thread(target=pour) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _check(self, noted: Path) -> dict[str, Any]:
        self.client.indices.refresh(index=INDEX)
        found = {hit["_id"]: hit for hit in helpers.scan(self.client, index=INDEX, size=2000)}
        lost, changed, overridden = [], [], []
        codes: Counter[str] = Counter()
        for id, wanted in self.expected.fields.items():
            hit = found.get(id)
            source = {} if hit is None else dict(hit["_source"])
            safety = source.pop("safety", {})
            if source != wanted:
                changed.append(id)
            if safety.get("override") != self.expected.overrides.get(id):
                overridden.append(id)
            if id not in self.expected.rejected and (hit is None or not self._right(hit)):
                lost.append(id)
            if safety.get("status") == "failed":
                codes[safety["error"]] += 1
        inferences = Counter(noted.read_text().split())
        return {
            "live": len(self.expected.fields),
            "lost": lost,
            "changed": changed,
            "overridden": overridden,
            "resurrected": sorted(set(found) & self.expected.deleted),
            "codes": dict(codes),
            "inferences": sum(inferences.values()),
            "images": len(inferences),
            "most": max(inferences.values()),
        }


FAULTS = [
    "kill worker child",
    "kill worker",
    "kill producer",
    "restart broker",
    "kill broker",
    "restart Elasticsearch",
    "full write queue",
    "mapping conflict",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--broker", choices=["valkey", "rabbitmq"], default="valkey")
    parser.add_argument("--fault", action="append", choices=[*FAULTS, "none", "all"])
    parser.add_argument(
        "--strikes", type=int, default=3, help="faults in a run, or as many as it has kinds of them"
    )
    parser.add_argument("--keep", type=Path, help="folder for logs, kept")
    arguments = parser.parse_args()
    runs = {"none": [], **{name: [name] for name in FAULTS}, "all": FAULTS}
    table = Table(
        "run", "faults", "documents", "writes", "wall s", "inferences/image", "failed", "wrong"
    )
    console = Console(width=200)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="saferank-faults-") as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        Path(scratch).chmod(0o755)
        settings: dict[str, Any] = {"thread_pool.write.size": 1, "thread_pool.write.queue_size": 12}
        node = Node(Path(scratch) / "elasticsearch", **settings)
        broker = make_broker(arguments.broker, Path(scratch) / "broker")
        with started(node, broker):
            for name in arguments.fault or runs:
                run = Run(node, broker, folder, arguments.documents, arguments.strikes)
                result = run.go(runs[name])
                problems = {
                    kind: result[kind]
                    for kind in ("lost", "changed", "overridden", "resurrected")
                    if result[kind]
                }
                if missed := [fault for fault, n in run.faults.items() if not n]:
                    problems["never came"] = missed
                wrong += len(problems)
                table.add_row(
                    name,
                    ", ".join(f"{n} x {fault}" for fault, n in run.faults.items())
                    + (f", {run.turned_away} x 429" if run.turned_away else ""),
                    str(result["live"]),
                    str(result["writes"]),
                    f"{result['wall']:.0f}",
                    f"{result['inferences'] / result['images']:.3f} (most {result['most']})",
                    ", ".join(f"{n} {code}" for code, n in result["codes"].items()),
                    ", ".join(f"{len(v)} {kind} {v[:3]}" for kind, v in problems.items())
                    or "lost = 0",
                )
                console.print(f"{name}: done, {problems or 'nothing wrong'}, {result['memory']} MB")
    console.print(table)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
