"""HTTP to Elasticsearch: what servers and the proxies before them say, and when they hang up."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest
import trustme
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import (
    ConnectionTimeout,
    HttpHeaders,
    NodeConfig,
    SerializationError,
    TlsError,
)
from elasticsearch.serializer import JsonSerializer
from hypothesis import given, settings
from hypothesis import strategies as st

from saferank.gateway.upstream import FastJson, HttpNode

T = TypeVar("T")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Says for each request the next of what it is given; nothing is to hang up."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = [*answers]
        self.requests: list[bytes] = []
        self.connections = 0
        self.hung_up = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ]
                body = await reader.readexactly(length[0]) if length else b""
                self.requests.append(head + body)
                answer = self.answers.pop(0)
                if not answer:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()


@asynccontextmanager
async def node_for(
    server: Server, authority: trustme.CA | None = None, **config: Any
) -> AsyncIterator[HttpNode]:
    context = None
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    node = HttpNode(
        NodeConfig("http" if context is None else "https", "localhost", server.port, **config)
    )
    try:
        yield node
    finally:
        await node.close()
        listening.close()


async def asked(server: Server, *requests: tuple[Any, ...], **config: Any) -> list[Any]:
    """What a node gives for requests, errors among them."""
    found: list[Any] = []
    async with node_for(server, **config) as node:
        for request in requests:
            try:
                found.append(await node.perform_request(*request))
            except Exception as error:
                found.append(error)
    return found


def run(made: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(made, 20))


async def one_answer(answer: bytes, method: str = "POST") -> Any:
    (found,) = await asked(Server(answer), (method, "/a", b"{}" if method == "POST" else None))
    return found


def test_a_request_is_sent_with_its_own_head_and_the_nodes() -> None:
    async def sent() -> bytes:
        server = Server(OK)
        headers = HttpHeaders({"X-Opaque-Id": "é", "Content-Type": "application/json"})
        await asked(
            server, ("POST", "/a/_search?q=1", b"{}", headers), headers={"authorization": "k"}
        )
        return server.requests[0]

    head, _, body = run(sent()).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert first == b"POST /a/_search?q=1 HTTP/1.1"
    assert {b"authorization: k", b"x-opaque-id: \xe9", b"content-length: 2"} <= set(lines)
    assert b"content-type: application/json" in lines
    assert sum(line.startswith(b"host: localhost:") for line in lines) == 1
    assert body == b"{}"


@pytest.mark.parametrize("value", ["a\r\nX-B: c", "a\nb", "a\rb"])
def test_a_header_cannot_begin_another(value: str) -> None:
    async def sent() -> tuple[list[Any], list[bytes]]:
        server = Server(OK)
        found = await asked(server, ("GET", "/", None, HttpHeaders({"x-opaque-id": value})))
        return found, server.requests

    (error,), requests = run(sent())
    assert isinstance(error, ValueError)
    assert requests == []


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nX-A: no\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(gzip.compress(b"{}")), gzip.compress(b"{}")),
    ],
    ids=["length", "chunks", "another before it", "packed"],
)
def test_an_answer_is_read_however_it_is_sent(answer: bytes) -> None:
    found = run(one_answer(answer))
    assert (found.meta.status, found.body) == (200, b"{}")
    assert "x-a" not in found.meta.headers


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=8))
@settings(max_examples=25, deadline=None)
def test_any_body_in_any_chunks_comes_as_it_is(body: bytes, sizes: list[int]) -> None:
    chunks, rest = [], body
    for size in sizes:
        if rest:
            part, rest = rest[:size], rest[size:]
            chunks.append(b"%x\r\n%b\r\n" % (len(part), part))
    chunks += [b"%x\r\n%b\r\n" % (len(rest), rest)] if rest else []
    head = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = run(one_answer(head + b"".join(chunks) + b"0\r\n\r\n"))
    assert (found.meta.status, found.body) == (404, body)


def test_the_first_of_two_headers_counts_and_names_have_no_case() -> None:
    found = run(one_answer(b"HTTP/1.1 200 OK\r\nWarning: 1\r\nWARNING: 2\r\n" + OK[17:]))
    assert found.meta.headers["Warning"] == "1"
    assert found.meta.mimetype == "application/json"


def test_a_head_alone_has_no_body_whatever_it_says() -> None:
    async def heads() -> tuple[list[Any], int]:
        server = Server(OK[:-2], OK[:-2])
        return await asked(server, ("HEAD", "/a"), ("HEAD", "/b")), server.connections

    found, connections = run(heads())
    assert [(one.meta.status, one.body) for one in found] == [(200, b"")] * 2
    assert connections == 1


@pytest.mark.parametrize(
    ("answers", "connections"),
    [
        ((OK, OK, OK), 1),
        ((OK.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n"), OK, OK), 2),
    ],
)
def test_a_connection_is_used_again_unless_the_server_closes_it(
    answers: tuple[bytes, ...], connections: int
) -> None:
    async def used() -> tuple[list[Any], int]:
        server = Server(*answers)
        found = await asked(server, *[("POST", "/a", b"{}")] * 3)
        return found, server.connections

    found, opened = run(used())
    assert [one.meta.status for one in found] == [200] * 3
    assert opened == connections


@pytest.mark.parametrize(
    ("method", "is_repeated"), [("GET", True), ("HEAD", True), ("POST", False)]
)
def test_only_what_changes_nothing_is_sent_again(method: str, is_repeated: bool) -> None:
    """When the server hangs up on a connection that was kept, just as it is used."""

    async def again() -> tuple[list[Any], Server]:
        server = Server(OK, b"", OK[:-2] if method == "HEAD" else OK)
        body = b"{}" if method == "POST" else None
        return await asked(server, ("POST", "/a", b"{}"), (method, "/b", body)), server

    (_, second), server = run(again())
    assert len(server.requests) == (3 if is_repeated else 2)
    if is_repeated:
        assert second.meta.status == 200
    else:
        assert isinstance(second, TransportConnectionError)


def test_a_server_that_always_hangs_up_is_asked_once() -> None:
    async def once() -> tuple[list[Any], Server]:
        server = Server(b"", b"", b"")
        return await asked(server, ("GET", "/a")), server

    (error,), server = run(once())
    assert isinstance(error, TransportConnectionError)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
    ],
)
def test_what_cannot_be_read_is_an_error_and_ends_the_connection(answer: bytes) -> None:
    async def broken() -> tuple[list[Any], int]:
        server = Server(answer, OK)
        return await asked(server, *[("POST", "/a", b"{}")] * 2), server.connections

    (first, second), connections = run(broken())
    assert isinstance(first, TransportConnectionError)
    assert second.body == b"{}"
    assert connections == 2


@pytest.mark.parametrize("packed", [b"{}", gzip.compress(b"{}")[:-4], b"\x1f\x8b\x08" + b"x" * 20])
def test_what_cannot_be_unpacked_is_an_error(packed: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    (found,) = run(asked(Server(head % len(packed) + packed), ("POST", "/a", b"{}")))
    assert isinstance(found, TransportConnectionError)


def test_what_came_unasked_and_unread_is_given_to_nobody() -> None:
    """It waits in the kernel when the next request is sent; here the loop had no time to read."""
    answered, more = threading.Event(), threading.Event()

    def serve(listening: socket.socket) -> None:
        with listening.accept()[0] as first:
            first.recv(65536)
            first.sendall(OK)
            answered.wait(10)
            first.sendall(OK.replace(b"{}", b"[]"))
            more.set()
            with listening.accept()[0] as second:
                second.recv(65536)
                second.sendall(OK)

    async def next_one(port: int) -> bytes:
        node = HttpNode(NodeConfig("http", "127.0.0.1", port))
        await node.perform_request("POST", "/a", b"{}")
        answered.set()
        more.wait(10)
        answer = await node.perform_request("POST", "/b", b"{}")
        await node.close()
        return bytes(answer.body)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        assert run(next_one(listening.getsockname()[1])) == b"{}"


FAULTS = st.sampled_from(
    [
        "none",
        "none",
        "close before",
        "close in the head",
        "close in the body",
        "close behind",
        "one more",
        "promise",
        "no size",
        "two lengths",
        "stop",
        "slow",
    ]
)


class Faulty:
    """Tells each request its own target, as far as a list of faults lets it."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fault = self.faults.pop() if self.faults else "none"
                if not await self._answer(head.split(b" ")[1], fault, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, body: bytes, fault: str, writer: asyncio.StreamWriter) -> bool:
        length = b"Content-Length: %d\r\n" % len(body)
        head = b"HTTP/1.1 200 OK\r\n" + length
        whole = head + b"\r\n" + body
        other = whole.replace(body, body[::-1])
        sent = {
            "close before": b"",
            "close in the head": head,
            "close in the body": whole[:-1],
            "one more": whole + other,
            "promise": b"HTTP/1.1 100 Continue\r\n\r\n" + whole,
            "no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n" + whole,
            "two lengths": head + b"Content-Length: 1\r\n\r\n" + body,
            "stop": whole[:-1],
        }.get(fault, whole)
        for piece in [bytes([one]) for one in sent] if fault == "slow" else [sent]:
            writer.write(piece)
            await writer.drain()
        if fault == "stop":
            await asyncio.sleep(1)
        return not fault.startswith("close")


