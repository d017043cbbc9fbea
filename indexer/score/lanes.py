"""Fetching many images at once, so that none that is slow holds up another.

Each reference belongs to a lane, its host say. The next to start is from the lane that has the
fewest under way; so a slow host takes threads only as long as no other wants them. What came is
given as it comes. The lane without a name is for what no host serves.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """Calls a function for many references, in threads.

    Args:
        call: must not raise.
        lane_of: the references, each with its lane.
        threads: calls at once.
        width: calls at once in one lane that has a name.
    """

    def __init__(
        self,
        call: Callable[[str], T],
        lane_of: Mapping[str, str],
        *,
        threads: int,
        width: int,
    ) -> None:
        self._call = call
        self._threads = threads
        self._width = width
        self._waiting: dict[str, deque[str]] = {}
        for reference, lane in lane_of.items():
            self._waiting.setdefault(lane, deque()).append(reference)
        self._running: Counter[str] = Counter()
        self._came: deque[tuple[str, T]] = deque()
        self._changed = threading.Condition()
        self.lanes_at_start = len(self._waiting)

    @property
    def lanes_left(self) -> int:
        """Lanes of which something is waiting or under way."""
        with self._changed:
            return len(self._waiting.keys() | +self._running)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the threads; at the end, wait for those that are in the middle of a call."""
        count = min(self._threads, sum(map(len, self._waiting.values())))
        threads = [
            threading.Thread(target=self._work, name=f"fetch-{number}") for number in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop()
            for thread in threads:
                thread.join()

    def stop(self) -> None:
        """Start no more calls; those under way are finished."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()

    def results(self, tick: float) -> Iterator[tuple[str, T] | None]:
        """Give what came as it comes, and now and then None, when there is nothing to give.

        Args:
            tick: seconds between two such times.
        """
        until = time.monotonic() + tick
        while True:
            with self._changed:
                while not self._came and (self._waiting or +self._running):
                    if not self._changed.wait(max(0.0, until - time.monotonic())):
                        break
                if self._came:
                    item: tuple[str, T] | None = self._came.popleft()
                    self._changed.notify_all()
                elif self._waiting or +self._running:
                    item, until = None, time.monotonic() + tick
                else:
                    return
            yield item

    def _work(self) -> None:
        while True:
            with self._changed:
                while (lane := self._next_lane()) is None and self._waiting:
                    self._changed.wait()
                if lane is None:
                    return
                reference = self._waiting[lane].popleft()
                if not self._waiting[lane]:
                    del self._waiting[lane]
                self._running[lane] += 1
            result = self._call(reference)
            with self._changed:
                self._running[lane] -= 1
                self._came.append((reference, result))
                self._changed.notify_all()

    def _next_lane(self) -> str | None:
        """The lane to start from, of those that may; None while too much lies there unused."""
        if len(self._came) >= self._threads:
            return None
        free = [lane for lane in self._waiting if not lane or self._running[lane] < self._width]
        return min(free, key=lambda lane: self._running[lane], default=None)
