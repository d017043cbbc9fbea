"""Work in threads, and what follows from it in the thread that asked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Crew:
    """Has work done, and keeps all that follows from it in one thread, so that nothing is locked.

    Args:
        pool: does the work; None to have it done at once by the thread that asks.
        most: pieces of work under way before ``await_room`` waits.
    """

    def __init__(self, pool: Executor | None, most: int) -> None:
        self._pool = pool
        self._most = most
        self._under_way = 0
        self._done: SimpleQueue[tuple[Future[Any], Callable[[Any], None]]] = SimpleQueue()

    def do(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Have something done.

        Args:
            work: what to do, in any thread. What it raises is raised when it is settled.
            then: called with what came of it, in the thread that settles.
        """
        if self._pool is None:
            then(work())
            return
        self._under_way += 1
        future = self._pool.submit(work)
        future.add_done_callback(lambda done: self._done.put((done, then)))

    def await_room(self) -> None:
        """Settle what is done, and wait while too much is under way."""
        self.settle()
        while self._under_way >= self._most:
            self._settle_next()

    def settle(self, *, wait: bool = False) -> None:
        """Settle what is done; with ``wait``, all that is under way and what follows from it."""
        while self._under_way and (wait or not self._done.empty()):
            self._settle_next()

    def _settle_next(self) -> None:
        done, then = self._done.get()
        self._under_way -= 1
        then(done.result())
