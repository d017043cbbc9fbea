"""The steps: copy a live index, score the copy, verify it, move the alias, keep the old index.

    make the new index
    ┌─▶ copy what was written to the old one since the last time      searches and writes
    │   remove what was deleted there                                 go to the old index
    └── score what has no score by the wanted model                   all the while
    refuse writes to the old index
        copy the last changes, compare counts and a sample            a second or so
        move the alias                                                the new index answers
    score what came in last

While writes are refused, nothing can be written that the copy would not have; so none is lost,
in whatever order clients create, update and delete. A writer that gets the refusal (403,
``cluster_block_exception``) tries again and reaches the new index through the alias. The old
index stays as it was, and stays closed for writes, so that nobody writes to it unseen.

A rollback takes the same steps in the other direction, from the point where the alias moved: what
was written to the new index since is brought to the old one first.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from celery import Celery
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from saferank.connection import index_exists
from saferank.errors import JobError, ServiceUnavailable
from saferank.indexer.bulk.changes import checkpoints
from saferank.indexer.bulk.outages import PATIENCE, Outages
from saferank.indexer.documents import Json
from saferank.indexer.jobs.lease import Cancelled, Lease
from saferank.indexer.jobs.records import Job, Jobs, JobState
from saferank.indexer.reindex import aliases
from saferank.indexer.reindex.copier import Copier
from saferank.indexer.reindex.definition import (
    create,
    definition_of,
    note_origin,
    restore_pipeline,
    uuid_of,
)
from saferank.indexer.reindex.follow import Follower
from saferank.indexer.reindex.progress import Phase, Progress, Reporter, Tracker
from saferank.indexer.reindex.scores import Scores
from saferank.indexer.reindex.verify import count, verify_sample
from saferank.indexer.reindex.writes import BlockTooLong, Writes, accept_writes
from saferank.mappings import add_to_index
from saferank.mappings.fields import SafetyFields
from saferank.settings import Settings

log = logging.getLogger(__name__)

_BEAT = 5.0
# The last changes are copied while writes are refused; so few take less than a second.
_FEW = 500
_MOST_ROUNDS = 20
# Rounds end when one copies more than this part of what the one before it copied.
_SHRINKS = 0.8
_MOST_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """How careful to be.

    Attributes:
        sample: documents to compare before the alias moves.
        longest_block: seconds for which writes may be refused.
    """

    sample: int = 1000
    longest_block: float = 30.0


class Reindex:
    """Runs one reindex or rollback that this process holds.

    Args:
        client: connected.
        app: sends the tasks that score.
        settings: names of queues and fields.
        jobs: the records.
        job: as started, see ``start``; its ``into`` names the new index.
        limits: how careful to be.
        report: see ``Tracker``.
    """

    def __init__(
        self,
        client: Elasticsearch,
        app: Celery,
        settings: Settings,
        jobs: Jobs,
        job: Job,
        *,
        limits: Limits = Limits(),
        report: Reporter = lambda job, phase, copied: None,
    ) -> None:
        if job.into is None:
            raise ValueError("the job is not a reindex")
        source, target = job.index, job.into
        self._client = client
        self._every = [SafetyFields(name, settings.override_field) for name in job.scores]
        self._limits = limits
        self._source, self._target = source, target
        self._definition: Json = {}
        self._lease = Lease(jobs, job, every=_BEAT)
        tracker = Tracker(self._lease, report)
        self._tracker = tracker
        self._writes = Writes(client, source, tracker, longest_block=limits.longest_block)
        self._scores = Scores(client, app, settings, jobs, target, self._lease, tracker)
        copier = Copier(
            client,
            source,
            target,
            scores=job.scores,
            image_field=settings.image_field,
            still_ours=tracker.keep_up,
            patience=settings.indexer.store_patience,
        )
        self._follower = Follower(client, source, target, copier, tracker, self._writes, job.pace)

    def run(self) -> Job:
        """Work until the alias is moved and all is scored, through outages of the services.

        Returns:
            The job as it is then.

        Raises:
            JobError: the copy is not right, the new index does not take a document, another
                producer took over, or a service stayed away too long. The alias was not moved.
            MappingError: an index cannot be copied or cannot get the safety fields.
        """
        outages = Outages(self._job.id, PATIENCE)
        try:
            while True:
                copied = self._tracker.copied
                try:
                    return self._work()
                except (ServiceUnavailable, TransportError, ApiError) as error:
                    outages.wait(error, progressed=self._tracker.copied > copied)
        except Cancelled:
            note = f"index {self._target!r} may be deleted"
            if self._progress.moved_at:
                note = self._progress.summary(self._target)
            return self._lease.finish(JobState.CANCELLED, note)
        except BaseException:
            self._lease.let_go()
            raise

    @property
    def _job(self) -> Job:
        return self._lease.job

    @property
    def _progress(self) -> Progress:
        return self._tracker.progress

    def _work(self) -> Job:
        self._tracker.phase = Phase.PREPARING
        if self._moved():
            self._tracker.note(moved_at=self._progress.moved_at or _now(), blocked=False)
        else:
            self._prepare()
            self._follow()
            self._close_and_move_in_time()
        self._tracker.note(unscored=self._scores.add_missing())
        return self._lease.finish(JobState.DONE, self._progress.summary(self._target))

    def _moved(self) -> bool:
        """Whether the aliases moved; the last run may have crashed before it noted that."""
        if self._progress.moved_at:
            return True
        began = self._progress.cursors and index_exists(self._client, self._target)
        return bool(began) and aliases.moved(
            self._client, self._source, self._target, self._progress.aliases
        )

    def _prepare(self) -> None:
        """See that source and target are what they were, and that writes are accepted."""
        origin = uuid_of(self._client, self._source)
        if self._progress.origin not in (None, origin):
            raise JobError(
                f"index {self._source!r} was created again since this reindex began; use "
                f"'saferank jobs cancel {self._job.id}', delete {self._target!r} and start again"
            )
        self._writes.accept()
        aliases.check_movable(self._client, self._source, self._target, self._progress.aliases)
        if self._progress.rollback:
            self._open_target(origin)
        else:
            self._create_target(origin)
        self._tracker.note(origin=origin)

    def _create_target(self, origin: str) -> None:
        # Reading it also sees that the old index can be copied at all.
        of_source = definition_of(self._client, self._source)
        self._definition = {**of_source, **self._progress.definition}
        create(self._client, self._target, self._definition, self._every, origin=origin)

    def _open_target(self, origin: str) -> None:
        """Take up the earlier index, which refuses writes since the aliases left it."""
        accept_writes(self._client, self._target)
        for fields in self._every:
            add_to_index(self._client, self._target, fields)
        note_origin(self._client, self._target, origin)
        if self._progress.origin is None and self._scores.count_missing():
            # It may never have been scored; then all scores have to come along.
            self._tracker.copy_all_again()

    def _follow(self) -> None:
        """Copy, compare and score, again and again, as long as that brings the two closer."""
        before: float = float("inf")
        for number in range(_MOST_ROUNDS):
            copied = self._follower.copy_changes()
            if not self._progress.rollback:  # there, the scores come along
                self._scores.add_missing()
            if copied <= _FEW or copied > before * _SHRINKS:
                break
            if number:  # the first round copies everything, and says nothing about changes
                before = copied
        self._follower.remove_deleted()
        self._follower.copy_changes()

    def _close_and_move_in_time(self) -> None:
        """Close and move; where that takes too long, accept writes for a while and try again."""
        for number in range(_MOST_BLOCKS):
            if number:
                self._follower.remove_deleted()
                self._follower.copy_changes()
            try:
                self._close_and_move()
            except BlockTooLong:
                continue
            return
        raise JobError(
            f"the last changes of {self._source!r} cannot be copied within "
            f"{self._limits.longest_block:g} s; allow longer with --longest-block, or stop deletes "
            "for that time"
        )

    def _close_and_move(self) -> None:
        """Refuse writes, complete and verify the copy, move the aliases."""
        moving = self._progress.aliases
        self._tracker.phase = Phase.CLOSING
        with self._writes.refuse():
            self._follower.copy_changes()
            documents = self._same_count()
            self._verify(documents)
            restore_pipeline(self._client, self._target, self._definition)
            self._writes.check_block()
            if moving:
                aliases.move(self._client, self._source, self._target, moving)
            self._tracker.note(
                moved_at=_now(),
                block_seconds=round(self._writes.block_seconds, 3),
                # Without an alias the old index stays in use, so it has to be opened again.
                blocked=not moving,
            )
        log.info("%s: %s now leads to %s", self._job.id, ", ".join(moving), self._target)

    def _same_count(self) -> int:
        """See that both indices have the same number of documents."""
        before, after = self._counts()
        if before != after:
            # Every document of the old index was copied, so the rest was deleted there.
            self._follower.remove_deleted()
            before, after = self._counts()
        if before != after:
            raise JobError(
                f"{self._source!r} has {before} documents and {self._target!r} has {after}; the "
                f"alias was not moved. Does anything else write to {self._target!r}, or do "
                "documents share an id under different routings?"
            )
        return before

    def _counts(self) -> tuple[int, int]:
        # The old index was refreshed when its last changes were read.
        self._client.indices.refresh(index=self._target)
        return count(self._client, self._source), count(self._client, self._target)

    def _verify(self, documents: int) -> None:
        """Compare a sample, and note from where a rollback would copy."""
        self._tracker.phase = Phase.VERIFYING
        compared = verify_sample(
            self._client,
            self._source,
            self._target,
            [each.root for each in self._every],
            size=self._limits.sample,
            source_filter=self._follower.source_filter,
        )
        self._tracker.note(
            compared=compared,
            documents=documents,
            rollback_cursors=checkpoints(self._client, self._target),
        )


def _now() -> str:
    return datetime.now(UTC).isoformat()
