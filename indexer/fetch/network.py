"""Connections that go to the address that was checked, and keep to the time limit.

A check before the request is worth nothing: the client looks the name up again, and the answer
may have changed. So the check sits where the socket is opened: httpcore asks this backend for
a connection to a host name; it looks the name up once, checks every address, and connects to
those very addresses. TLS still verifies the name.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from typing import TypeAlias

import httpcore

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.fetch.addresses import check_address
from saferank.indexer.fetch.deadline import remaining, within_deadline
from saferank.settings import FetchSettings

Resolver: TypeAlias = Callable[[str, int], list[str]]
"""From host name and port to IP addresses, best first. Raises ``OSError``."""


def system_resolver(host: str, port: int) -> list[str]:
    """Look a name up as the system does; numbers in any notation come out as addresses."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CheckedBackend(httpcore.NetworkBackend):
    """Opens connections only to allowed addresses.

    Args:
        settings: which addresses are allowed; all are when there is a proxy to decide it.
        resolver: looks names up.
    """

    def __init__(self, settings: FetchSettings, resolver: Resolver = system_resolver) -> None:
        self._settings = settings
        self._resolver = resolver
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers.

        Raises:
            ImageError: ``forbidden_address``, ``unreachable`` or ``timeout``.
        """
        addresses = self._look_up(host, port)
        if self._settings.proxy is None:
            for address in addresses:
                check_address(address, self._settings)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                stream = self._sockets.connect_tcp(
                    address, port, remaining() / left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
            else:
                return _TimedStream(stream)
        raise ImageError(
            ErrorCode.UNREACHABLE, f"no connection to {host}:{port}: {last or 'timed out'}"
        ) from last

    def _look_up(self, host: str, port: int) -> list[str]:
        try:
            addresses = within_deadline(lambda: self._resolver(host, port))
        except UnicodeError as error:
            raise ImageError(
                ErrorCode.UNSUPPORTED_REFERENCE, f"{host!r} cannot be a host name: {error}"
            ) from error
        except OSError as error:
            raise ImageError(
                ErrorCode.UNREACHABLE, f"the name {host!r} cannot be looked up: {error}"
            ) from error
        if not addresses:
            raise ImageError(ErrorCode.UNREACHABLE, f"the name {host!r} has no address")
        return addresses


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every wait ends with the image's time limit.

    httpcore's own limits are per read: a server that drips bytes would never meet them.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, remaining())

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, remaining()))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
