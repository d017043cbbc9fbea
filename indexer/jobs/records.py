"""Job records: what a backfill or a reindex is for, how far it is, and who runs it.

A job's id says what it does (``products.safety.missing``), so starting the same again resumes the
unfinished one. Only one process runs a job, its *producer*: it holds a lease, written with the
version that it read, and renewed by a heartbeat (see ``lease``).
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from dataclasses import field as default
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from elasticsearch import ConflictError, Elasticsearch, NotFoundError

from saferank.errors import JobError
from saferank.indexer.documents import Json
from saferank.indexer.jobs.jobs_index import Kind, ensure_jobs_index
from saferank.indexer.jobs.selection import Only, Selection
from saferank.indexer.score.report import FailedImage, Outcome

log = logging.getLogger(__name__)

# A producer that was heard of by its own clock within so long is taken for alive.
LEASE = timedelta(seconds=30)
# Of any other, a beat is waited for: its clock may be another. Beats come every two seconds.
_WATCHED = 10.0


class JobHeld(JobError):
    """A producer runs a job, or did until a moment ago.

    Attributes:
        job: as it is recorded.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(
            f"job {job.id!r} is run by {job.owner}; wait for it, or 'saferank jobs cancel {job.id}'"
        )


class JobState(StrEnum):
    """Where a job is."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"

    @property
    def finished(self) -> bool:
        """Whether nothing more will be done."""
        return self in (JobState.CANCELLED, JobState.DONE)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job may go.

    Attributes:
        chunk_size: documents in one task.
        in_flight: tasks queued or worked on at any time.
        rate: documents a second, or None for no limit.
        slices: parts of the index that are read in parallel.
    """

    chunk_size: int
    in_flight: int
    rate: float | None = None
    slices: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is recorded.

    Attributes:
        index: index, alias or pattern.
        field: object that the scores go into.
        model: identity of the model to score with.
        selection: which documents.
        pace: how fast.
        without: concrete indices to leave out.
        state: where it is.
        started_at: a document scored since is done.
        total: documents to do at the start; of a reindex, those copied so far.
        owner: who runs it, or None.
        heartbeat_at: when the owner was last heard of.
        finished_at: when it ended.
        passes: how often the index was walked through.
        counts: documents by outcome, see ``score.report``; filled in at the end.
        failures: failed documents by error code; filled in at the end.
        examples: a failed image of each error code; filled in at the end.
        left: documents that the job should have done and did not; filled in at the end.
        note: a sentence about the end.
        into: the new index, when the job is a reindex.
        progress: what a reindex needs to resume after a crash, see ``reindex.progress``.
        version: ``(seq_no, primary_term)`` that was read; None for a record not stored yet.
        recorded: the record as it was read; empty for one not stored yet. What a newer version of
            saferank noted in it stays there.
        others: of further categories, the object and the identity of the model.
    """

    index: str
    field: str
    model: str
    selection: Selection
    pace: Pace
    without: tuple[str, ...] = ()
    state: JobState = JobState.RUNNING
    started_at: datetime = default(default_factory=lambda: _now())
    total: int = 0
    owner: str | None = None
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None
    passes: int = 0
    counts: Mapping[str, int] = default(default_factory=dict)
    failures: Mapping[str, int] = default(default_factory=dict)
    left: int = 0
    note: str = ""
    into: str | None = None
    progress: Json = default(default_factory=dict)
    version: tuple[int, int] | None = None
    recorded: Json = default(default_factory=dict, compare=False, repr=False)
    others: Mapping[str, str] = default(default_factory=dict)
    examples: tuple[FailedImage, ...] = ()

    @property
    def scores(self) -> Mapping[str, str]:
        """The objects that scores go into, each with the identity of its model."""
        return {self.field: self.model, **self.others}

    @property
    def id(self) -> str:
        """What the job does, in short."""
        if self.into is not None:
            return f"{self.index}.into.{self.into}"
        return f"{self.index}.{'+'.join(self.scores)}.{self.selection.name}"

    @property
    def complete(self) -> bool:
        """Whether it is done, nothing is left, and no image failed."""
        return self.state is JobState.DONE and not self.left and not self.failed

    @property
    def failed(self) -> int:
        """Documents with an image that failed."""
        return self.counts.get(Outcome.FAILED, 0)

    @property
    def alive(self) -> bool:
        """Whether its producer was heard of lately, if its clock agrees with ours."""
        return (
            self.owner is not None
            and self.heartbeat_at is not None
            and abs(datetime.now(UTC) - self.heartbeat_at) < LEASE
        )

    @property
    def silent_after(self) -> float:
        """Seconds without a beat from now on after which its producer is given up."""
        if not self.alive or self.heartbeat_at is None:
            return _WATCHED
        ago = abs(datetime.now(UTC) - self.heartbeat_at)
        return max(_WATCHED, (LEASE - ago).total_seconds())

    def summary(self) -> dict[str, Any]:
        """What a program wants to know of the job, as a JSON object."""
        return {
            "job": self.id,
            "state": self.state.value,
            "complete": self.complete,
            "index": self.index,
            "into": self.into,
            "field": self.field,
            "model": self.model,
            "only": None if self.into is not None else self.selection.only.value,
            "started_at": self.started_at.isoformat(),
            "finished_at": None if self.finished_at is None else self.finished_at.isoformat(),
            "documents": self.total,
            "counts": dict(self.counts),
            "failures": dict(self.failures),
            "examples": [image.to_json() for image in self.examples],
            "left": self.left,
            "producer": self.owner,
            "producer_lives": self.alive,
            "note": self.note,
        }

    @property
    def unknown(self) -> list[str]:
        """What a newer version of saferank noted in the record and this one does not understand."""
        return sorted(
            (self.recorded.keys() - _FIELDS)
            | (self.recorded.get("pace", {}).keys() - _PACE)
            | (self.recorded.get("selection", {}).keys() - asdict(self.selection).keys())
        )

    def to_document(self) -> dict[str, Any]:
        """The JSON object to store."""
        own = asdict(replace(self, recorded={}))
        for name in _NOT_RECORDED:
            del own[name]
        if not self.examples:
            del own["examples"]  # So that an earlier version may resume an unfinished job.
        for name in _TIMES:
            own[name] = None if own[name] is None else own[name].isoformat()
        parts = {name: {**self.recorded.get(name, {}), **own[name]} for name in _PARTS}
        record = {**self.recorded, **own, **parts}
        return {
            "kind": Kind.JOB.value,
            "state": self.state.value,
            "index": self.index,
            "record": record,
        }

    @classmethod
    def from_document(cls, source: Json, version: tuple[int, int]) -> Job:
        """Read a stored object back.

        Raises:
            JobError: a newer version of saferank made it, and it is of a kind that this one lacks.
        """
        recorded = source["record"]
        values = {name: recorded[name] for name in _FIELDS & recorded.keys()}
        for name in _TIMES:
            values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
        selection, pace = values["selection"], values["pace"]
        try:
            values["selection"] = Selection(Only(selection["only"]), selection["query"])
            values["state"] = JobState(values["state"])
        except ValueError as error:
            raise JobError(
                f"a job of {values['index']!r} was recorded by a newer saferank ({error}); update "
                "this one"
            ) from error
        values["pace"] = Pace(**{name: pace[name] for name in _PACE & pace.keys()})
        values["without"] = tuple(values.get("without", ()))
        values["examples"] = tuple(map(FailedImage.from_json, values.get("examples", ())))
        return cls(**values, version=version, recorded=recorded)


_NOT_RECORDED = frozenset({"version", "recorded"})
_FIELDS = frozenset(one.name for one in fields(Job)) - _NOT_RECORDED
_PACE = frozenset(one.name for one in fields(Pace))
_TIMES = ("started_at", "heartbeat_at", "finished_at")
# Objects in the record that a newer version may have added to.
_PARTS = ("selection", "pace", "progress")


_RUNS = 20
"""Runs of one job that are kept after it was started again."""


def _run_id(job: Job) -> str:
    return f"{job.id}@{job.started_at.isoformat()}"


def _now() -> datetime:
    """The time as Elasticsearch keeps it, in milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Jobs:
    """The records in their index.

    Args:
        client: connected.
        index: name of the index; made when missing.
    """

    def __init__(self, client: Elasticsearch, index: str) -> None:
        self.client = client
        self.index = index
        ensure_jobs_index(client, index)

    def get(self, id: str) -> Job:
        """Read a job.

        Raises:
            JobError: there is none of that id, or it is not understood.
        """
        job = self.find(id)
        if job is None:
            raise JobError(f"there is no job {id!r}; see 'saferank jobs list'")
        return job

    def find(self, id: str) -> Job | None:
        """Read a job; None when there is none of that id.

        Raises:
            JobError: it is not understood.
        """
        try:
            found = self.client.get(index=self.index, id=id)
        except NotFoundError:
            return None
        return Job.from_document(found["_source"], (found["_seq_no"], found["_primary_term"]))

    def all(self) -> list[Job]:
        """Read all jobs that this version understands, the newest first."""
        return self._read(Kind.JOB)

    def _read(self, kind: Kind) -> list[Job]:
        self.client.indices.refresh(index=self.index)
        hits = self.client.search(
            index=self.index,
            query={"term": {"kind": kind.value}},
            size=1000,
            seq_no_primary_term=True,
        )["hits"]["hits"]
        jobs = []
        for hit in hits:
            version = hit["_seq_no"], hit["_primary_term"]
            try:
                jobs.append(Job.from_document(hit["_source"], version))
            except JobError as error:
                log.warning("job %s is passed over: %s", hit["_id"], error)
        return sorted(jobs, key=lambda job: job.started_at, reverse=True)

    def ended(self) -> list[Job]:
        """Read what became of jobs that were started again since, the newest first."""
        return self._read(Kind.ENDED_JOB)

    def acquire(self, wanted: Job) -> Job:
        """Start a job, or resume it when it is unfinished and its producer is gone.

        Returns:
            The job with this process as its owner.

        Raises:
            JobHeld: another producer runs it, or was heard of a moment ago.
            JobError: another one has just taken it, or a newer version of saferank started it.
        """
        existing = self.find(wanted.id)
        if existing is not None and not existing.state.finished and existing.unknown:
            raise JobError(
                f"job {wanted.id!r} was started by a newer saferank, which noted "
                f"{', '.join(existing.unknown)}; update this one, or 'saferank jobs cancel "
                f"{wanted.id}' to start it again"
            )
        if existing is not None and not existing.state.finished and self.lives(existing):
            raise JobHeld(existing)
        job = replace(wanted, started_at=_now(), version=None)
        if existing is not None:
            job = replace(job, version=existing.version)
            if not existing.state.finished and existing.progress:
                job = replace(job, progress=existing.progress)
            # What was scored since an unfinished job began is done, under the same models.
            if not existing.state.finished and existing.scores == wanted.scores:
                job = replace(
                    job,
                    started_at=existing.started_at,
                    total=existing.total,
                    passes=existing.passes,
                )
        if existing is not None and existing.state.finished:
            self._keep(existing)
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        try:
            return self._write(
                replace(job, owner=owner, state=JobState.RUNNING, heartbeat_at=datetime.now(UTC))
            )
        except ConflictError as error:
            raise JobError(f"another producer has just taken job {wanted.id!r}") from error

    def _keep(self, job: Job) -> None:
        """Keep the record of a run that did something before another one takes its place.

        Sweeps start the same job again and again, so only so many runs of each are kept.
        """
        if not job.counts:
            return
        document = {**job.to_document(), "kind": Kind.ENDED_JOB.value}
        self.client.index(index=self.index, id=_run_id(job), document=document)
        for run in [run for run in self.ended() if run.id == job.id][_RUNS:]:
            self.client.options(ignore_status=404).delete(index=self.index, id=_run_id(run))

    def lives(self, job: Job, *, patiently: bool = False) -> bool:
        """Whether a job's producer lives; where its clock says no, a beat is waited for.

        Args:
            job: as it was read.
            patiently: also where its clock says yes, wait for a beat, ``silent_after`` at most.
        """
        if job.owner is None or (job.alive and not patiently):
            return job.owner is not None
        log.info("job %s: waiting for a sign of life of its producer %s", job.id, job.owner)
        end = time.monotonic() + job.silent_after
        while time.monotonic() < end:
            time.sleep(1)
            now = self.find(job.id)
            if now is None or now.owner is None:
                return False
            if (now.owner, now.heartbeat_at) != (job.owner, job.heartbeat_at):
                return True
        return False

    def beat(self, job: Job, **changes: Any) -> Job:
        """Renew the lease, store changes, and see what was asked of the job meanwhile.

        Returns:
            The job as stored; its ``state`` may be another one.

        Raises:
            JobError: another producer has taken it over; stop at once.
        """
        while True:
            current = self.find(job.id)
            if current is None or current.owner != job.owner:
                raise JobError(
                    f"job {job.id!r} was taken over by "
                    f"{current.owner if current else 'nobody: its record is gone'}"
                )
            try:
                return self._write(replace(current, heartbeat_at=datetime.now(UTC), **changes))
            except ConflictError:
                continue  # somebody asked something of it; read that

    def ask(self, id: str, state: JobState) -> Job:
        """Pause, resume or cancel a job.

        Raises:
            JobError: there is no such job, or it is finished.
        """
        while True:
            job = self.get(id)
            if job.state.finished:
                command = "backfill" if job.into is None else "reindex"
                raise JobError(
                    f"job {id!r} is {job.state}; start it again with 'saferank {command}'"
                )
            try:
                return self._write(replace(job, state=state))
            except ConflictError:
                continue

    def _write(self, job: Job) -> Job:
        arguments: dict[str, Any] = {"index": self.index, "id": job.id}
        if job.version is None:
            answer = self.client.create(document=job.to_document(), **arguments)
        else:
            seq_no, primary_term = job.version
            answer = self.client.index(
                document=job.to_document(),
                if_seq_no=seq_no,
                if_primary_term=primary_term,
                **arguments,
            )
        return replace(job, version=(answer["_seq_no"], answer["_primary_term"]))
