"""How far a reindex is: what its record keeps to resume from, and what people are shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from saferank.indexer.bulk.changes import NOTHING_YET
from saferank.indexer.documents import Json
from saferank.indexer.jobs.lease import Lease
from saferank.indexer.jobs.records import Job, Jobs

_PAUSED_POLL = 1.0


class Phase(StrEnum):
    """What a reindex is doing, as people are shown it."""

    STARTING = "starting"
    PREPARING = "preparing"
    COPYING = "copying"
    COMPARING_IDS = "comparing ids"
    SCORING = "scoring"
    CLOSING = "closing"
    VERIFYING = "verifying"


Reporter = Callable[[Job, Phase, int], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a reindex needs to resume after a crash.

    Attributes:
        aliases: those that move to the new index.
        rollback: whether this goes back to an earlier index.
        definition: settings and mappings of the new index, where they differ from the old one's.
        origin: uuid of the old index; None before it was seen.
        cursors: by shard of the old index, the writes that are copied; see ``changes``.
        blocked: whether this reindex refuses writes to the old index.
        documents: their number when the aliases moved.
        compared: those that were compared before.
        rollback_cursors: the cursors from which a rollback would copy.
        moved_at: when the aliases moved, if they did.
        block_seconds: how long writes were refused.
        unscored: documents of the new index that did not get their score.
    """

    aliases: Sequence[str] = ()
    rollback: bool = False
    definition: Json = field(default_factory=dict)
    origin: str | None = None
    cursors: Mapping[str, int] = field(default_factory=dict)
    blocked: bool = False
    documents: int = 0
    compared: int = 0
    rollback_cursors: Mapping[str, int] = field(default_factory=dict)
    moved_at: str | None = None
    block_seconds: float = 0.0
    unscored: int = 0

    def to_record(self) -> dict[str, Any]:
        """The JSON object to store as the job's ``progress``."""
        return asdict(self)

    @classmethod
    def of(cls, job: Job) -> Progress:
        """The progress that a job's record has; what is not noted yet has its default."""
        names = {one.name for one in fields(cls)}
        return cls(**{name: job.progress[name] for name in names & job.progress.keys()})

    def summary(self, target: str) -> str:
        """A sentence about a reindex into ``target`` that has come to its end."""
        moved = f"{', '.join(self.aliases)} now leads" if self.aliases else "no alias leads"
        left = ""
        if self.unscored:
            left = (
                f"; {self.unscored} documents did not get their score, 'saferank backfill "
                f"{target}' says why"
            )
        return (
            f"{moved} to {target}: {self.documents} documents, {self.compared} compared; "
            f"writes were refused for {self.block_seconds:.2f} s{left}"
        )


def replaced_by(jobs: Jobs, index: str) -> str | None:
    """The index that a reindex or rollback put in an index's place; None if it is in use."""
    for job in jobs.all():  # the newest first
        if index in (job.index, job.into) and Progress.of(job).moved_at:
            return job.into if job.index == index else None
    return None


class Tracker:
    """Keeps the record of a reindex up to date while several threads copy.

    Args:
        lease: on the job.
        report: called whenever the record was stored, with the job, what it is doing and the
            documents copied so far.

    Attributes:
        phase: what the reindex is doing.
        copied: documents copied by this process.
    """

    def __init__(self, lease: Lease, report: Reporter) -> None:
        self.phase = Phase.STARTING
        self.copied = 0
        self._lease = lease
        self._report = report
        self._cursors = dict(self.progress.cursors)
        self._lock = threading.RLock()

    @property
    def progress(self) -> Progress:
        """The progress as it was last stored."""
        return Progress.of(self._lease.job)

    def cursor(self, shard: str) -> int:
        """The last write of a shard that is copied."""
        return self._cursors.get(shard, NOTHING_YET)

    def advance(self, shard: str, cursor: int, documents: int) -> None:
        """Count documents that were copied, up to a write of a shard."""
        with self._lock:
            self._cursors[shard] = cursor
            self.copied += documents

    def copy_all_again(self) -> None:
        """Forget what was copied."""
        self._cursors = {}

    def note(self, **changes: Any) -> None:
        """Store how far the reindex is, with changes of its progress.

        Raises:
            JobError: another producer took over.
        """
        with self._lock:
            progress = replace(self.progress, cursors=dict(self._cursors), **changes)
            total = max(self._lease.job.total, self.copied)
            self._lease.beat(progress=progress.to_record(), total=total)
            self._report(self._lease.job, self.phase, self.copied)

    def renew(self) -> None:
        """Store how far the reindex is, when it is time for a beat."""
        with self._lock:
            if self._lease.due:
                self.note()

    def keep_up(self) -> None:
        """Renew the lease when it is time, and do as the record asks: wait or end.

        Nobody waits while writes are refused.

        Raises:
            Cancelled: the job is to end.
            JobError: another producer took over.
        """
        self.renew()
        with self._lock:  # so that all threads wait
            while self._lease.paused and not self.progress.blocked:
                time.sleep(_PAUSED_POLL)
                self.note()
        self._lease.check_cancelled()
