"""A proxy before a real Elasticsearch, as they stand in front of many clusters."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Rewrite = Callable[[str, bytes], bytes]


@contextmanager
def running_proxy(
    url: str, *, most_bytes: int | None = None, rewrite: Rewrite = lambda path, body: body
) -> Iterator[tuple[str, list[int]]]:
    """Pass requests on to ``url``.

    Args:
        url: of the server behind it.
        most_bytes: a larger request is answered with 413, as by nginx, without being passed on.
        rewrite: changes an answer's body; given the path as well.

    Yields:
        The proxy's URL, and the sizes of the requests that it refused.
    """
    behind = urlsplit(url)
    refused: list[int] = []

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if most_bytes is not None and len(body) > most_bytes:
                refused.append(len(body))
                self._answer(413, {"Content-Type": "text/html"}, b"<html>413 Too Large</html>")
                return
            connection = HTTPConnection(str(behind.hostname), behind.port, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            headers["Accept-Encoding"] = "identity"
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            kept = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in ("content-length", "transfer-encoding", "connection")
            }
            self._answer(answer.status, kept, rewrite(self.path, answer.read()))
            connection.close()

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", refused
    finally:
        server.shutdown()
        server.server_close()


def renamed_items(path: str, body: bytes) -> bytes:
    """Answer updates of a bulk as 9.5 does under pressure: as ``index``, turned away, yet stored.

    Every second item of a bulk is so.
    """
    if "_bulk" not in path:
        return body
    answer = json.loads(body)
    for place, item in enumerate(answer["items"]):
        (result,) = item.values()
        if place % 2 and result["status"] < 400:
            error = {"type": "es_rejected_execution_exception", "reason": "pressure"}
            answer["items"][place] = {"index": {**result, "status": 429, "error": error}}
    return json.dumps(answer).encode()
