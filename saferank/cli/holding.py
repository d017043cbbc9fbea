"""Taking hold of a job, also of one whose producer was killed a moment ago."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from saferank.cli.output import warn

if TYPE_CHECKING:
    from saferank.indexer.jobs.records import Jobs

T = TypeVar("T")


def hold(jobs: Jobs, acquire: Callable[[], T]) -> T:
    """Hold a job; where its producer may have been killed, as soon as that is certain.

    Args:
        jobs: the records.
        acquire: takes hold of it, or raises ``JobHeld``.

    Raises:
        JobHeld: its producer lives.
        JobError: it cannot be held for another reason.
    """
    from saferank.indexer.jobs.records import JobHeld

    try:
        return acquire()
    except JobHeld as held:
        warn(
            f"job {held.job.id!r} is held by {held.job.owner}; waiting for a sign of life, "
            f"{held.job.silent_after:.0f} seconds at most"
        )
        if jobs.lives(held.job, patiently=True):
            raise
        # The producer, should it live after all, sees that the job is no longer its own.
        jobs.beat(held.job, owner=None)
        return acquire()
