"""One time limit over everything that fetching an image takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from saferank.errors import ErrorCode, ImageError

T = TypeVar("T")

_end: ContextVar[float] = ContextVar("end of the time for this image")


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Give the code inside the block so many seconds in all; ``remaining`` tells what is left."""
    token = _end.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _end.reset(token)


def remaining() -> float:
    """Seconds left, always above zero.

    Raises:
        ImageError: ``timeout``, when none is left.
    """
    left = _end.get() - time.monotonic()
    if left <= 0:
        raise ImageError(
            ErrorCode.TIMEOUT, "fetching took too long; raise fetch.timeout to allow more"
        )
    return left


def within_deadline(function: Callable[[], T]) -> T:
    """Call a function that has no time limit of its own, and stop waiting when time is up.

    The call itself cannot be stopped: it goes on in a daemon thread until it returns.

    Raises:
        ImageError: ``timeout``.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # carried over to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True, name="saferank-fetch")
    thread.start()
    thread.join(remaining())
    if failure:
        raise failure[0]
    if not outcome:
        raise ImageError(
            ErrorCode.TIMEOUT, "there was no answer in time; raise fetch.timeout to allow more"
        )
    return outcome[0]
