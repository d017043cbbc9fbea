"""How many calls are worked on at once, so that no caller takes all of Elasticsearch's time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from saferank.gateway.answers import Refused


class Gate:
    """Lets calls in.

    Args:
        together: calls that are worked on at once.
        waiting: calls that wait for one of these places; those beyond are refused.
        each: calls of one caller that are worked on or wait.
    """

    def __init__(self, together: int, waiting: int, each: int) -> None:
        self._places = asyncio.Semaphore(together)
        self._most = together + waiting
        self._each = each
        self._inside: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        """Calls that are worked on or wait."""
        return self._inside.total()

    @asynccontextmanager
    async def place(self, caller: str) -> AsyncIterator[None]:
        """A place for one call.

        Args:
            caller: whose it is.

        Raises:
            Refused: there are too many; the same may succeed in a moment.
        """
        if self._inside[caller] >= self._each:
            raise _busy(f"{self._each} calls of this caller are being answered already")
        if self.inside >= self._most:
            raise _busy(f"{self._most} calls are being answered already")
        self._inside[caller] += 1
        try:
            async with self._places:
                yield
        finally:
            self._inside[caller] -= 1
            if not self._inside[caller]:
                del self._inside[caller]


def _busy(reason: str) -> Refused:
    # Elasticsearch says it so, and its clients try again.
    return Refused(
        HTTPStatus.TOO_MANY_REQUESTS,
        "es_rejected_execution_exception",
        f"{reason}; try again in a moment",
        {"Retry-After": "1"},
    )
