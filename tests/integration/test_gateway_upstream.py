"""The gateway before something that answers in Elasticsearch's place: damaged, foreign, or hostile.

A server of sockets stands between. It passes on what the gateway asks of a real node to know the
index, and answers searches and reads itself, byte by byte as each case has it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from elasticsearch import Elasticsearch
from gateways import SHOWN, fill, served

FOUND = json.dumps(
    {
        "took": 1,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []},
    }
).encode()
PRODUCT = b"X-Elastic-Product: Elasticsearch\r\n"
JSON = b"Content-Type: application/json\r\n"
HTML = b"Content-Type: text/html\r\n"
GZIP = b"Content-Encoding: gzip\r\n"
BOMB = gzip.compress(bytes(300_000_000), 9)


def head(*lines: bytes, status: bytes = b"200 OK", own: bytes = PRODUCT + JSON) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + own + b"".join(lines) + b"\r\n"


def whole(
    body: bytes, *lines: bytes, status: bytes = b"200 OK", own: bytes = PRODUCT + JSON
) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return head(*lines, length, status=status, own=own) + body


def chunked(framed: bytes, *lines: bytes) -> bytes:
    return head(*lines, b"Transfer-Encoding: chunked\r\n") + framed


LENGTH = b"Content-Length: %d\r\n" % len(FOUND)
CHUNK = b"%x\r\n" % len(FOUND) + FOUND
BAD, LATE, FINE = 502, 504, 200


@dataclass
class Case:
    """Bytes in the place of an answer.

    Attributes:
        sent: one piece after another.
        status: what the gateway's client gets.
        hangs_up: whether the connection is closed behind them.
        pause: seconds between the pieces.
    """

    sent: tuple[bytes, ...]
    status: int
    hangs_up: bool = False
    pause: float = 0.0


def bad(*sent: bytes) -> Case:
    return Case(sent, BAD)


CASES = {
    "an answer": Case((whole(FOUND),), FINE),
    "byte by byte": Case(tuple(bytes([one]) for one in whole(FOUND)), FINE),
    "in chunks, a header behind them": Case(
        (chunked(CHUNK + b"\r\n0\r\nContent-Encoding: gzip\r\n\r\n"),), FINE
    ),
    "packed": Case((whole(gzip.compress(FOUND), GZIP),), FINE),
    "packed, in capitals": Case((whole(gzip.compress(FOUND), GZIP.upper()),), FINE),
    "three that say that another comes": Case(
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + whole(FOUND),), FINE
    ),
    "hints before it": Case((b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + whole(FOUND),), FINE),
    "another behind it": Case((whole(FOUND) + whole(b"[]"),), FINE),
    "rubbish behind it": Case((whole(FOUND) + b"\r\n\x00\xff",), FINE),
    # What HTTP does not allow.
    "a size that is no number": bad(chunked(b"zz\r\n" + FOUND)),
    "a size beyond 64 bits": bad(chunked(b"f" * 17 + b"\r\n" + FOUND)),
    "a negative size": bad(chunked(b"-5\r\n" + FOUND)),
    "a chunk longer than its size": bad(chunked(b"5\r\n" + FOUND + b"\r\n0\r\n\r\n")),
    "a chunk without its end": bad(chunked(CHUNK + b"0\r\n\r\n")),
    "the same length twice": bad(head(LENGTH, LENGTH) + FOUND),
    "two lengths": bad(head(b"Content-Length: 2\r\n", LENGTH) + FOUND),
    "a list of lengths": bad(head(b"Content-Length: 2, 2\r\n") + FOUND),
    "a negative length": bad(head(b"Content-Length: -2\r\n") + FOUND),
    "a length with a sign": bad(head(b"Content-Length: +2\r\n") + FOUND),
    "chunks and a length": bad(chunked(CHUNK + b"\r\n0\r\n\r\n", b"Content-Length: 3\r\n")),
    "a folded header": bad(head(b"X-A: a\r\n b\r\n", LENGTH) + FOUND),
    "a zero byte in a header": bad(head(b"X-A: a\x00b\r\n", LENGTH) + FOUND),
    "lines without a return": bad(whole(FOUND).replace(b"\r\n", b"\n")),
    "no head": bad(FOUND),
    "another protocol": bad(b"SSH-2.0-OpenSSH_9.0\r\n"),
    "HTTP/2": bad(b"HTTP/2 200 OK\r\n\r\n"),
    "another protocol from here on": bad(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: Upgrade\r\n\r\n"
        + whole(FOUND)
    ),
    "a status of two digits": bad(whole(FOUND, status=b"20 OK")),
    "a status below all": bad(whole(FOUND, status=b"099 OK")),
    "a status above all": bad(whole(FOUND, status=b"600 OK")),
    "a status far above": bad(whole(FOUND, status=b"999 OK")),
    # What is too much.
    "a header of a megabyte": bad(head(b"X-A: " + b"a" * 1_000_000 + b"\r\n", LENGTH) + FOUND),
    "a hundred thousand headers": bad(head(*[b"X-A: a\r\n"] * 100_000, LENGTH) + FOUND),
    "no end of promises": bad(b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n" * 10_000),
    "a megabyte of headers behind it": Case(
        (chunked(CHUNK + b"\r\n0\r\n" + b"X-A: a\r\n" * 100_000 + b"\r\n"),), FINE
    ),
    "300 MB in 300 kB": bad(whole(BOMB, GZIP)),
    "deeper than can be followed": bad(whole(b'{"hits":' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    # What is not all there.
    "nothing": Case((), LATE),
    "nothing, and an end": Case((), BAD, hangs_up=True),
    "half a head": Case((b"HTTP/1.1 200 OK\r\nConte",), LATE),
    "half a head, and an end": Case((b"HTTP/1.1 200 OK\r\nConte",), BAD, hangs_up=True),
    "half a body": Case((whole(FOUND)[:-10],), LATE),
    "half a body, and an end": Case((whole(FOUND)[:-10],), BAD, hangs_up=True),
    "a chunk, and an end": Case((chunked(CHUNK + b"\r\n"),), BAD, hangs_up=True),
    "no length, and an end": Case((head() + FOUND,), BAD, hangs_up=True),
    "a drop at a time": Case(tuple(bytes([one]) for one in whole(FOUND)), LATE, pause=0.02),
    "damaged gzip": bad(whole(gzip.compress(FOUND)[:-6], GZIP)),
    "gzip that is none": bad(whole(FOUND, GZIP)),
    "packed in another way": bad(whole(FOUND[::-1], b"Content-Encoding: br\r\n")),
    "half of its JSON": bad(whole(FOUND[:-5])),
    "no body": bad(whole(b"")),
    "JSON that is no object": bad(whole(b"[" + FOUND + b"]")),
    "deep, and half a character": bad(whole(b'{"a":"\\ud800","b":' + b"[" * 100_000)),
    # What is not Elasticsearch's.
    "a page": bad(whole(b"<html>", own=HTML)),
    "a page under its name": bad(whole(b"<html>", own=PRODUCT + HTML)),
    "a page of an error": bad(whole(b"<html>", status=b"503 Busy", own=HTML)),
    "a page that says that nothing is here": bad(whole(b"<html>", status=b"404 No", own=HTML)),
    "an error of a proxy, in JSON": bad(whole(b'{"message":"no"}', status=b"404 No", own=JSON)),
    "an error without a body": bad(whole(b"", status=b"503 Busy", own=b"")),
    "another address": bad(whole(b"", b"Location: http://x/\r\n", status=b"302 Found")),
    "nothing new": bad(head(status=b"304 Not Modified")),
    "a picture": bad(whole(b"\x89PNG", own=PRODUCT + b"Content-Type: image/png\r\n")),
}


@dataclass
class Between:
    """What stands between.

    Attributes:
        node: a client of the real one.
        case: what answers searches and reads; None lets the node answer.
        port: where it listens.
        counts: of each request to count, the header ``X-Opaque-Id``.
    """

    node: httpx.AsyncClient
    case: Case | None = None
    port: int = 0
    counts: list[str | None] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether there can be another."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if "_count" in path:
            self.counts.append(headers.get("x-opaque-id"))
        case = self.case
        if case is None or not ("_search" in path or "_doc" in path):
            answer = await self.node.request(method, path, content=body, headers=headers)
            kind = f"Content-Type: {answer.headers['content-type']}\r\n".encode()
            status = f"{answer.status_code} -".encode()
            writer.write(whole(answer.content, status=status, own=PRODUCT + kind))
            return True
        for piece in case.sent:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(case.pause)
        return not case.hangs_up


@contextmanager
def between(node: str) -> Iterator[Between]:
    stands, loop = Between(httpx.AsyncClient(base_url=node)), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(stands.serve, "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    stands.port = server.sockets[0].getsockname()[1]
    try:
        yield stands
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.fixture(scope="module")
def stands(elasticsearch_url: str) -> Iterator[Between]:
    with between(elasticsearch_url) as made:
        yield made


@pytest.fixture(scope="module")
def clients(
    stands: Between, elasticsearch_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, httpx.Client]]:
    """Of a gateway that is patient and of one that is not, by the status that is expected."""
    index = "test-gateway-upstream"
    url = f"http://127.0.0.1:{stands.port}"
    with ExitStack() as stack:
        node = stack.enter_context(Elasticsearch(elasticsearch_url, request_timeout=60))
        node.indices.delete(index=index, ignore_unavailable=True)
        fill(node, index)
        stack.callback(node.indices.delete, index=index, ignore_unavailable=True)
        made = {}
        for status, patience in {BAD: 30.0, LATE: 0.7}.items():
            folder = tmp_path_factory.mktemp("upstream")
            one = stack.enter_context(served(url, folder, index, timeout=patience))
            made[status] = httpx.Client(
                base_url=f"{one.url}/{index}", headers=one.authorization("moderate"), timeout=60
            )
            stack.enter_context(made[status])
        yield {**made, FINE: made[BAD]}


def searched(client: httpx.Client) -> httpx.Response:
    return client.post("/_search", json={"query": {"match_all": {}}})


def in_time(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """What is asked for again while it is late, on a machine that is slow at times."""
    for _ in range(20):
        answer = ask()
        if answer.status_code != LATE:
            break
    return answer


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_what_is_no_answer_is_said_in_a_sentence_and_harms_no_other(
    clients: dict[int, httpx.Client], stands: Between, case: Case
) -> None:
    client = clients[case.status]
    stands.case = case
    answers = [searched(client)]
    if case.status == BAD:
        answers.append(client.get("/_doc/plain"))
    stands.case = None
    for answer in answers:
        assert answer.status_code == case.status, answer.text
        if case.status == FINE:
            assert answer.json() == json.loads(FOUND)
        else:
            reason = answer.json()["error"]["reason"]
            assert reason.startswith("Elasticsearch")
            assert reason.endswith(("try again", "try again in a moment"))
    # Those behind it get their own.
    found = in_time(lambda: searched(client)).json()
    assert {hit["_id"] for hit in found["hits"]["hits"]} == SHOWN["moderate"]
    assert in_time(lambda: client.get("/_doc/medium")).json()["_id"] == "medium"
    assert in_time(lambda: client.get("/_doc/high")).status_code == 404


def test_each_request_goes_on_under_its_own_name(
    clients: dict[int, httpx.Client], stands: Between
) -> None:
    client = clients[FINE]
    stands.counts.clear()
    url, key = client.base_url, client.headers["Authorization"]
    names = ["X-Opaque-Id: one\r\n", "", "X-Opaque-Id: two\r\n", "X-Opaque-Id: \r\n", ""]
    with socket.create_connection((url.host, url.port or 80), timeout=20) as connection:
        for number, name in enumerate(names, start=1):
            last = "Connection: close\r\n" if number == len(names) else ""
            head = f"GET {url.path}_count HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
            connection.sendall(f"{head}{name}{last}\r\n".encode())
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200") == len(names)
    assert stands.counts == ["one", None, "two", "", None]
