"""Indices, brokers and hosts of images that misbehave while documents are scored.

    python tests/faults/surroundings.py [--fault NAME ...] [--documents 300] [--away 300]

silent host     accepts and never answers; a document refers to 256 of its images
slow host       two seconds an image, beside a fast one in the same chunks
away host       answers 503 for --away seconds in the middle of a backfill
flood stage     the index refuses writes for a full disk for 40 s; a backfill and uploads
too large       a proxy answers 413 to what is larger than 64 kB
alias moved     to a new index with the same documents, in mid-backfill
rollover        of an alias, in mid-backfill and between uploads
installations   two clusters share one broker and the names of their queues
saves           1,000 whole-document writes of blocked documents, under the eyes of a searcher
other settings  a worker of the same queues looks for images in another field
made anew       the index is deleted and made again in mid-backfill, without and with the fields

In each, nothing may be lost or changed, no worker may be killed, and exit codes must be true.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch, helpers
from harness import Node, Producer, Valkey, Workers, data_uri, environment, png, started
from pictures import PictureServer, running_pictures
from proxy import running_proxy
from rich.console import Console
from rich.table import Table

from saferank.indexer.jobs.records import Jobs
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.mappings import SafetyFields, add_to_index
from saferank.mappings.override_index import install_overrides, override
from saferank.mappings.overrides import HOLDS, OverrideRecord
from saferank.mappings.record import Override
from saferank.ranker.client.client import SafeSearch
from saferank.ranker.policy.load import load_policy
from saferank.settings import IndexerSettings, Settings

SLOW, FAST = "127.0.0.1", "localhost"
FLOOD = "index.blocks.read_only_allow_delete"
FIELDS = SafetyFields()
POLICY = """
version: 1
overrides: {kept}
levels:
  moderate: {{demote_from: 0.2, hide_from: 0.8, unscored: show}}
contexts:
  - {{level: moderate}}
