"""What the gateway costs: the same searches, direct and through it, one process each.

``alone``: one client sends them in turn, all ways in random order; what is added to a search is
the difference of the medians. ``together``: 50 clients at a time, each search as soon as the one
before is answered, so that some process is always the bottleneck: searches a second, and how many a
second of the gateway's processor answers. ``rate``: 50 connections, searches at random moments, so
many a second on average, whether or not those before are answered; this says what is added to the
slowest hundredth where nothing is the bottleneck.

Rows: "direct" is the search as it is; "direct, LEVEL" what the gateway makes of it, so that the
engine's part in the cost of a level stands apart. "relay" passes on bytes that it does not even
take for HTTP, "bare proxy" requests that it does not read: what they add, any process in this place
adds.

``memory``: what the gateway holds over many requests of all kinds, wrong ones among them.
``harm``: what one client sees while others read slowly, or send a gigabyte.

Needs an Elasticsearch node (``saferank stack up``); the corpus is kept. ``--beside`` names
other checkouts, whose gateways have turns with this one's.

    python benchmarks/bench_gateway.py [--documents 1000000] [--parts alone together rate]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import uvloop
from elastic_transport import Urllib3HttpNode
from elasticsearch import Elasticsearch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from bench_ranker import POLICY
from http_client import Pool, request_bytes
from ranker_corpus import ensure_corpus, word

from saferank.gateway.callers import Rights, add_key
from saferank.local.ending import end_with_this_process
from saferank.ranker import SafeSearch, load_policy
from saferank.settings import get_settings

ROOT = Path(__file__).parents[1]
LEVELS = {
    "off": {"requested": "off"},
    "moderate": {"requested": "moderate"},
    "strict": {"audience": "child"},
}
CLIENTS = 50
JSON = {"Content-Type": "application/json"}
PARTS = ("alone", "together", "rate", "memory", "harm")


@dataclass
class Way:
    """One way to an answer.

    Attributes:
        url: where it is asked.
        requests: that are sent, as bytes.
        between: the process that stands between, if there is one.
        times: of its answers, in milliseconds.
    """

    url: str
    requests: Sequence[bytes]
    between: psutil.Process | None = None
    times: list[float] = field(default_factory=list)

    async def ask(self, pool: Pool, request: bytes) -> None:
        begun = time.perf_counter()
        status, body = await pool.ask(request)
        self.times.append(1000 * (time.perf_counter() - begun))
        assert status == 200, body

    def used(self) -> float:
        """Seconds of a processor that the process between has used."""
        return 0.0 if self.between is None else sum(self.between.cpu_times()[:2])

    def taken(self) -> list[float]:
        """The times since the last look."""
        times, self.times = self.times, []
        return times


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running(
    command: list[str], port: int, log: Path, checkout: Path = ROOT
) -> Iterator[psutil.Process]:
    """A process of a checkout, once something listens at its port."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stderr=errors, env=environment, cwd=checkout) as process,
    ):
        end_with_this_process(process.pid)
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


@contextmanager
def gateway(
    url: str, folder: Path, checkout: Path
) -> Iterator[tuple[str, psutil.Process, dict[str, str]]]:
    """A gateway in a process of its own: its address, the process, and keys by level."""
    folder.mkdir()
    callers, policy = folder / "callers.toml", folder / "policy.yaml"
    policy.write_text(POLICY)
    keys = {name: add_key(callers, name, Rights(context=held)) for name, held in LEVELS.items()}
    port = free_port()
    run = "from saferank.cli import main; main()"
    command = [sys.executable, "-c", run, "gateway", "--upstream", url]
    command += ["--policy", str(policy), "--callers", str(callers), "--port", str(port)]
    with running(command, port, folder / "log", checkout) as process:
        yield f"http://127.0.0.1:{port}", process, keys


