"""Courtesy: how many requests one host gets at a time, how often, and none while it is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from saferank.errors import ErrorCode, ImageError
from saferank.settings import FetchSettings

# Failures in a row after which a host counts as away; one may be the image's own.
_AWAY_AFTER = 3
_FIRST_PAUSE = 10.0
_LONGEST_PAUSE = 300.0
# A host that nobody asked for so long is forgotten, with all that was known of it.
_FORGOTTEN = 3600.0


@dataclass(slots=True)
class _Host:
    """What is known of a host.

    Attributes:
        active: requests under way.
        next_start: when the rate allows the next one.
        failures: transient ones in a row.
        pauses: for which it was left alone since it last answered.
        error: the last of them.
        away_until: when it is asked again; times are on the monotonic clock.
    """

    active: int = 0
    next_start: float = 0.0
    failures: int = 0
    pauses: int = 0
    error: ImageError | None = None
    away_until: float = 0.0

    def away_for(self, now: float) -> float:
        """Seconds until it may be asked; 0 when it may now. One request finds out for all."""
        if now < self.away_until:
            return self.away_until - now
        probed = self.failures >= _AWAY_AFTER and self.active > 0
        return _FIRST_PAUSE if probed else 0.0

    def note(self, error: BaseException | None, now: float) -> None:
        """Learn from how a request ended."""
        if not isinstance(error, ImageError) or not error.code.transient:
            self.failures, self.pauses, self.error, self.away_until = 0, 0, None, 0.0
            return
        self.failures += 1
        self.error = error
        pause = error.retry_after or 0.0
        # Requests that were under way when the pause began tell nothing new.
        if self.failures >= _AWAY_AFTER and now >= self.away_until:
            pause = max(pause, min(_FIRST_PAUSE * 2.0**self.pauses, _LONGEST_PAUSE))
            self.pauses = min(self.pauses + 1, 10)
        self.away_until = max(self.away_until, now + pause)


class Throttle:
    """Limits requests per host within this process; safe to share between threads."""

    def __init__(self, settings: FetchSettings) -> None:
        self._limit = settings.per_host
        self._interval = 1 / settings.per_host_rate if settings.per_host_rate else 0.0
        self._hosts: dict[str, _Host] = {}
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, host: str) -> Iterator[None]:
        """Wait for the host's turn, and hold a place while the block runs.

        How the block ends tells whether the host answers: after several transient failures in a
        row, or when it asked for a pause, it is left alone for as long.

        Raises:
            ImageError: the host is left alone at the moment, with ``retry_after``.
        """
        self._enter(host)
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._leave(host, error)

    def _enter(self, host: str) -> None:
        with self._changed:
            while True:
                state = self._hosts.setdefault(host, _Host())
                now = time.monotonic()
                if away := state.away_for(now):
                    raise _away(host, state, away)
                wait = state.next_start - now
                if state.active < self._limit and wait <= 0:
                    state.active += 1
                    state.next_start = now + self._interval
                    return
                self._changed.wait(wait if state.active < self._limit else None)

    def _leave(self, host: str, error: BaseException | None) -> None:
        with self._changed:
            now = time.monotonic()
            self._hosts[host].active -= 1
            self._hosts[host].note(error, now)
            self._hosts = {
                name: state
                for name, state in self._hosts.items()
                if state.active
                or state.next_start > now
                or (state.failures and now < state.away_until + _FORGOTTEN)
            }
            self._changed.notify_all()


def _away(host: str, state: _Host, seconds: float) -> ImageError:
    code = ErrorCode.UNREACHABLE if state.error is None else state.error.code
    return ImageError(
        code,
        f"{host} is left alone, since it did not answer or asked for it ({state.error}); it is "
        f"asked again in {seconds:.0f} s",
        retry_after=seconds,
    )
