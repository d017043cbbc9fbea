"""How fast a job may go: the options that ``backfill`` and ``reindex`` share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from saferank.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

    from saferank.indexer.jobs.records import Pace

Slices = Annotated[int, typer.Option(min=1, help="Parts read in parallel.")]
Rate = Annotated[float | None, typer.Option(min=0.001, help="Documents a second at most.")]
InFlight = Annotated[
    int | None,
    typer.Option(
        min=1, help="Tasks queued or in progress at a time; by default as in the settings."
    ),
]
Chunk = Annotated[
    int | None, typer.Option(min=1, help="Documents in a task; by default as in the settings.")
]


_STILL = 10.0  # seconds after which it is asked why nothing moves


class Waiting:
    """Why a job does not move, for those who look at its progress bar.

    Args:
        app: with the broker.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._documents = -1
        self._since = time.monotonic()
        self._reason = ""

    def reason(self, documents: int) -> str:
        """A sentence when nothing was done for a while, else nothing.

        Args:
            documents: done so far.
        """
        now = time.monotonic()
        if documents != self._documents:
            self._documents, self._since, self._reason = documents, now, ""
        elif now - self._since > _STILL:
            from saferank.indexer.operate.health import workers_alive

            self._since = now
            alive = workers_alive(self._app)
            none = "no worker answers; start 'saferank worker'"
            self._reason = f"waiting for {', '.join(alive)}" if alive else none
        return self._reason


def make_pace(
    settings: Settings,
    *,
    slices: int,
    rate: float | None,
    in_flight: int | None,
    chunk: int | None,
) -> Pace:
    """The pace that the options ask for; needs the extra ``indexer``."""
    from saferank.indexer.jobs.records import Pace

    indexer = settings.indexer
    return Pace(chunk or indexer.chunk_size, in_flight or indexer.in_flight, rate, slices)