def percentile(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def as_sent(
    url: str, index: str, queries: Sequence[Any], levels: Sequence[str]
) -> dict[str, list[bytes]]:
    """By level, the bodies that a safe client makes of searches; of several it is the last."""
    last = b""

    class Noting(Urllib3HttpNode):
        def perform_request(self, *given: Any, **named: Any) -> Any:
            nonlocal last
            last = named["body"] or b""
            return super().perform_request(*given, **named)

    found: dict[str, list[bytes]] = {}
    with Elasticsearch(url, node_class=Noting) as client:
        safe = SafeSearch(client, load_policy(POLICY))
        for level in levels:
            for query in queries:
                safe.at_level(level).search(index=index, query=query)
                found.setdefault(level, []).append(last)
    return found


@contextmanager
def all_ways(
    url: str, index: str, options: argparse.Namespace, folder: Path
) -> Iterator[dict[str, Way]]:
    """The ways, by their names, and what stands between."""
    source = random.Random(7)
    queries = [
        {"match": {"title": word(source.randrange(300, 3000))}} for _ in range(options.searches)
    ]
    bodies = [json.dumps({"query": query}).encode() for query in queries]
    path = f"/{index}/_search"

    def way(
        address: str,
        bodies: Sequence[bytes],
        between: psutil.Process | None = None,
        key: str | None = None,
    ) -> Way:
        headers = JSON if key is None else {**JSON, "Authorization": f"ApiKey {key}"}
        requests = [request_bytes(address + path, body, headers) for body in bodies]
        return Way(address, requests, between)

    ways = {"direct": way(url, bodies)}
    ways |= {
        f"direct, {level}": way(url, sent)
        for level, sent in as_sent(url, index, queries, options.levels).items()
    }
    with ExitStack() as stack:
        for name, script in (("relay", "bytes_relay.py"), ("bare proxy", "bare_proxy.py")):
            port = free_port()
            command = [sys.executable, str(Path(__file__).with_name(script)), url, str(port)]
            process = stack.enter_context(running(command, port, folder / script))
            ways[name] = way(f"http://127.0.0.1:{port}", bodies, process)
        for name, checkout in {
            "gateway": ROOT,
            **{one.name: one for one in options.beside},
        }.items():
            made = gateway(url, folder / name, checkout)
            address, process, keys = stack.enter_context(made)
            for level in options.levels:
                key = keys[level]
                ways[f"{name}, {level}"] = way(address, bodies, process, key)
        yield ways


async def alone(ways: dict[str, Way], console: Console, options: argparse.Namespace) -> None:
    """One search after another, the ways in random order."""
    source = random.Random(11)
    pools = {name: await Pool.to(way.url, 1) for name, way in ways.items()}
    for number in range(-_TO_WARM_UP, options.searches):
        if number == 0:
            for way in ways.values():
                way.times.clear()
        for name in source.sample([*ways], len(ways)):
            way = ways[name]
            await way.ask(pools[name], way.requests[number % len(way.requests)])
    for pool in pools.values():
        pool.close()
    table = Table("one client", "median ms", "added ms", "p99 ms")
    taken = {name: way.taken() for name, way in ways.items()}
    base = statistics.median(taken["direct"])
    for name, times in taken.items():
        median = statistics.median(times)
        table.add_row(
            name, f"{median:.2f}", f"{median - base:+.2f}", f"{percentile(times, 0.99):.2f}"
        )
    console.print(table)


_TO_WARM_UP = 50


async def connected(way: Way) -> Pool:
    """The connections of all clients, each answered once.

    Clients keep theirs. To open all of them at once takes a gateway some 5 ms, which would stand
    in the slowest hundredth of a turn.
    """
    pool = await Pool.to(way.url, CLIENTS)
    await asyncio.gather(*(pool.ask(way.requests[0]) for _ in range(CLIENTS)))
    return pool


async def together(ways: dict[str, Way], console: Console, options: argparse.Namespace) -> None:
    """Many clients at a time, in three rounds."""
    table = Table(f"{CLIENTS} clients", "requests/s", "median ms", "p99 ms", "per core s")
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            pool = await connected(way)
            used, begun = way.used(), time.perf_counter()
            left = iter(way.requests)
            await asyncio.gather(*(_all_of(left, way, pool) for _ in range(CLIENTS)))
            seconds, used = time.perf_counter() - begun, way.used() - used
            pool.close()
            count = len(way.requests)
            rates[name].append((count / seconds, count / used if used else 0.0))
    for name, way in ways.items():
        rate, each = (statistics.median(column) for column in zip(*rates[name], strict=True))
        times = way.taken()
        table.add_row(
            name,
            f"{rate:.0f}",
            f"{statistics.median(times):.1f}",
            f"{percentile(times, 0.99):.1f}",
            f"{each:.0f}" if each else "",
        )
    console.print(table)


async def _all_of(left: Iterator[bytes], way: Way, pool: Pool) -> None:
    for request in left:
        await way.ask(pool, request)


async def at_rates(ways: dict[str, Way], console: Console, options: argparse.Namespace) -> None:
    """Searches at random moments, so many a second on average; the ways in turns of a second."""
    for rate in options.rates:
        source = random.Random(13)
        used = dict.fromkeys(ways, 0.0)
        for turn in range(options.seconds):
            for name in source.sample([*ways], len(ways)):
                way = ways[name]
                pool = await connected(way)
                before = way.used()
                await _at_random_moments(way, pool, rate, turn * rate, source)
                used[name] += way.used() - before
                pool.close()
        table = Table(f"{rate} a second", "median ms", "added", "p99 ms", "added", "ms of core")
        taken = {name: way.taken() for name, way in ways.items()}
        points = {
            name: (statistics.median(times), percentile(times, 0.99))
            for name, times in taken.items()
        }
        for name, (median, slow) in points.items():
            each = 1000 * used[name] / len(taken[name])
            table.add_row(
                name,
                f"{median:.2f}",
                f"{median - points['direct'][0]:+.2f}",
                f"{slow:.2f}",
                f"{slow - points['direct'][1]:+.2f}",
                f"{each:.2f}" if each else "",
            )
        console.print(table)


async def _at_random_moments(
    way: Way, pool: Pool, rate: int, first: int, source: random.Random
) -> None:
    begun = time.perf_counter()
    due, asked = 0.0, []
    for number in range(rate):
        due += source.expovariate(rate)
        await asyncio.sleep(max(0.0, begun + due - time.perf_counter()))
        request = way.requests[(first + number) % len(way.requests)]
        asked.append(asyncio.ensure_future(way.ask(pool, request)))
    await asyncio.gather(*asked)


def mixed(ways: dict[str, Way], path: str) -> list[bytes]:
    """Requests of all kinds to the gateway, a third of them wrong in some way."""
    found: list[bytes] = []
    for way in [way for name, way in ways.items() if name.startswith("gateway, ")]:
        (authorization,) = (
            line.removeprefix(b"Authorization: ").decode()
            for line in way.requests[0].split(b"\r\n")
            if line.startswith(b"Authorization")
        )
        headers = {**JSON, "Authorization": authorization}

        def ask(
            target: str,
            body: Any = None,
            method: str = "POST",
            url: str = way.url,
            headers: dict[str, str] = headers,
        ) -> bytes:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return request_bytes(url + target, b"" if body is None else content, headers, method)

        query = {"match": {"title": word(400)}}
        line = json.dumps({"query": query}).encode()
        found += way.requests[:12]
        found += [
            ask(f"{path}/_count", {"query": query}),
            ask(f"{path}/_msearch", b"{}\n" + line + b"\n{}\n" + line + b"\n"),
            ask(f"{path}/_doc/17", method="GET"),
            ask(f"{path}/_mget", {"ids": ["1", "2", "none"]}),
            ask(f"{path}/_search", {"query": query, "aggs": {"a": {"max": {"field": "x"}}}}),
            # A document and an index that are not there, and requests that are refused.
            ask(f"{path}/_doc/none", method="GET"),
            ask("/none-such/_search", {}),
            ask(f"{path}/_search", b'{"query": '),
            ask(f"{path}/_search", {"unknown": 1}),
            ask(f"{path}/_search", {"query": {"range": {"title": {"format": 7}}}}),
            ask("/_cat/indices", method="GET"),
            request_bytes(f"{way.url}{path}/_search", b"{}", {**JSON, "Authorization": "ApiKey x"}),
        ]
    random.Random(17).shuffle(found)
    return found


async def memory(ways: dict[str, Way], console: Console, options: argparse.Namespace) -> None:
    """What the process holds over many requests."""
    way = next(way for name, way in ways.items() if name.startswith("gateway, "))
    assert way.between is not None
    target = way.requests[0].split(b" ")[1].decode().removesuffix("/_search")
    requests = mixed(ways, target)
    statuses: Counter[int] = Counter()
    table = Table("requests", "resident MB")
    pool = await Pool.to(way.url, CLIENTS)

    async def ask(request: bytes) -> None:
        status, _ = await pool.ask(request)
        statuses[status] += 1

    begun, done = time.perf_counter(), 0
    while done <= options.memory:
        if done % _LOOK_EVERY == 0:
            table.add_row(str(done), f"{way.between.memory_info().rss / 1e6:.1f}")
        await asyncio.gather(*(ask(requests[n % len(requests)]) for n in range(done, done + 1000)))
        done += 1000
    pool.close()
    console.print(table)
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    console.print(f"{done / (time.perf_counter() - begun):.0f} requests/s; {answers}")


_LOOK_EVERY = 10_000


async def harm(ways: dict[str, Way], console: Console, options: argparse.Namespace) -> None:
    """One client's searches, while nobody, slow readers, or senders of a gigabyte are there too."""
    way = next(way for name, way in ways.items() if name.startswith("gateway, "))
    assert way.between is not None
    table = Table("beside it", "median ms", "p99 ms", "resident MB", "what became of them")
    for name, others in (("nobody", _nobody), *_OTHERS.items()):
        told: Counter[str] = Counter()
        tasks = [asyncio.ensure_future(others(way, told)) for _ in range(_BESIDE)]
        await asyncio.sleep(_TO_SETTLE)
        pool, most = await Pool.to(way.url, 1), 0
        way.times.clear()
        for request in way.requests[:500]:
            await way.ask(pool, request)
            most = max(most, way.between.memory_info().rss)
        pool.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        times = way.taken()
        table.add_row(
            name,
            f"{statistics.median(times):.2f}",
            f"{percentile(times, 0.99):.2f}",
            f"{most / 1e6:.0f}",
            ", ".join(f"{what}: {count}" for what, count in sorted(told.items())),
        )
    console.print(table)


_BESIDE = 20
_TO_SETTLE = 3.0


async def _nobody(way: Way, told: Counter[str]) -> None:
    pass


async def _connected(way: Way, buffer: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.setblocking(False)
    parts = urlsplit(way.url)
    await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
    return await asyncio.open_connection(sock=connection, limit=buffer)


async def _slow_reader(way: Way, told: Counter[str]) -> None:
    """Asks for page after page, and reads a few bytes at a time."""
    reader, writer = await _connected(way, 4096)
    head, _, _ = way.requests[0].partition(b"Content-Length")
    body = json.dumps({"size": 1000, "query": {"match": {"title": word(300)}}}).encode()
    request = head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    writer.write(100 * request)
    try:
        while await reader.read(100):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        told["hung up on"] += 1
    except ConnectionError:
        told["hung up on"] += 1
    except asyncio.CancelledError:
        told["still reading"] += 1
        raise
    finally:
        writer.close()


async def _huge_body(way: Way, told: Counter[str], head: bytes, part: bytes) -> None:
    """Sends a gigabyte, as far as it is taken, again and again."""
    before, _, _ = way.requests[0].partition(b"Content-Length")
    while True:
        _, writer = await _connected(way, 65536)
        writer.write(before + head)
        sent = 0
        try:
            while sent < 1_000_000_000:
                writer.write(part)
                await writer.drain()
                sent += len(part)
            told["taken whole"] += 1
        except ConnectionError:
            told[f"cut off within {sent // 10_000_000 + 1}0 MB"] += 1
        finally:
            writer.close()
        await asyncio.sleep(0.5)


_PART = 65536
_OTHERS: dict[str, Callable[[Way, Counter[str]], Awaitable[None]]] = {
    "20 slow readers": _slow_reader,
    "20 of 1 GB, length told": lambda way, told: _huge_body(
        way, told, b"Content-Length: 1000000000\r\n\r\n", b"a" * _PART
    ),
    "20 of 1 GB in chunks": lambda way, told: _huge_body(
        way, told, b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"a" * _PART + b"\r\n"
    ),
}
_MEASURED = {
    "alone": alone,
    "together": together,
    "rate": at_rates,
    "memory": memory,
    "harm": harm,
}


async def measure(options: argparse.Namespace, folder: Path) -> None:
    url = get_settings().elasticsearch_url
    with Elasticsearch(url, request_timeout=300) as client:
        index = ensure_corpus(client, options.documents)
    console = Console()
    with all_ways(url, index, options, folder) as ways:
        for part in options.parts:
            await _MEASURED[part](ways, console, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=1_000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="other checkouts")
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=[*LEVELS])
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 200])
    parser.add_argument("--seconds", type=int, default=10, help="at each rate, for each way")
    parser.add_argument("--memory", type=int, default=100_000, help="requests for this part")
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(parser.parse_args(), Path(folder)))


if __name__ == "__main__":
    main()
