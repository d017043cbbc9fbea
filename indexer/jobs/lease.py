"""Holding a job: it belongs to one producer, as long as that one beats.

    acquire ──▶ held ──────────── finish ──▶ done, cancelled
                │  ▲
         let go │  │ acquire, in any process
      or silent │  │
      for LEASE ▼  │
               nobody's

What others ask of a job (to pause, to resume, to end) stands in its record, and each beat reads it.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError

from saferank.errors import JobError
from saferank.indexer.jobs.records import Job, Jobs, JobState

log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Somebody asked for the end of a job that this process holds."""


class Lease:
    """A job that this process holds. Threads must take turns with it.

    Args:
        jobs: the records.
        job: as acquired.
        every: seconds between two beats, and so how soon the job does what it is asked.

    Attributes:
        job: as its record was last stored.
    """

    def __init__(self, jobs: Jobs, job: Job, *, every: float) -> None:
        self.job = job
        self._jobs = jobs
        self._every = every
        self._beat_at = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for a beat."""
        return time.monotonic() - self._beat_at >= self._every

    @property
    def paused(self) -> bool:
        """Whether the job was asked to wait."""
        return self.job.state is JobState.PAUSED

    def beat(self, **changes: Any) -> None:
        """Renew the lease, store changes of the record, and learn what is asked of the job.

        Raises:
            JobError: another producer took over; stop at once.
        """
        self.job = self._jobs.beat(self.job, **changes)
        self._beat_at = time.monotonic()

    def check_cancelled(self) -> None:
        """Stop a job that was cancelled.

        Raises:
            Cancelled: it was.
        """
        if self.job.state is JobState.CANCELLED:
            raise Cancelled

    def finish(self, state: JobState, note: str, **changes: Any) -> Job:
        """End the job, with a sentence about the end.

        Raises:
            JobError: another producer took over.
        """
        self.beat(state=state, owner=None, finished_at=datetime.now(UTC), note=note, **changes)
        return self.job

    def let_go(self) -> Job:
        """Leave the job unfinished, for any process to resume.

        Where that cannot be stored, the others wait until the lease has run out.
        """
        try:
            self.beat(owner=None)
        except (JobError, TransportError, ApiError) as error:
            log.warning("job %s: %s", self.job.id, error)
        return self.job