@given(
    st.lists(FAULTS, max_size=30),
    st.lists(st.tuples(st.sampled_from(["GET", "POST"]), st.integers(0, 5)), max_size=30),
)
@settings(max_examples=40, deadline=None)
def test_whatever_a_server_does_each_gets_its_own_answer_or_an_error(
    faults: list[str], requests: list[tuple[str, int]]
) -> None:
    """Many at a time on few connections; some go away before they are answered."""

    async def all_asked() -> list[tuple[str, Any]]:
        server = Faulty([*faults])
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        node = HttpNode(NodeConfig("http", "127.0.0.1", listening.sockets[0].getsockname()[1]))
        found: list[tuple[str, Any]] = []
        places = asyncio.Semaphore(3)

        async def ask(number: int, method: str, patience: int) -> None:
            target = f"/number-{number:04}"
            async with places:
                within = 0.05 if patience else 0.0005
                asking = node.perform_request(method, target, None, None, within)
                with suppress(TransportConnectionError, ConnectionTimeout):
                    found.append((target, (await asking).body.decode()))

        await asyncio.gather(*(ask(n, *request) for n, request in enumerate(requests)))
        await node.close()
        listening.close()
        return found

    for target, body in run(all_asked()):
        assert body == target


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("second", [OK.replace(b"200", b"500"), b"HTTP/1.1 ", b"\r\nx"])
def test_what_nobody_waits_for_is_given_to_nobody_else(method: str, second: bytes) -> None:
    async def two() -> tuple[list[Any], int]:
        server = Server((OK[:-2] if method == "HEAD" else OK) + second, OK)
        return await asked(server, (method, "/a"), ("POST", "/b", b"{}")), server.connections

    found, connections = run(two())
    assert [one.meta.status for one in found] == [200, 200]
    assert found[0].body == (b"" if method == "HEAD" else b"{}")
    assert connections == 2


