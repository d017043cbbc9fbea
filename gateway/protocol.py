"""HTTP as uvicorn speaks it, with an end to connections that are slow on purpose or stuck.

uvicorn waits for ever for the head of a request, and for a client to read its answer. Each such
connection would keep its memory, and one of the places that ``connections`` allows.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES_OF_HEAD = 64 * 1024


def protocol_with_limits(*, read_seconds: float, write_seconds: float) -> type[HttpToolsProtocol]:
    """A protocol for ``uvicorn.Config``.

    Args:
        read_seconds: for the head of a request, from the first byte or the beginning of the
            connection on.
        write_seconds: for which a client may take nothing of an answer.
    """

    class Protocol(HttpToolsProtocol):
        _reading: asyncio.TimerHandle | None = None
        _writing: asyncio.TimerHandle | None = None
        _head = 0
        _around = 0
        """Bytes since the last request, or part of a body: of a head, or around those parts."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(cast(asyncio.Transport, JoiningTransport(transport)))
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._reading = _stopped(self._reading)
            self._writing = _stopped(self._writing)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._around += len(data)
            super().data_received(data)
            # With requests that come faster than answers are taken, this ends the connection, too.
            if self._reading is not None:
                self._head += len(data)
            if (
                max(self._head, self._around) > MOST_BYTES_OF_HEAD
                and not self.transport.is_closing()
            ):
                self.send_400_response("The request has too much before or around its body.")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._expect_head()

        def on_header(self, name: bytes, value: bytes) -> None:
            # What comes behind a body is no header: a proxy that takes headers out leaves it.
            if self._reading is not None:
                super().on_header(name, value)

        def on_body(self, body: bytes) -> None:
            self._around = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._around = 0
            super().on_message_complete()

        def on_headers_complete(self) -> None:
            self._reading = _stopped(self._reading)
            super().on_headers_complete()

        def on_response_complete(self) -> None:
            cast(JoiningTransport, self.transport).send()
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._writing = self.loop.call_later(write_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._writing = _stopped(self._writing)

        def _expect_head(self) -> None:
            _stopped(self._reading)
            self._head = 0
            self._reading = self.loop.call_later(read_seconds, self.transport.abort)

    return Protocol


class JoiningTransport:
    """A transport that sends together what is written in one go: a head and its short body.

    Else each would be a packet, for each of which the client wakes up. A whole answer is sent at
    once; waiting for the loop, it would wait for all requests that have their turn before.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, once what comes with it is written, too."""
        if not self._parts:
            asyncio.get_running_loop().call_soon(self.send)
        self._parts.append(data)

    def close(self) -> None:
        """Send what was written, and close."""
        self.send()
        self._transport.close()

    def send(self) -> None:
        """Send what was written."""
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts = []


def _stopped(timer: asyncio.TimerHandle | None) -> Any:
    if timer is not None:
        timer.cancel()
    return None
