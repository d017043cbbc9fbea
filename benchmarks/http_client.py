"""A client of HTTP that costs next to nothing, so that a benchmark measures the server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import urlsplit

import httptools


def request_bytes(url: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> bytes:
    """A request as it goes over the wire."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """A connection on which one request after another is answered.

    Attributes:
        keeps: whether the server takes another request here, by what it said last.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self.keeps = True

    @classmethod
    async def to(cls, url: str) -> Self:
        """Connect to the host and the port of an address."""
        parts, loop = urlsplit(url), asyncio.get_running_loop()
        host, port = parts.hostname or "", parts.port or 80
        _, connection = await loop.create_connection(cls, host, port)
        return connection

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; the status and the body of the answer."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def close(self) -> None:
        """Hang up."""
        assert self._transport is not None
        self._transport.close()

    # What asyncio and the parser call.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("the server hung up"))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        body, self._parts = b"".join(self._parts), []
        self.keeps = self._parser.should_keep_alive()  # Afterwards it is always false.
        if self._answered is not None and not self._answered.done():
            self._answered.set_result((self._parser.get_status_code(), body))


class Pool:
    """Connections to one server, each for one request at a time.

    Args:
        url: where to connect to.
        connections: that are open.
    """

    def __init__(self, url: str, connections: Sequence[Connection]) -> None:
        self._url = url
        self._free: asyncio.Queue[Connection] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)

    @classmethod
    async def to(cls, url: str, size: int) -> Self:
        """Open so many."""
        return cls(url, [await Connection.to(url) for _ in range(size)])

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request on the connection that is free the longest, or the first that will be."""
        connection = await self._free.get()
        try:
            return await connection.ask(request)
        finally:
            if not connection.keeps:
                connection.close()
                connection = await Connection.to(self._url)
            self._free.put_nowait(connection)

    def close(self) -> None:
        """Hang up all that are free."""
        while not self._free.empty():
            self._free.get_nowait().close()
