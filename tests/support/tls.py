"""A server behind TLS: what a proxy in front of Elasticsearch or a broker does."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trustme


@contextmanager
def behind_tls(port: int, authority: trustme.CA, name: str = "localhost") -> Iterator[int]:
    """Serve what answers at a port of this machine through TLS; gives the new port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        def serve(connection: socket.socket) -> None:
            with (
                suppress(OSError),
                connection,
                context.wrap_socket(connection, server_side=True) as client,
                socket.create_connection(("127.0.0.1", port)) as behind,
            ):
                back = threading.Thread(target=copy, args=(behind, client), daemon=True)
                back.start()
                copy(client, behind)

        def copy(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
