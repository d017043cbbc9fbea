"""``backfill --into``: copy a live index, score the copy, verify it, move the alias, keep the old.

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

Going back is the same way in the other direction, from the point where the alias moved: what was
written to the new index since is brought to the old one first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from saferank.errors import JobError, ServiceUnavailable
from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.records import LEASE, Job, Jobs, JobState
from saferank.indexer.reindex import aliases
from saferank.indexer.reindex.changes import NOTHING_YET, changed, checkpoints, whole_source
from saferank.indexer.reindex.copier import Copier
from saferank.indexer.reindex.definition import (
    create,
    definition_of,
    note_origin,
    restore_pipeline,
    uuid_of,
)
from saferank.indexer.reindex.verify import count, verify_sample
from saferank.indexer.score.outages import PATIENCE, Outages
from saferank.indexer.score.select import Only, Selection
from saferank.mappings import add_to_index
from saferank.mappings.fields import SafetyFields
from saferank.settings import Settings

log = logging.getLogger(__name__)

Json = Mapping[str, Any]
Reporter = Callable[[Job, str, int], None]

_BEAT = 5.0
_PAUSED_POLL = 1.0
# The last changes are copied while writes are refused; so few take less than a second.
_FEW = 500
_MOST_ROUNDS = 20
# A round that copies more than this part of what the one before did brings nothing any more.
_SHRINKS = 0.8
_MOST_CLOSINGS = 3


class _Cancelled(Exception):
    pass


class _TooLong(Exception):
    """Writes were refused for as long as they may be."""


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
    """Runs one copy that this process holds.

    Its record's ``progress`` has: ``names`` (the aliases), ``back`` (whether this goes back to an
    earlier index), ``origin`` (uuid of the old index), ``cursors`` (by shard, see ``changes``),
    ``blocked`` (whether this copy refuses writes to the old index), ``moved_at`` and
    ``block_seconds``, ``return_cursors`` (those to go back from) and ``definition`` (settings and
    mappings of the new index, where they differ from those of the old one).

    Args:
        client: connected.
        app: sends the tasks that score.
        settings: names of queues and fields.
        jobs: the records.
        job: as acquired; its ``into`` names the new index.
        limits: how careful to be.
        report: called now and then with the job, a phase and the documents copied so far.
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
            raise ValueError("the job is no copy")
        self._client = client
        self._app = app
        self._settings = settings
        self._jobs = jobs
        self._job = job
        self._wanted: Json = {}
        self._whole: Json | bool = True
        self._limits = limits
        self._report = report
        self._source, self._target = job.index, job.into
        self._names: list[str] = job.progress["names"]
        self._back: bool = job.progress["back"]
        self._cursors: dict[str, int] = dict(job.progress.get("cursors", {}))
        self._copied = 0
        self._phase = "starting"
        self._lock = threading.Lock()
        self._beat_at = 0.0
        self._block_ends: float | None = None
        self._copier = Copier(
            client,
            self._source,
            self._target,
            fields=SafetyFields.of(settings),
            image_field=settings.image_field,
            model=job.model,
            still_ours=self._keep_up,
            patience=settings.indexer.store_patience,
        )

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
                copied = self._copied
                try:
                    return self._work()
                except (ServiceUnavailable, TransportError, ApiError) as error:
                    outages.wait(error, progressed=self._copied > copied)
        except _Cancelled:
            moved = self._job.progress.get("moved_at")
            note = self._outcome() if moved else f"index {self._target!r} may be deleted"
            return self._finish(JobState.CANCELLED, note)
        except BaseException:
            self._let_go()
            raise

    def _work(self) -> Job:
        self._prepare()
        if not self._job.progress.get("moved_at"):
            self._follow()
            for attempt in range(_MOST_CLOSINGS):
                try:
                    self._close_and_move()
                    break
                except _TooLong:
                    if attempt + 1 == _MOST_CLOSINGS:
                        raise JobError(
                            f"the last changes of {self._source!r} cannot be copied within "
                            f"{self._limits.longest_block:g} s; allow longer with "
                            "--longest-block, or stop deletes for that time"
                        ) from None
                    self._remove_deleted()
                    self._copy_changes()
        self._score()
        return self._finish(JobState.DONE, self._outcome())

    def _prepare(self) -> None:
        """See that source and target are what they were, and that writes are accepted."""
        self._phase = "preparing"
        if self._job.progress.get("moved_at") or (
            self._cursors
            and self._client.indices.exists(index=self._target)
            and aliases.moved(self._client, self._source, self._target, self._names)
        ):
            # Also when the last run ended between the move and its note.
            self._note(moved_at=self._job.progress.get("moved_at") or _now(), blocked=False)
            return
        origin = uuid_of(self._client, self._source)
        if self._job.progress.get("origin", origin) != origin:
            raise JobError(
                f"index {self._source!r} was made anew since this copy began; cancel it with "
                f"'saferank jobs cancel {self._job.id}', delete {self._target!r} and start again"
            )
        self._accept_writes()
        aliases.check_movable(self._client, self._source, self._target, self._names)
        if self._back:
            # It is there since before, and refuses writes since the alias moved.
            self._client.indices.put_settings(
                index=self._target, settings={"index.blocks.write": None}
            )
            add_to_index(self._client, self._target, SafetyFields.of(self._settings))
            note_origin(self._client, self._target, origin)
            if "origin" not in self._job.progress and self._unscored(self._target):
                # It may never have been scored; then all scores have to come along.
                self._cursors = {}
        else:
            # Reading it also sees that the old index can be copied at all.
            of_source = definition_of(self._client, self._source)
            self._wanted = {**of_source, **self._job.progress.get("definition", {})}
            create(
                self._client,
                self._target,
                self._wanted,
                SafetyFields.of(self._settings),
                origin=origin,
            )
        self._whole = whole_source(self._client, self._source)
        self._note(origin=origin)

    def _follow(self) -> None:
        """Copy, compare and score, again and again, as long as that brings the two closer."""
        before: float = float("inf")
        for number in range(_MOST_ROUNDS):
            copied = self._copy_changes()
            if not self._back:
                self._score()
            if copied <= _FEW or copied > before * _SHRINKS:
                break
            before = copied if number else before
        self._remove_deleted()
        self._copy_changes()

    def _close_and_move(self) -> None:
        """Refuse writes, complete and verify the copy, move the alias."""
        with self._writes_refused():
            self._copy_changes()
            before, after = self._counts()
            if before != after:
                # Every document of the old index was copied, so the rest was deleted there.
                self._remove_deleted()
                before, after = self._counts()
            if before != after:
                raise JobError(
                    f"{self._source!r} has {before} documents, its copy {self._target!r} has "
                    f"{after}; the alias was not moved. Does anything else write to the copy, or "
                    "do documents share an id under different routings?"
                )
            self._phase = "verifying"
            compared = verify_sample(
                self._client,
                self._source,
                self._target,
                SafetyFields.of(self._settings),
                size=self._limits.sample,
                whole=self._whole,
            )
            self._note(
                compared=compared,
                documents=before,
                return_cursors=checkpoints(self._client, self._target),
            )
            restore_pipeline(self._client, self._target, self._wanted)
            self._check_block()
            if self._names:
                aliases.move(self._client, self._source, self._target, self._names)
            # Without an alias the old index goes on being used, so it is opened again.
            self._note(
                moved_at=_now(),
                block_seconds=self._block_seconds(),
                blocked=not self._names,
            )
        log.info("%s: %s now leads to %s", self._job.id, ", ".join(self._names), self._target)

    def _counts(self) -> tuple[int, int]:
        # The old index was refreshed when its last changes were read.
        self._client.indices.refresh(index=self._target)
        return count(self._client, self._source), count(self._client, self._target)

    def _copy_changes(self) -> int:
        """Copy all that was written to the old index since the last time; gives the number."""
        self._phase = "copying"
        reached = checkpoints(self._client, self._source)
        self._client.indices.refresh(index=self._source)
        copied = self._copied

        def copy_shard(shard: str) -> None:
            after = self._cursors.get(shard, NOTHING_YET)
            for page in changed(
                self._client, self._source, shard, after, reached[shard], source=self._whole
            ):
                self._check_block()
                self._copier.write(page.hits)
                with self._lock:
                    self._cursors[shard] = page.cursor
                    self._copied += len(page.hits)
                self._throttle(len(page.hits))

        with ThreadPoolExecutor(self._job.pace.slices) as pool:
            for _ in pool.map(copy_shard, reached):
                pass
        if self._block_ends is None:
            self._note()
        return self._copied - copied

    def _remove_deleted(self) -> None:
        self._phase = "comparing ids"
        self._client.indices.refresh(index=[self._source, self._target])

        def enough() -> None:
            self._check_block()
            self._keep_up()

        removed = self._copier.remove_deleted(slices=self._job.pace.slices, enough=enough)
        if removed:
            log.info("%s: removed %d documents that were deleted", self._job.id, removed)

    def _score(self) -> None:
        """Have the workers score what has no score by the wanted model; copied ones have."""
        self._phase = "scoring"
        part = self._acquire(
            Job(
                index=self._target,
                field=self._job.field,
                model=self._job.model,
                selection=Selection(Only.ALL, self._without_score),
                pace=self._job.pace,
            )
        )

        def report(now: Job, _: object) -> None:
            self._keep_up(wait=False)
            if self._job.state is not now.state and not now.state.finished:
                self._jobs.ask(now.id, self._job.state)

        part = Backfill(
            self._client, self._app, self._settings, self._jobs, part, report=report
        ).run()
        self._keep_up()
        if part.state is JobState.CANCELLED:
            raise JobError(f"job {part.id!r}, which scores the copy, was cancelled")

    @property
    def _without_score(self) -> Json:
        """The query for documents without a score by the wanted model."""
        return {
            "bool": {"must_not": {"term": {SafetyFields.of(self._settings).model: self._job.model}}}
        }

    def _unscored(self, index: str) -> int:
        self._client.indices.refresh(index=index)
        found: int = self._client.count(index=index, query=self._without_score)["count"]
        return found

    def _acquire(self, part: Job) -> Job:
        """Take hold of a job that may still be in the name of this copy's last, dead producer."""
        deadline = time.monotonic() + LEASE.total_seconds()
        while True:
            try:
                return self._jobs.acquire(part)
            except JobError:
                if time.monotonic() > deadline:
                    raise
                self._keep_up()
                time.sleep(1)

    @contextmanager
    def _writes_refused(self) -> Iterator[None]:
        """Refuse writes to the old index; accept them again unless the alias has moved."""
        self._phase = "closing"
        # Noted first: should this process die now, the next run or the sweep opens the index.
        self._note(blocked=True)
        began = time.monotonic()
        self._block_ends = began + self._limits.longest_block
        try:
            # Answers when all writes that were under way are done.
            self._client.indices.add_block(index=self._source, block="write")
            yield
        finally:
            self._block_ends = None
            if not (self._names and self._job.progress.get("moved_at")):
                self._accept_writes()

    def _accept_writes(self) -> None:
        if self._job.progress.get("blocked"):
            accept_writes(self._client, self._source)
            self._note(blocked=False)

    def _block_seconds(self) -> float:
        if self._block_ends is None:
            return 0.0
        return round(time.monotonic() - (self._block_ends - self._limits.longest_block), 3)

    def _check_block(self) -> None:
        if self._block_ends is not None and time.monotonic() > self._block_ends:
            raise _TooLong

    def _throttle(self, documents: int) -> None:
        if self._job.pace.rate is not None and self._block_ends is None:
            time.sleep(documents / self._job.pace.rate)

    def _keep_up(self, *, wait: bool = True) -> None:
        """Renew the lease when it is time, and do as the record asks.

        Raises:
            JobError: another producer took over.
        """
        with self._lock:
            if time.monotonic() - self._beat_at >= _BEAT:
                self._beat()
            while wait and self._job.state is JobState.PAUSED and self._block_ends is None:
                time.sleep(_PAUSED_POLL)
                self._beat()
        if wait and self._job.state is JobState.CANCELLED:
            raise _Cancelled

    def _note(self, **progress: object) -> None:
        """Store how far this is."""
        with self._lock:
            self._beat(**progress)

    def _beat(self, **progress: object) -> None:
        self._job = self._jobs.beat(
            self._job,
            progress={**self._job.progress, "cursors": dict(self._cursors), **progress},
            total=max(self._job.total, self._copied),
        )
        self._beat_at = time.monotonic()
        self._report(self._job, self._phase, self._copied)

    def _outcome(self) -> str:
        progress = self._job.progress
        moved = f"{', '.join(self._names)} now leads" if self._names else "no alias leads"
        return (
            f"{moved} to {self._target}: {progress['documents']} documents, {progress['compared']} "
            f"compared; writes were refused for {progress.get('block_seconds', 0):.2f} s"
        )

    def _finish(self, state: JobState, note: str) -> Job:
        self._job = self._jobs.beat(
            self._job, state=state, owner=None, finished_at=datetime.now(UTC), note=note
        )
        return self._job

    def _let_go(self) -> None:
        """Leave the job for another run; what cannot be said now, the lease's end says."""
        try:
            self._jobs.beat(self._job, owner=None)
        except (JobError, TransportError, ApiError) as error:
            log.warning("job %s: %s", self._job.id, error)


