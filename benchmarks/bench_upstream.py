"""What asking Elasticsearch costs the gateway: its own node beside general clients of HTTP.

The same search, of one rare term, sent in turns by each from one process under uvloop; whole
answers are read as bytes. ``ms of core`` is the time of this process's processor alone. "node"
is what stands under Elasticsearch's client and takes its headers and options; the others are
used as barely as they can be. Those that are not installed are left out.

Needs an Elasticsearch node (``saferank stack up``); the corpus is kept.

    python benchmarks/bench_upstream.py [--documents 1000000] [--searches 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from elastic_transport import AiohttpHttpNode, HttpHeaders, NodeConfig
from elasticsearch import Elasticsearch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from ranker_corpus import ensure_corpus, word

from saferank.gateway.upstream import HttpNode
from saferank.settings import get_settings

Ask = Callable[[str, bytes], Awaitable[bytes]]
JSON = {"Content-Type": "application/json", "Accept": "application/json"}


@asynccontextmanager
async def node(url: str, kind: type[Any]) -> AsyncIterator[Ask]:
    scheme, _, rest = url.partition("://")
    host, _, port = rest.partition(":")
    made = kind(NodeConfig(scheme, host, int(port)))
    headers = HttpHeaders(JSON)

    async def ask(path: str, body: bytes) -> bytes:
        answer = await made.perform_request("POST", path, body, headers, 30.0)
        return bytes(answer.body)

    yield ask
    await made.close()


@asynccontextmanager
async def by_aiohttp(url: str) -> AsyncIterator[Ask]:
    import aiohttp

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
    ) as session:

        async def ask(path: str, body: bytes) -> bytes:
            async with session.post(url + path, data=body, headers=JSON) as answer:
                return await answer.read()

        yield ask


@asynccontextmanager
async def by_httpcore(url: str, package: str = "httpcore") -> AsyncIterator[Ask]:
    httpcore = __import__(package)
    async with httpcore.AsyncConnectionPool(max_connections=None) as pool:

        async def ask(path: str, body: bytes) -> bytes:
            answer = await pool.request("POST", url + path, headers=JSON, content=body)
            return bytes(answer.content)

        yield ask


@asynccontextmanager
async def by_pyreqwest(url: str) -> AsyncIterator[Ask]:
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().build() as client:

        async def ask(path: str, body: bytes) -> bytes:
            made = client.post(url + path).headers(JSON).body_bytes(body).build()
            answer = await made.send()
            return bytes(await answer.bytes())

        yield ask


WAYS: dict[str, Callable[[str], Any]] = {
    "the gateway's node": lambda url: node(url, HttpNode),
    "elastic_transport's node of aiohttp": lambda url: node(url, AiohttpHttpNode),
    "aiohttp": by_aiohttp,
    "httpcore": by_httpcore,
    "httpcore2": lambda url: by_httpcore(url, "httpcore2"),
    "pyreqwest": by_pyreqwest,
}


async def measure(options: argparse.Namespace) -> None:
    url = get_settings().elasticsearch_url
    with Elasticsearch(url, request_timeout=300) as client:
        index = ensure_corpus(client, options.documents)
    source = random.Random(7)
    bodies = [
        json.dumps({"query": {"match": {"title": word(source.randrange(300, 3000))}}}).encode()
        for _ in range(options.searches)
    ]
    path = f"/{index}/_search"
    async with AsyncExitStack() as stack:
        ways: dict[str, Ask] = {}
        for name, made in WAYS.items():
            try:
                ways[name] = await stack.enter_async_context(made(url))
            except ImportError:
                continue
        times: dict[str, list[float]] = {name: [] for name in ways}
        used = dict.fromkeys(ways, 0.0)
        for number in range(-_TO_WARM_UP, options.searches):
            for name in source.sample([*ways], len(ways)):
                began, of_core = time.perf_counter(), time.process_time()
                await ways[name](path, bodies[number % len(bodies)])
                if number >= 0:
                    times[name].append(1000 * (time.perf_counter() - began))
                    used[name] += time.process_time() - of_core
        together = dict.fromkeys(ways, 0.0)
        for _ in range(3):
            for name, ask in ways.items():
                of_core = time.process_time()
                await _all(ask, path, bodies)
                together[name] += time.process_time() - of_core
    table = Table("by", "median ms", "p99 ms", "ms of core", f"{_TOGETHER} at once: ms of core")
    for name in ways:
        table.add_row(
            name,
            f"{statistics.median(times[name]):.2f}",
            f"{statistics.quantiles(times[name], n=100)[98]:.2f}",
            f"{1000 * used[name] / options.searches:.3f}",
            f"{1000 * together[name] / (3 * options.searches):.3f}",
        )
    Console().print(table)


_TO_WARM_UP = 50
_TOGETHER = 20


async def _all(ask: Ask, path: str, bodies: list[bytes]) -> None:
    left = iter(bodies)

    async def one_client() -> None:
        for body in left:
            await ask(path, body)

    await asyncio.gather(*(one_client() for _ in range(_TOGETHER)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=1_000)
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
