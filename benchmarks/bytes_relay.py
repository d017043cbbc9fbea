"""Passes bytes on, both ways, without a look at them: what one more process on the way costs.

python benchmarks/bytes_relay.py http://localhost:9200 9282
"""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import urlsplit

import uvloop


class Upstream(asyncio.Protocol):
    """A connection to the server."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.close()


class Downstream(asyncio.Protocol):
    """A connection of a client."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._server: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._connecting = asyncio.ensure_future(self._connect(transport))

    async def _connect(self, client: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        self._server, _ = await loop.create_connection(lambda: Upstream(client), *self._address)
        self._server.writelines(self._early)

    def data_received(self, data: bytes) -> None:
        if self._server is None:
            self._early.append(data)
        else:
            self._server.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._server is not None:
            self._server.close()


async def serve(url: str, port: int) -> None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host, upstream_port = parts.hostname, parts.port
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Downstream(host, upstream_port), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
