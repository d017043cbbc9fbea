"""What the gateway asks Elasticsearch with: parts of its client that do no more than is needed.

Those that the client has are general: for several nodes, retries, and any kind of connection. They
take longer for a request than making it safe; benchmarks/bench_upstream.py measures them.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import httptools
import msgspec
from elastic_transport import (
    AiohttpHttpNode,
    ApiResponseMeta,
    AsyncTransport,
    ConnectionTimeout,
    HttpHeaders,
    NodeConfig,
    OpenTelemetrySpan,
    SerializationError,
    TlsError,
    TransportApiResponse,
)
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport._node import NodeApiResponse
from elastic_transport.client_utils import DEFAULT, DefaultType
from elasticsearch.serializer import JsonSerializer
from urllib3.util.wait import wait_for_read

from saferank.gateway.reading import ungzipped

MOST_BYTES_OF_ANSWER = 100 * 1024 * 1024
"""Also once it is unpacked; as many as Elasticsearch takes of a request."""

_MOST_BYTES_OF_HEAD = 64 * 1024
_SAFE_TO_REPEAT = ("GET", "HEAD")
_FIRST, _SWITCHED, _FINAL, _NO_STATUS = 100, 101, 200, 600
_NO_HTTP = (httptools.HttpParserError, httptools.HttpParserUpgrade)
_TOO_LONG = "the answer has more bytes than are taken"


class _Answer:
    """An answer, as the parser reads it.

    Args:
        bodiless: whether only a head comes, whatever that says.
    """

    def __init__(self, *, bodiless: bool) -> None:
        self._bodiless = bodiless
        self._body = bytearray()
        self._bytes = 0
        self._head_is_read = False
        self._parser = httptools.HttpResponseParser(self)
        self.begun = False
        self.status = 0
        self.keeps = False
        self.headers: dict[str, str] = {}
        self.whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def body(self) -> bytes:
        """As it was before it was packed.

        Raises:
            ValueError: it is damaged, or has too many bytes.
        """
        if self.headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip"):
            return bytes(self._body)
        plain = ungzipped(bytes(self._body), MOST_BYTES_OF_ANSWER)
        if len(plain) > MOST_BYTES_OF_ANSWER:
            raise ValueError(_TOO_LONG)
        return plain

    def feed(self, data: bytes) -> None:
        """Read on; what is no HTTP fails it, and what comes behind it ends the connection."""
        self.begun = True
        if self.whole.done():
            self.keeps = False
            return
        self._bytes += len(data)
        try:
            self._parser.feed_data(data)
        except _NO_HTTP as error:
            self.keeps = False
            self.fail(error)
        most = MOST_BYTES_OF_ANSWER if self._head_is_read else _MOST_BYTES_OF_HEAD
        if self._bytes > most:
            self.fail(ValueError(_TOO_LONG))

    def fail(self, error: Exception) -> None:
        """It will not be whole."""
        if not self.whole.done():
            self.whole.set_exception(error)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.whole.done():
            raise ValueError("there are two answers to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_is_read:  # What comes behind a body is none that counts.
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.keeps = self._parser.should_keep_alive()
        if self.status >= _FINAL:
            self._head_is_read = True
            if self._bodiless:
                self._end()
        if not _FIRST <= self.status < _NO_STATUS or self.status == _SWITCHED:
            self.fail(ValueError(f"the answer has the status {self.status}"))

    def on_body(self, part: bytes) -> None:
        if self.whole.done():
            raise ValueError("there is a body where only a head is to come")
        self._body += part

    def on_message_complete(self) -> None:
        if self.status >= _FINAL:
            self._end()
        else:
            self.headers.clear()  # Of an answer that only says that another will come.

    def _end(self) -> None:
        if not self.whole.done():
            self.whole.set_result(None)


class _Connection(asyncio.Protocol):
    """A connection, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: _Answer | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent.

        Not where something waits to be read, an end or an answer that nobody asked for: what is
        asked here next would get it.
        """
        if self._transport is None or self._transport.is_closing():
            return False
        return not wait_for_read(self._transport.get_extra_info("socket"), timeout=0)

    async def ask(self, request: bytes, answer: _Answer) -> None:
        """Send a request, and wait until its answer is whole.

        Raises:
            OSError: the server hung up.
            ValueError: the answer cannot be taken; as those of ``httptools`` where it is no HTTP.
        """
        assert self._transport is not None
        self._answer = answer
        self._transport.write(request)
        try:
            await answer.whole
        finally:
            self._answer = None

    def close(self) -> None:
        """Hang up at once, so that Elasticsearch ends what it is doing."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()  # Nobody asked.
        else:
            self._answer.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self._answer.fail(exc or ConnectionResetError("the server hung up"))