def test_who_waits_too_long_hangs_up() -> None:
    async def slow(*, cancelled: bool) -> BaseException:
        server = Server(OK[:20])
        async with node_for(server) as node:
            asking = node.perform_request("POST", "/a", b"{}", None, 20 if cancelled else 0.1)
            task = asyncio.ensure_future(asking)
            if cancelled:
                await asyncio.sleep(0.1)
                task.cancel()
            (error,) = await asyncio.gather(task, return_exceptions=True)
            await server.hung_up.wait()
        assert isinstance(error, BaseException)
        return error

    assert isinstance(run(slow(cancelled=False)), ConnectionTimeout)
    assert isinstance(run(slow(cancelled=True)), asyncio.CancelledError)


def test_nobody_listening_is_an_error() -> None:
    async def nobody() -> Any:
        async with node_for(Server()) as node:
            nowhere = HttpNode(NodeConfig("http", "127.0.0.1", 9))
            assert node.host == "localhost"
            return await asyncio.gather(nowhere.perform_request("GET", "/"), return_exceptions=True)

    (error,) = run(nobody())
    assert isinstance(error, TransportConnectionError)


def test_a_certificate_is_verified(tmp_path: Any) -> None:
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    trusted = run(
        asked(
            Server(OK),
            ("GET", "/a"),
            authority=authority,
            verify_certs=True,
            ca_certs=str(tmp_path / "ca.pem"),
        )
    )
    assert trusted[0].body == b"{}"
    (error,) = run(asked(Server(OK), ("GET", "/a"), authority=authority, verify_certs=True))
    assert isinstance(error, TlsError)


TEXTS = st.text(st.characters(exclude_categories=()), max_size=5)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    LEAVES, lambda part: st.lists(part) | st.dictionaries(TEXTS, part), max_leaves=8
)


@given(VALUES)
def test_bodies_are_written_and_read_as_the_client_does_it(value: Any) -> None:
    """Numbers of any length and infinite ones, and halves of surrogate pairs, among them."""
    own, clients = FastJson(), JsonSerializer()
    written = clients.loads(own.dumps({"a": value}))
    assert repr(written) == repr(clients.loads(clients.dumps({"a": value})))
    text = json.dumps({"a": value}).encode()
    assert repr(own.loads(text)) == repr(clients.loads(text))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_an_infinite_number_is_not_written_as_none(value: float) -> None:
    assert b"null" not in FastJson().dumps({"gte": value})


@pytest.mark.parametrize(
    "text", [b"{", b'{"a": 1} x', b"\xff", b'"\\ud800', b"nul", b"", b"null", b"[{}]", b'"a"']
)
def test_what_is_no_json_is_an_error(text: bytes) -> None:
    with pytest.raises(SerializationError):
        FastJson().loads(text)
