"""What the gateway costs: the same searches, direct and through it, one process each.

One client sends them in turn, direct and through the gateway, in random order: what is added to a
search is the difference of the medians. Then 50 clients at a time send them, again in turns:
searches a second, the slowest hundredth, and how many a second of the gateway's processor answers.
Then they go on for a while, and its memory is looked at. The direct searches are without a level's
filter and demotion, so these are a part of the cost.

"bare proxy" is ``bare_proxy.py``, which passes bytes on and reads nothing: what it adds, any
process of Python in this place adds, and so does the queue of 50 clients before one process.

Needs an Elasticsearch node (``saferank stack up``); the corpus is kept.

    python benchmarks/bench_gateway.py [--documents 100000] [--searches 1000] [--memory 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psutil
from elasticsearch import Elasticsearch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from bench_ranker import POLICY
from ranker_corpus import ensure_corpus, word

from saferank.gateway.callers import Rights, add_key
from saferank.settings import get_settings

LEVELS = {
    "off": {"requested": "off"},
    "moderate": {"requested": "moderate"},
    "strict": {"audience": "child"},
}
CLIENTS = 50


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Asked:
    """Times of searches at one address, in milliseconds."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url, self.headers = url, {"Content-Type": "application/json", **headers}
        self.times: list[float] = []

    async def ask(self, session: aiohttp.ClientSession, body: bytes) -> None:
        begun = time.perf_counter()
        async with session.post(self.url, data=body, headers=self.headers) as answer:
            await answer.read()
            assert answer.status == 200, await answer.text()
        self.times.append(1000 * (time.perf_counter() - begun))


@contextmanager
def gateway(url: str, folder: Path) -> Iterator[tuple[str, psutil.Process, dict[str, str]]]:
    """A gateway in a process of its own: its address, the process, and keys by level."""
    callers, policy = folder / "callers.toml", folder / "policy.yaml"
    policy.write_text(POLICY)
    keys = {name: add_key(callers, name, Rights(context=held)) for name, held in LEVELS.items()}
    port = free_port()
    run = "from saferank.cli import main; main()"
    command = [sys.executable, "-c", run, "gateway", "--upstream", url]
    command += ["--policy", str(policy), "--callers", str(callers), "--port", str(port)]
    with running(command, port, folder / "log") as process:
        yield f"http://127.0.0.1:{port}", process, keys


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[psutil.Process]:
    """A process, once something listens at its port."""
    with log.open("w") as errors, subprocess.Popen(command, stderr=errors) as process:
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


async def alone(
    session: aiohttp.ClientSession, ways: list[Asked], bodies: list[bytes], source: random.Random
) -> None:
    """One search after another, the ways in random order."""
    for body in bodies:
        for way in source.sample(ways, len(ways)):
            await way.ask(session, body)


async def together(session: aiohttp.ClientSession, way: Asked, bodies: list[bytes]) -> float:
    """Many clients at a time; gives the seconds that it took."""
    left = iter(bodies)

    async def client() -> None:
        for body in left:
            await way.ask(session, body)

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return time.perf_counter() - begun


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    url = get_settings().elasticsearch_url
    with Elasticsearch(url, request_timeout=300) as client:
        index = ensure_corpus(client, arguments.documents)
    source = random.Random(7)
    bodies = [
        json.dumps({"query": {"match": {"title": word(source.randrange(300, 3000))}}}).encode()
        for _ in range(arguments.searches)
    ]
    console = Console()
    connector = aiohttp.TCPConnector(limit=2 * CLIENTS)
    bare = free_port()
    command = [sys.executable, str(Path(__file__).with_name("bare_proxy.py")), url, str(bare)]
    with (
        gateway(url, folder) as (address, process, keys),
        running(command, bare, folder / "bare") as proxy,
    ):
        async with aiohttp.ClientSession(connector=connector) as session:
            direct = Asked(f"{url}/{index}/_search", {})
            ways = {
                level: Asked(f"{address}/{index}/_search", {"Authorization": f"ApiKey {key}"})
                for level, key in keys.items()
            }
            ways = {"bare proxy": Asked(f"http://127.0.0.1:{bare}/{index}/_search", {}), **ways}
            every = [direct, *ways.values()]
            await alone(session, every, bodies[:50], source)
            for way in every:
                way.times.clear()
            await alone(session, every, bodies, source)
            table = Table("one client", "median ms", "added ms", "p99 ms")
            base = statistics.median(direct.times)
            for name, way in {"direct": direct, **ways}.items():
                median = statistics.median(way.times)
                table.add_row(
                    name,
                    f"{median:.2f}",
                    f"{median - base:+.2f}",
                    f"{percentile(way.times, 0.99):.2f}",
                )
                way.times.clear()
            console.print(table)

            table = Table(f"{CLIENTS} clients", "requests/s", "median ms", "p99 ms", "per core s")
            rates: dict[str, list[tuple[float, float]]] = {}
            for _ in range(3):
                for name, way in {"direct": direct, **ways}.items():
                    between = proxy if name == "bare proxy" else process
                    used = sum(between.cpu_times()[:2])
                    seconds = await together(session, way, bodies)
                    used = sum(between.cpu_times()[:2]) - used
                    each = len(bodies) / used if used else 0.0
                    rates.setdefault(name, []).append((len(bodies) / seconds, each))
            for name, way in {"direct": direct, **ways}.items():
                rate, each = (
                    statistics.median(column) for column in zip(*rates[name], strict=True)
                )
                table.add_row(
                    name,
                    f"{rate:.0f}",
                    f"{statistics.median(way.times):.1f}",
                    f"{percentile(way.times, 0.99):.1f}",
                    f"{each:.0f}" if name != "direct" else "",
                )
            console.print(table)

            table = Table("requests", "resident MB")
            done, begun = 0, time.perf_counter()
            while done < arguments.memory and time.perf_counter() - begun < arguments.seconds:
                if done % (5 * len(bodies)) == 0:
                    table.add_row(str(done), f"{process.memory_info().rss / 1e6:.1f}")
                ways["strict"].times.clear()
                await together(session, ways["strict"], bodies)
                done += len(bodies)
            table.add_row(str(done), f"{process.memory_info().rss / 1e6:.1f}")
            console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=1_000)
    parser.add_argument("--memory", type=int, default=100_000, help="most requests for this table")
    parser.add_argument("--seconds", type=float, default=180, help="most seconds for it")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(parser.parse_args(), Path(folder)))


if __name__ == "__main__":
    main()