class HttpNode(AiohttpHttpNode):
    """A node for ``AsyncElasticsearch(node_class=HttpNode)``, one that verifies certificates.

    It opens a connection where none is free; how many there are is for its caller to limit.
    """

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        self._free: list[_Connection] = []

    async def perform_request(  # type: ignore[override]
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> NodeApiResponse:
        """Send a request and read its answer.

        Raises:
            TransportError: there is none, or none in time.
        """
        begun = time.monotonic()
        within = self.config.request_timeout if request_timeout is DEFAULT else request_timeout
        request = self._as_bytes(method, target, body, headers)
        try:
            async with asyncio.timeout(within):
                answer = await self._answer(method, request)
            unpacked = answer.body
        except TimeoutError as error:
            raise ConnectionTimeout("no answer in time", errors=(error,)) from None
        except ssl.SSLError as error:
            raise TlsError(str(error), errors=(error,)) from None
        except (OSError, ValueError, *_NO_HTTP) as error:
            raise TransportConnectionError(str(error), errors=(error,)) from None
        duration = time.monotonic() - begun
        headers = HttpHeaders(answer.headers)
        meta = ApiResponseMeta(answer.status, "1.1", headers, duration, self.config)
        return NodeApiResponse(meta, unpacked)

    async def close(self) -> None:  # type: ignore[override]
        """Hang up."""
        for connection in self._free:
            connection.close()
        self._free.clear()

    def _as_bytes(
        self, method: str, target: str, body: bytes | None, headers: HttpHeaders | None
    ) -> bytes:
        sent = {name.lower(): value for name, value in self.headers.items()}
        sent.update((name.lower(), value) for name, value in (headers or {}).items())
        host = f"[{self.host}]" if ":" in self.host else self.host
        sent["host"] = f"{host}:{self.port}"
        if body is not None or method not in _SAFE_TO_REPEAT:
            sent["content-length"] = str(len(body or b""))
        head = [f"{method} {self.path_prefix}{target} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in sent.items()]
        _check_lines(head)
        return "\r\n".join([*head, "", ""]).encode("latin-1") + (body or b"")

    async def _answer(self, method: str, request: bytes) -> _Answer:
        while True:
            connection, is_new = await self._connection()
            answer = _Answer(bodiless=method == "HEAD")
            try:
                await connection.ask(request, answer)
            except OSError:
                # A server may hang up on a connection just when it is used again.
                if is_new or answer.begun or method not in _SAFE_TO_REPEAT:
                    raise
            except BaseException:
                connection.close()
                raise
            else:
                if answer.keeps:
                    self._free.append(connection)
                else:
                    connection.close()
                return answer

    async def _connection(self) -> tuple[_Connection, bool]:
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection, False
            connection.close()
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, self.host, self.port, ssl=self._ssl_context
        )
        return connection, True


def _check_lines(head: list[str]) -> None:
    for line in head:
        if "\r" in line or "\n" in line:
            raise ValueError("a line of the head of a request has a line break in it")


OPAQUE_ID: ContextVar[str | None] = ContextVar("opaque_id", default=None)
"""What the client calls its request: ``X-Opaque-Id`` of all that is asked because of it.

``client.options(opaque_id=…)`` would say the same by a new client for each request, which takes
0.2 ms to make.
"""

# That of the Elasticsearch client of version 8 takes less, and no status.
_SPANS_OF_9 = hasattr(OpenTelemetrySpan, "set_db_response")


class OneTry(AsyncTransport):
    """Sends a request to the one node that there is, once; whoever asked may ask again."""

    async def perform_request(  # type: ignore[override]
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | DefaultType = DEFAULT,
        request_timeout: DefaultType | float | None = DEFAULT,
        otel_span: OpenTelemetrySpan | DefaultType = DEFAULT,
        **_: Any,
    ) -> TransportApiResponse:
        """Send it; what says how often it is to be sent again is left out.

        Raises:
            TransportError: there is no answer, or none that can be read.
        """
        span = OpenTelemetrySpan(None) if isinstance(otel_span, DefaultType) else otel_span
        sent = HttpHeaders() if isinstance(headers, DefaultType) else HttpHeaders(headers)
        if (opaque_id := OPAQUE_ID.get()) is not None:
            sent["x-opaque-id"] = opaque_id
        data = None
        if body is not None:
            data = self.serializers.dumps(body, mimetype=sent.get("content-type"))
            span.set_db_statement(data)
        node: Any = self.node_pool.get()
        if _SPANS_OF_9:
            span.set_node_metadata(node.host, node.port, node.base_url, target, method)
        meta, answer = await node.perform_request(method, target, data, sent, request_timeout)
        if _SPANS_OF_9:
            span.set_db_response(meta.status)
        read = None if method == "HEAD" else self.serializers.loads(answer, meta.mimetype)
        return TransportApiResponse(meta, read)


class FastJson(JsonSerializer):
    """Bodies as the standard library writes and reads them, in a fraction of its time."""

    def json_dumps(self, data: Any) -> bytes:
        """A body as JSON.

        Raises:
            SerializationError: it has a value that JSON has no form for.
        """
        try:
            text = msgspec.json.encode(data)
        except (TypeError, UnicodeEncodeError):  # Half of a surrogate pair.
            return super().json_dumps(data)
        # An infinite number is written so, which would mean another thing; the engine refuses it.
        return super().json_dumps(data) if b"null" in text else text

    def loads(self, data: bytes) -> Any:
        """The object that an answer is.

        Raises:
            SerializationError: it is none.
        """
        found = super().loads(data)
        if not isinstance(found, dict):
            raise SerializationError("Unable to deserialize: the answer is no JSON object")
        return found

    def json_loads(self, data: bytes) -> Any:
        """What JSON says; whole numbers of any length are exact.

        Raises:
            ValueError: it is none, or too deep.
        """
        try:
            return _decoded(data)
        except RecursionError:
            raise ValueError("it goes deeper than can be followed") from None


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):  # Half of a surrogate pair, or 1e400.
        return json.loads(data)


SERIALIZERS = {kind: FastJson() for kind in (FastJson.mimetype, "text/*")}
"""By the type of a body. Text is a proxy's page: it is read as JSON, and so it is an error."""
