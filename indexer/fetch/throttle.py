"""Courtesy: how many requests one host gets at a time, and how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from saferank.settings import FetchSettings


@dataclass(slots=True)
class _Host:
    active: int = 0
    next_start: float = 0.0


class Throttle:
    """Limits requests per host within this process; safe to share between threads."""

    def __init__(self, settings: FetchSettings) -> None:
        self._limit = settings.per_host
        self._interval = 1 / settings.per_host_rate if settings.per_host_rate else 0.0
        self._hosts: dict[str, _Host] = {}
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, host: str) -> Iterator[None]:
        """Wait for the host's turn, and hold a place while the block runs."""
        self._enter(host)
        try:
            yield
        finally:
            self._leave(host)

    def _enter(self, host: str) -> None:
        with self._changed:
            while True:
                state = self._hosts.setdefault(host, _Host())
                wait = state.next_start - time.monotonic()
                if state.active < self._limit and wait <= 0:
                    state.active += 1
                    state.next_start = time.monotonic() + self._interval
                    return
                self._changed.wait(wait if state.active < self._limit else None)

    def _leave(self, host: str) -> None:
        with self._changed:
            self._hosts[host].active -= 1
            now = time.monotonic()
            self._hosts = {
                name: state
                for name, state in self._hosts.items()
                if state.active or state.next_start > now
            }
            self._changed.notify_all()