def start_copy(
    client: Elasticsearch,
    jobs: Jobs,
    job: Job,
    *,
    names: Sequence[str],
    definition: Json | None = None,
) -> Job:
    """Take hold of a copy, begun now or earlier.

    Args:
        client: connected.
        jobs: the records.
        job: its ``index`` is an index or an alias of one, its ``into`` the new index.
        names: aliases to move; if none are given and ``index`` is an alias, that one.
        definition: ``settings`` and ``mappings`` of the new index that differ from the old one's.

    Raises:
        JobError: another producer runs it, or a name does not fit.
    """
    if job.into is None:
        raise ValueError("the job is no copy")
    chosen = list(dict.fromkeys(names))
    held = aliases.indices_of(client, job.index)
    if len(held) != 1:
        raise JobError(f"alias {job.index!r} leads to {len(held)} indices; name the one to copy")
    source = held[0]
    if source != job.index and not chosen:
        chosen = [job.index]
    if source == job.into:
        # The alias moved, and the last run ended before it had finished.
        unfinished = [
            found for found in jobs.all() if found.into == source and not found.state.finished
        ]
        if not unfinished:
            raise JobError(f"{job.index!r} leads to {source!r} already")
        source = unfinished[0].index
    progress = {"names": chosen, "back": False, "definition": definition or {}}
    return jobs.acquire(replace(job, index=source, progress=progress))


