"""How fast a job may go: the options that ``backfill`` and ``reindex`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saferank.settings import Settings

if TYPE_CHECKING:
    from saferank.indexer.jobs.records import Pace

Slices = Annotated[int, typer.Option(min=1, help="Parts read in parallel.")]
Rate = Annotated[float | None, typer.Option(min=0.001, help="Documents a second at most.")]
InFlight = Annotated[
    int | None, typer.Option(min=1, help="Tasks queued or worked on, if not as in the settings.")
]
Chunk = Annotated[
    int | None, typer.Option(min=1, help="Documents in a task, if not as in the settings.")
]


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
