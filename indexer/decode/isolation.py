"""Decoding in a child process that can be killed.

Why, and for what: the common formats of the web (JPEG, PNG, GIF, WebP) are decoded in this
process, because the limits checked beforehand bound their work, and their libraries are the
best tried there are. Everything else (TIFF, JPEG 2000, AVIF, HEIF, Photoshop, game textures and
so on) is rare and its decoders may loop, crash or ask for much more memory than the picture
has; no thread can stop them. One child for this process is started when the first such file
comes, and again only after it had to be killed; pixels come back over a socket, at about a
hundredth of a second for ten million of them.

The parent believes nothing that it gets from the child: no pickles, only sizes and pixels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection, Pipe
from typing import Any

from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.settings import DecodeSettings

_START = 60.0  # seconds for the child to import its libraries, on a busy machine
_GRACE = 2.0  # seconds past the limit for the child to report the time-out itself
_CODES = {str(code): code for code in ErrorCode}


class DecoderProcess:
    """A child that decodes one file at a time; threads take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None

    def run(
        self, task: str, data: bytes, settings: DecodeSettings
    ) -> tuple[list[Image.Image], dict[str, Any]]:
        """Have a file decoded.

        Args:
            task: name of one of ``child.TASKS``.
            data: the whole file.
            settings: limits; past ``timeout`` the child is killed.

        Returns:
            The pictures, RGB, and what else the child says about the file.

        Raises:
            ImageError: as the child reports, or ``decode_timeout``, or ``unreadable`` when the file
                crashed the child.
        """
        with self._lock:
            connection = self._connect(settings)
            deadline = time.monotonic() + settings.timeout + _GRACE
            try:
                connection.send_bytes(
                    json.dumps({"task": task, "settings": settings.model_dump()}).encode()
                )
                connection.send_bytes(data)
                reply = json.loads(_receive(connection, deadline))
                if "code" in reply:
                    raise ImageError(_CODES[reply["code"]], reply["message"])
                pictures = [
                    Image.frombytes("RGB", (width, height), _receive(connection, deadline))
                    for width, height in reply.pop("sizes")
                ]
            except TimeoutError as error:
                self._kill()
                raise ImageError(
                    ErrorCode.DECODE_TIMEOUT,
                    f"decoding took more than {settings.timeout:g} s; raise decode.timeout to "
                    "allow more",
                ) from error
            except (OSError, EOFError) as error:
                status = self._kill()
                raise ImageError(
                    ErrorCode.UNREADABLE, f"the image crashed its decoder (exit status {status})"
                ) from error
            return pictures, reply

    def _connect(self, settings: DecodeSettings) -> Connection[Any, Any]:
        if self._process is not None and self._owner == os.getpid():
            if self._process.poll() is None and self._connection is not None:
                return self._connection
            self._kill()
        return self._start(settings)

    def _start(self, settings: DecodeSettings) -> Connection[Any, Any]:
        ours, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "saferank.indexer.decode.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libtiff and others print what they think of a file
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        self._owner, self._connection = os.getpid(), ours
        try:
            _receive(ours, time.monotonic() + _START)
        except (OSError, EOFError, TimeoutError) as error:
            status = self._kill()
            raise ImageError(
                ErrorCode.INTERNAL,
                f"the decoder process did not start (exit status {status}); to see why: "
                "python -m saferank.indexer.decode.child 0",
            ) from error
        return ours

    def _kill(self) -> int | None:
        """End the child, if there is one, and give its exit status."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        process.kill()
        return process.wait()


def _receive(connection: Connection[Any, Any], deadline: float) -> bytes:
    if not connection.poll(max(0.0, deadline - time.monotonic())):
        raise TimeoutError
    return connection.recv_bytes()
