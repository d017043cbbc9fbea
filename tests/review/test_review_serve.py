"""The server of the review: what it takes for a header of a request."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

APP = """
import sys
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from saferank.review.web.serve import serve

async def said(request):
    await request.body()
    return JSONResponse(request.headers.getlist("x-user"))

serve(Starlette(routes=[Route("/", said, methods=["POST"])]), "127.0.0.1", int(sys.argv[1]))
"""


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    process = subprocess.Popen([sys.executable, "-c", APP, str(address[1])])
    try:
        while True:
            assert process.poll() is None
            try:
                made = socket.create_connection(address, timeout=20)
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                break
        with made:
            yield made
    finally:
        process.terminate()
        process.wait(20)


def test_a_name_behind_the_body_is_nobodys(connection: socket.socket) -> None:
    """A proxy takes the header out of what visitors send, and leaves what comes behind a body."""
    head = "POST / HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nConnection: close\r\n"
    trailer = "Transfer-Encoding: chunked\r\n\r\n0\r\nX-User: eve\r\n\r\n"
    connection.sendall((head + trailer).encode())
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == ["ann"]