"""
Documents = dict[str, dict[str, Any]]


class Place:
    """One installation: a cluster's index, its workers and its backfills."""

    def __init__(self, url: str, broker: str, folder: Path, count: int, **more: str) -> None:
        self.client = Elasticsearch(url, request_timeout=60)
        self.settings = Settings(
            elasticsearch_url=url,
            broker_url=broker,
            indexer=IndexerSettings(store_patience=10.0, jobs_index=f"jobs-{folder.name}"),
        )
        self.env = environment(
            self.settings,
            SAFERANK_FETCH__ALLOW_PRIVATE_ADDRESSES="true",
            TEST_INFERENCES=str(folder / "inferences"),
            **more,
        )
        self.folder = folder
        self.count = count
        self.expected: dict[str, Documents] = {}
        self.too_late = 0
        self.began = time.monotonic()

    def fill(self, index: str, documents: Documents) -> None:
        if not self.client.indices.exists(index=index):
            self.client.indices.create(
                index=index,
                settings={"number_of_replicas": 0},
                mappings={"properties": {"image": {"type": "keyword", "index": False}}},
            )
            add_to_index(self.client, index)
        self.expected.setdefault(index, {}).update(documents)
        actions = ({"_index": index, "_id": id, **one} for id, one in documents.items())
        helpers.bulk(self.client, actions, refresh=True)

    def pictures(self, start: int = 0) -> Documents:
        return {
            f"d{n}": {"image": data_uri(png(n % 256, (8 + n // 256, 8)))}
            for n in range(start, start + self.count)
        }

    @contextmanager
    def workers(self) -> Iterator[None]:
        self.began = time.monotonic()
        workers = Workers(2, self.env, self.folder / "worker.log")
        try:
            yield
        finally:
            workers.stop()

    def upload(self, index: str, ids: list[str]) -> None:
        queue_documents(index, ids, app=create_app(self.settings), settings=self.settings)

    def backfill(self, index: str, seconds: float = 900) -> int:
        """Run the command to its end, and give its exit code."""
        producer = Producer(self.env, self.folder / "producer.log", index)
        jobs = Jobs(self.client, self.settings.indexer.jobs_index)
        producer.run(lambda: any(job.state.finished for job in jobs.all()), seconds)
        assert producer.process is not None
        return producer.process.returncode

    def backfill_once(self, index: str) -> int:
        """Run the command once, whatever ran before, and give its exit code."""
        command = [sys.executable, "-m", "saferank.cli", "backfill", index]
        with (self.folder / "producer.log").open("ab") as log:
            done = subprocess.run(
                command, env={**os.environ, **self.env}, stdout=log, stderr=log, check=False
            )
        return done.returncode

    def in_mid_backfill(self, index: str, action: Callable[[], object]) -> None:
        """Do something while a backfill runs; a problem of its own when that ended before."""
        self.wait(lambda: self.scored(index) > self.count // 5)
        action()
        jobs = Jobs(self.client, self.settings.indexer.jobs_index)
        self.too_late += all(job.state.finished for job in jobs.all())

    def scored(self, index: str, prefix: str = "") -> int:
        return sum(
            id.startswith(prefix) and safety.get("status") == "scored"
            for id, safety in self.safety(index).items()
        )

    def safety(self, index: str) -> dict[str, dict[str, Any]]:
        self.client.indices.refresh(index=index)
        hits = helpers.scan(self.client, index=index)
        return {hit["_id"]: hit["_source"].get("safety", {}) for hit in hits}

    def wait(self, done: Callable[[], bool], seconds: float = 300) -> float:
        """Wait, and give the seconds since the workers began; they are below zero if in vain."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                return -1.0
            time.sleep(0.2)
        return time.monotonic() - self.began

    def problems(self, failed: str = "none") -> dict[str, int]:
        """Documents that are lost (no score) or changed, and workers' children that were killed."""
        lost = changed = 0
        for index, documents in self.expected.items():
            self.client.indices.refresh(index=index)
            found = {hit["_id"]: hit["_source"] for hit in helpers.scan(self.client, index=index)}
            for id, wanted in documents.items():
                source = dict(found.get(id, {}))
                status = source.pop("safety", {}).get("status")
                lost += status != ("failed" if id.startswith(failed) else "scored")
                changed += source != wanted
        log = (self.folder / "worker.log").read_text()
        killed = log.count("Hard time limit")
        return {"lost": lost, "changed": changed, "killed": killed, "too late": self.too_late}


class Runs:
    """The faults, each on an index and with queues of its own."""

    def __init__(self, node: Node, folder: Path, count: int, away: float) -> None:
        self._node = node
        self._folder = folder
        self._count = count
        self._away = away

    @contextmanager
    def _place(self, url: str | None = None, **more: str) -> Iterator[Place]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        broker = Valkey(folder / "broker")
        with started(broker):
            yield Place(url or self._node.url, broker.url, folder, self._count, **more)

    @contextmanager
    def _hosts(self, **more: str) -> Iterator[tuple[Place, PictureServer, str]]:
        with running_pictures() as pictures, self._place(**more) as place:
            index = f"hosts-{place.folder.name}"
            both = {
                f"{name}{n}": {"image": pictures.url(host, n)}
                for n in range(self._count // 2)
                for name, host in (("slow", SLOW), ("fast", FAST))
            }
            place.fill(index, both)
            yield place, pictures, index

    def silent_host(self) -> tuple[dict[str, int], str]:
        limits = {"SAFERANK_FETCH__TIMEOUT": "2", "SAFERANK_INDEXER__TIME_LIMIT": "30"}
        with self._hosts(**limits) as (place, pictures, index):
            pictures.silent.add(SLOW)
            many = {"slow-many": {"image": [pictures.url(SLOW, n) for n in range(256)]}}
            place.fill(index, many)
            with place.workers():
                place.upload(index, [*place.expected[index]])
                fast = place.wait(lambda: place.scored(index, "fast") >= self._count // 2)
                place.wait(lambda: all(place.safety(index).values()))
            asked = pictures.requests[SLOW]
            return place.problems("slow"), f"the other host's in {fast:.0f} s, {asked} requests"

    def slow_host(self) -> tuple[dict[str, int], str]:
        with self._hosts() as (place, pictures, index):
            pictures.seconds[SLOW] = 2.0
            code: list[int] = []
            with place.workers():
                running = threading.Thread(target=lambda: code.append(place.backfill(index)))
                running.start()
                most = self._count // 2 * 9 // 10
                fast = place.wait(lambda: place.scored(index, "fast") >= most)
                slow = place.wait(lambda: place.scored(index, "slow") >= most)
                running.join()
            return (
                {**place.problems(), "exit code": code[0]},
                f"90 % of the fast host's in {fast:.0f} s, of the slow one's in {slow:.0f} s",
            )

    def away_host(self) -> tuple[dict[str, int], str]:
        with self._hosts() as (place, pictures, index), place.workers():
            pictures.status[SLOW] = 503
            back = threading.Timer(self._away, pictures.status.clear)
            back.start()
            code = place.backfill(index)
            wall = time.monotonic() - place.began
            return (
                {**place.problems(), "exit code": code},
                f"away {self._away:.0f} s, {wall:.0f} s in all, {pictures.requests[SLOW]} requests",
            )

    def flood_stage(self) -> tuple[dict[str, int], str]:
        with self._place() as place:
            index = f"flood-{place.folder.name}"
            place.fill(index, place.pictures())
            settings = place.client.indices.put_settings
            settings(index=index, settings={FLOOD: True})
            lift = threading.Timer(40, settings, kwargs={"index": index, "settings": {FLOOD: None}})
            with place.workers():
                lift.start()
                place.upload(index, [*place.expected[index]][:30])
                code = place.backfill(index)
                place.wait(lambda: place.scored(index) == self._count)
            looked = len((place.folder / "inferences").read_text().split())
            return {**place.problems(), "exit code": code}, f"{looked} images decoded"

    def too_large(self) -> tuple[dict[str, int], str]:
        with running_proxy(self._node.url, most_bytes=64 * 1024) as (url, refused):
            with self._place() as place:
                index = f"large-{place.folder.name}"
                images = [data_uri(png(level, (9, 9))) for level in range(30)]
                place.fill(index, {f"d{n}": {"image": images, "n": n} for n in range(128)})
                place.env["SAFERANK_ELASTICSEARCH_URL"] = url
                with place.workers():
                    code = place.backfill(index)
            looked = len((place.folder / "inferences").read_text().split())
            detail = f"{len(refused)} requests refused, {looked} images decoded"
            return {**place.problems(), "exit code": code}, detail

    def alias_moved(self) -> tuple[dict[str, int], str]:
        with self._place(TEST_SECONDS="0.1") as place:
            alias = f"alias-{place.folder.name}"
            for number in (1, 2):
                place.fill(f"{alias}-{number}", place.pictures())
            place.client.indices.put_alias(index=f"{alias}-1", name=alias)
            actions = [
                {"remove": {"index": f"{alias}-1", "alias": alias}},
                {"add": {"index": f"{alias}-2", "alias": alias}},
            ]

            def move() -> None:
                place.client.indices.update_aliases(actions=actions)

            with place.workers():
                moving = threading.Thread(target=place.in_mid_backfill, args=(f"{alias}-1", move))
                moving.start()
                code = place.backfill(alias)
                moving.join()
            del place.expected[f"{alias}-1"]
            return {**place.problems(), "exit code": code}, ""

    def rollover(self) -> tuple[dict[str, int], str]:
        with self._place(TEST_SECONDS="0.1") as place:
            alias = f"roll-{place.folder.name}"
            place.fill(f"{alias}-000001", place.pictures())
            both = {"index": f"{alias}-000001", "alias": alias, "is_write_index": True}
            place.client.indices.update_aliases(actions=[{"add": both}])

            def roll() -> None:
                mapping = place.client.indices.get_mapping(index=f"{alias}-000001")
                mappings = mapping[f"{alias}-000001"]["mappings"]
                place.client.indices.rollover(alias=alias, mappings=mappings)
                place.fill(f"{alias}-000002", place.pictures(self._count))
                old, new = (list(place.expected[f"{alias}-00000{n}"])[-10:] for n in (1, 2))
                place.upload(alias, [*old, *new])

            first = f"{alias}-000001"
            with place.workers():
                rolling = threading.Thread(target=place.in_mid_backfill, args=(first, roll))
                rolling.start()
                code = place.backfill(alias)
                rolling.join()
                place.wait(lambda: place.scored(alias) == 2 * self._count, 60)
            return {**place.problems(), "exit code": code}, ""

    def installations(self) -> tuple[dict[str, int], str]:
        with ExitStack() as stack:
            other = Node(self._folder / "other-node")
            first = stack.enter_context(self._place())
            stack.enter_context(started(other))
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            second = Place(other.url, first.settings.broker_url, folder, self._count)
            found: dict[str, int] = {}
            uploads = [f"up{n}" for n in range(60)]
            for place in (first, second):
                place.fill("pictures", place.pictures())
                stack.enter_context(place.workers())

            def run(name: str, place: Place) -> None:
                found[f"exit code {name}"] = place.backfill("pictures")

            threads = [
                threading.Thread(target=run, args=("1", first)),
                threading.Thread(target=run, args=("2", second)),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            images = [*first.pictures(self._count).values()][:60]
            first.fill("pictures", dict(zip(uploads, images, strict=True)))
            first.upload("pictures", uploads)
            wall = first.wait(lambda: first.scored("pictures", "up") == 60)
            for number, place in enumerate((first, second), 1):
                found |= {f"{name} {number}": count for name, count in place.problems().items()}
            return found, f"{wall:.0f} s"

    def saves(self) -> tuple[dict[str, int], str]:
        kept = f"kept-{time.time_ns():x}"
        with self._place(SAFERANK_OVERRIDES=kept) as place:
            index = f"saves-{place.folder.name}"
            place.fill(index, place.pictures())
            install_overrides(place.client, kept)
            blocked = [*place.expected[index]][:10]
            for id in blocked:
                override(place.client, kept, FIELDS, index, id, OverrideRecord(Override.BLOCK, "a"))
            time.sleep(HOLDS)
            safe = SafeSearch(place.client, load_policy(POLICY.format(kept=kept)))
            closing, shown, searches = threading.Event(), set[str](), [0]

            def look() -> None:
                while not closing.is_set():
                    answer = safe.search(index=index, query={"ids": {"values": blocked}})
                    shown.update(hit["_id"] for hit in answer["hits"]["hits"])
                    searches[0] += 1

            searcher = threading.Thread(target=look)
            with place.workers():
                searcher.start()
                for number in range(1000):
                    id = blocked[number % len(blocked)]
                    document = {"image": data_uri(png(number % 256, (9, 9)))}
                    place.expected[index][id] = document
                    place.client.index(index=index, id=id, document=document)
                    place.upload(index, [id])
                code = place.backfill(index)
                place.wait(lambda: _overridden(place, index) == len(blocked), 60)
                closing.set()
                searcher.join()
            lost = len(blocked) - _overridden(place, index)
            problems = {**place.problems(), "shown": len(shown), "blocks lost": lost}
            return {**problems, "exit code": code}, f"{searches[0]} searches"

    def other_settings(self) -> tuple[dict[str, int], str]:
        with self._place(TEST_SECONDS="0.01") as place:
            index = f"other-{place.folder.name}"
            place.fill(index, place.pictures())
            wrong = {**place.env, "SAFERANK_IMAGE_FIELD": "picture"}
            # An upload can only be kept from it by a sender that was told the field.
            place.settings = place.settings.model_copy(update={"image_field": "image"})
            with place.workers():
                log = place.folder / "other.log"
                others = Workers(1, wrong, log)
                try:
                    place.wait(lambda: "ready" in log.read_text(), 60)
                    codes = [place.backfill(index)]
                    unscored = self._count - place.scored(index)
                    place.upload(index, [*place.expected[index]])
                    place.wait(lambda: place.scored(index) == self._count, 120)
                finally:
                    others.stop()
                codes.append(place.backfill_once(index))
            # Chunks that the other worker had were rejected, and said to be.
            untrue = int(codes != [int(unscored > 0), 0])
            return {**place.problems(), "untrue exit codes": untrue}, f"{unscored} left at first"

    def made_anew(self) -> tuple[dict[str, int], str]:
        with self._place(TEST_SECONDS="0.1") as place:
            index = f"anew-{place.folder.name}"
            place.fill(index, place.pictures())
            documents = place.pictures(self._count)

            def make(*, ready: bool) -> None:
                place.client.indices.delete(index=index)
                place.client.indices.create(index=index)
                if ready:
                    add_to_index(place.client, index)
                place.expected.clear()
                # The same ids, with other pictures.
                ids = (f"d{number}" for number in range(self._count))
                place.fill(index, dict(zip(ids, documents.values(), strict=True)))

            codes: list[int] = []
            guessed = untrue = 0
            with place.workers():
                for ready in (False, True):
                    place.fill(index, place.expected[index])  # without scores
                    action = functools.partial(make, ready=ready)
                    making = threading.Thread(target=place.in_mid_backfill, args=(index, action))
                    making.start()
                    codes.append(place.backfill_once(index))
                    making.join()
                    untrue += codes[-1] == 0 and place.scored(index) < self._count
                    mapping = place.client.indices.get_mapping(index=index)[index]["mappings"]
                    guessed += not ready and "safety" in mapping["properties"]
                    add_to_index(place.client, index)
                    codes.append(place.backfill_once(index))
                    untrue += codes[-1] != 0
            return (
                {**place.problems(), "guessed mappings": guessed, "untrue exit codes": untrue},
                f"exit codes {codes}",
            )


def _overridden(place: Place, index: str) -> int:
    return sum(safety.get("override") == "block" for safety in place.safety(index).values())


def main() -> None:
    runs = {name.replace("_", " "): name for name in vars(Runs) if callable(vars(Runs)[name])}
    runs = {name: method for name, method in runs.items() if not method.startswith("_")}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fault", action="append", choices=[*runs])
    parser.add_argument("--documents", type=int, default=320)
    parser.add_argument("--away", type=float, default=300, help="seconds of the away host")
    arguments = parser.parse_args()
    table = Table("fault", "seconds", "seen", "wrong")
    console = Console(width=160)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="saferank-faults-") as scratch:
        Path(scratch).chmod(0o755)
        node = Node(Path(scratch) / "node")
        with started(node):
            for name in arguments.fault or runs:
                began = time.monotonic()
                run = Runs(node, Path(scratch), arguments.documents, arguments.away)
                problems, detail = getattr(run, runs[name])()
                seen = {kind: count for kind, count in problems.items() if count}
                wrong += len(seen)
                seconds = f"{time.monotonic() - began:.0f}"
                table.add_row(name, seconds, detail, str(seen) if seen else "nothing")
                console.print(f"{name}: {detail}; wrong: {seen or 'nothing'}")
    console.print(table)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