def start_return(client: Elasticsearch, jobs: Jobs, job: Job) -> Job:
    """Take hold of the way back to the index that an alias led to before its last move.

    Args:
        client: connected.
        jobs: the records.
        job: its ``index`` is the alias, or the index that it leads to.

    Raises:
        JobError: no copy led there, or the old index is gone.
    """
    held = aliases.indices_of(client, job.index)
    copies = [
        found
        for found in jobs.all()
        if found.into in held and found.progress.get("names") and found.progress.get("moved_at")
    ]
    if not copies:
        raise JobError(f"there is nothing to go back to from {job.index!r}: no copy led there")
    last = max(copies, key=lambda found: str(found.progress["moved_at"]))
    if last.progress["back"] and not last.state.finished:
        # The alias went back, and the last run ended before all was scored.
        return jobs.acquire(replace(job, index=last.index, into=last.into))
    if not client.indices.exists(index=last.index):
        raise JobError(f"the old index {last.index!r} is gone; there is nothing to go back to")
    if not last.state.finished:
        # Its aliases have moved; only the scoring that was left ends here.
        jobs.ask(last.id, JobState.CANCELLED)
    progress = {
        "names": last.progress["names"],
        "back": True,
        "cursors": last.progress["return_cursors"],
    }
    assert last.into is not None
    return jobs.acquire(replace(job, index=last.into, into=last.index, progress=progress))


def accept_writes(client: Elasticsearch, index: str) -> None:
    """Let an index take writes again."""
    client.indices.put_settings(index=index, settings={"index.blocks.write": None})


def open_abandoned(client: Elasticsearch, jobs: Jobs) -> list[str]:
    """Let indices take writes again whose copy ended, by a crash, while it refused them.

    Returns:
        The names of these indices.
    """
    opened = []
    for job in jobs.all():
        if job.into is None or not job.progress.get("blocked") or job.alive:
            continue
        if not aliases.moved(client, job.index, job.into, job.progress["names"]):
            # The producer, should it live after all, sees that the job is no longer its own.
            jobs.beat(job, owner=None, progress={**job.progress, "blocked": False})
            accept_writes(client, job.index)
            log.warning("index %s takes writes again; its copy %s is gone", job.index, job.id)
            opened.append(job.index)
    return opened


def _now() -> str:
    return datetime.now(UTC).isoformat()
