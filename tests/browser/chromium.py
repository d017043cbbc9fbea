"""Chromium as a viewer: bytes in, the pixels that it shows out.

The browser opens one page from a server on 127.0.0.1. The page asks for one file after the other,
draws it on a white canvas and posts the pixels back; so nothing but HTTP is spoken with it.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_PAGE = Path(__file__).with_name("viewer.html")
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)
_PATIENCE = 60.0  # seconds for a picture, and for the browser to start
_POLL = 5.0  # seconds that the page waits for its next file before it asks again


class NotShown(Exception):
    """Chromium shows nothing; the message is its own."""


class Chromium:
    """A headless browser that shows one file at a time."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[dict[str, object]] = queue.Queue()
        self._replies: queue.Queue[tuple[int, Pixels | str]] = queue.Queue()
        self._number = 0
        self._data = b""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._process: subprocess.Popen[bytes] | None = None
        self._profile: Path | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._server.shutdown()

    @staticmethod
    def version() -> str:
        """What the browser calls itself."""
        said = subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True)
        return said.stdout.strip()

    def show(self, data: bytes, media_type: str | None, frames: int) -> list[Pixels]:
        """Show a file.

        Args:
            data: the whole file.
            media_type: of a format that may be animated; None for the others.
            frames: how many of an animation's frames to show at most.

        Returns:
            Each frame, height x width x RGB.

        Raises:
            NotShown: it is no picture for this browser.
        """
        self._number += 1
        self._data = data
        self._jobs.put({"number": self._number, "type": media_type, "frames": frames})
        shown = []
        while True:
            try:
                number, reply = self._replies.get(timeout=_PATIENCE)
            except queue.Empty:
                self._stop()
                self._start()
                raise NotShown(f"no answer in {_PATIENCE:g} s") from None
            if number != self._number:  # of a file that was given up
                continue
            if not isinstance(reply, str):
                shown.append(reply)
            elif reply:
                raise NotShown(reply)
            else:
                return shown

    def _start(self) -> None:
        address = f"http://127.0.0.1:{self._server.server_port}/"
        self._profile = Path(tempfile.mkdtemp(prefix="saferank-chromium-"))
        self._process = subprocess.Popen(
            [_program(), *_OPTIONS, f"--user-data-dir={self._profile}", address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that its own children can be ended with it
        )

    def _stop(self) -> None:
        if self._process is None or self._profile is None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)
        self._process = self._profile = None

    def answer(self, path: list[str]) -> tuple[str, bytes]:
        """Give what the page asks for: media type and content."""
        if path[0] == "next":
            try:
                job: dict[str, Any] | None = dict(self._jobs.get(timeout=_POLL))
            except queue.Empty:
                job = None
            return "application/json", json.dumps(job).encode()
        if path[0] == "file":  # of no type, so that the browser looks at the bytes
            return "application/octet-stream", self._data
        return "text/html", _PAGE.read_bytes()

    def take(self, path: list[str], body: bytes) -> None:
        """Take what the page posts: a frame, or the end of a file with its error if any."""
        if path[0] == "end":
            self._replies.put((int(path[1]), body.decode()))
        elif path[0] == "frame":
            number, width, height = map(int, path[1:])
            pixels = np.frombuffer(body, np.uint8).reshape(height, width, 4)
            self._replies.put((number, pixels[..., :3]))


def _program() -> str:
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return found
    raise SystemExit("Chromium is missing; on Debian: apt-get install chromium")


def _handler(browser: Chromium) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media_type, content = browser.answer(self.path.strip("/").split("/"))
            self._reply(200, media_type, content)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            browser.take(self.path.strip("/").split("/"), body)
            self._reply(200, "text/plain", b"")

        def _reply(self, status: int, media_type: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(BrokenPipeError):  # the browser has seen enough of the file
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
