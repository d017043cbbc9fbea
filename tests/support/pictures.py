"""A web server for pictures that is as slow, silent or broken as a test wants."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from brightness import png


@dataclass
class PictureServer:
    """Its behaviour may be changed at any time.

    Attributes:
        port: on loopback. ``127.0.0.1`` and ``localhost`` are two hosts of one server.
        seconds: by host, how long an answer takes.
        silent: hosts that accept and never answer.
        status: by host, what is answered instead of a picture.
        retry_after: sent with such a status, if any.
        requests: by host.
        bodies: by number, what is answered instead of a flat picture.
    """

    port: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    status: dict[str, int] = field(default_factory=dict)
    retry_after: str | None = None
    requests: Counter[str] = field(default_factory=Counter)
    bodies: dict[int, bytes] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, host: str, number: int) -> str:
        return f"http://{host}:{self.port}/{number}.png"


@contextmanager
def running_pictures() -> Iterator[PictureServer]:
    pictures = PictureServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").partition(":")[0]
            pictures.requests[host] += 1
            while host in pictures.silent and not pictures.closing.wait(0.1):
                pass
            time.sleep(pictures.seconds.get(host, 0))
            number = int(self.path.strip("/").partition(".")[0])
            status = pictures.status.get(host, 200)
            flat = png(number % 256, (8 + number // 256, 8))
            body = pictures.bodies.get(number, flat) if status == 200 else b""
            self.send_response(status)
            if status != 200 and pictures.retry_after:
                self.send_header("Retry-After", pictures.retry_after)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # the client gave up
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    pictures.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield pictures
    finally:
        pictures.closing.set()
        server.shutdown()
        server.server_close()
