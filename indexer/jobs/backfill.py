"""The producer of a job: walks through an index and keeps the workers supplied.

It holds nothing that matters. What is done, the index itself says (``scored_at`` since the job
began); what is in flight, the ledger says. So whatever crashes, walking through the index again
finds what is left, and a job ends when such a walk finds nothing more to do.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

from celery import Celery
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from saferank.errors import ServiceUnavailable
from saferank.indexer.brokers import queue_length
from saferank.indexer.bulk.outages import PATIENCE, Outages
from saferank.indexer.bulk.pages import pages
from saferank.indexer.installation import installation_of
from saferank.indexer.jobs.failures import failures_that_lasted
from saferank.indexer.jobs.lease import Cancelled, Lease
from saferank.indexer.jobs.ledger import ChunkOfJob, Ledger, Tally
from saferank.indexer.jobs.records import Job, Jobs, JobState
from saferank.indexer.jobs.recovery import held_tasks, recover_lost_tasks
from saferank.indexer.jobs.remaining import (
    count_left,
    count_not_done,
    count_unsettled,
    query_of,
    retried_before,
)
from saferank.indexer.keys import DocumentKey
from saferank.indexer.presence import present_children
from saferank.indexer.queue import send
from saferank.indexer.score.report import FailedImage, Outcome
from saferank.settings import Settings

log = logging.getLogger(__name__)

Reporter = Callable[[Job, Tally], None]

_BEAT = 2.0
_POLL = 0.5
# Small enough that slow workers come back for the next page before the frozen view expires.
_PAGE = 256
# Without any progress for so long, see whether the tasks are still somewhere.
_STALL = 30.0
# With uploads coming in all the time, another walk always finds something.
_MOST_PASSES = 5
# Documents in the smallest chunks, with which a job ends: about a quarter of a second each.
_LEAST = 8
# Children that are assumed where it is not known how many there are.
_FEW = 2


class _WouldWait(Exception):
    """Everything that may be in flight is, and the caller does not wait."""


class Backfill:
    """Runs one job that this process holds.

    Args:
        client: connected.
        app: sends the tasks.
        settings: names of queues and fields.
        jobs: the records.
        job: as acquired.
        report: called now and then with the job and its tally.
        wait: stay until the job is done; else queue what may be in flight and leave.
    """

    def __init__(
        self,
        client: Elasticsearch,
        app: Celery,
        settings: Settings,
        jobs: Jobs,
        job: Job,
        *,
        report: Reporter = lambda job, tally: None,
        wait: bool = True,
    ) -> None:
        self._client = client
        self._app = app
        self._settings = settings
        self._lease = Lease(jobs, job, every=_BEAT)
        self._report = report
        self._wait = wait
        self._ledger = Ledger(client, jobs.index)
        self._tally = Tally()
        self._tallied_at = 0.0
        self._progress_at = self._looked_at = time.monotonic()
        self._next_send = time.monotonic()
        self._queued = self._lost = 0
        self._fewest_failed: int | None = None
        self._gained_at = time.monotonic()

    def run(self) -> Job:
        """Work until the job is done or cancelled, through outages of the services.

        Returns:
            The job as it is then; still ``running`` only without ``wait``.

        Raises:
            JobError: another producer took over, or a service stayed away too long.
        """
        outages = Outages(self._job.id, PATIENCE if self._wait else 0)
        try:
            while True:
                try:
                    return self._work()
                except (ServiceUnavailable, TransportError, ApiError) as error:
                    # Also the loss of the frozen view. The next walk finds what is left.
                    since = outages.since
                    outages.wait(error, progressed=since is not None and self._progress_at > since)
        except _WouldWait:
            return self._lease.let_go()
        except Cancelled:
            self._ledger.forget(self._job.id, open_only=True)
            return self._finish(JobState.CANCELLED, "cancelled")
        except KeyboardInterrupt:
            self._lease.let_go()
            raise

    @property
    def _job(self) -> Job:
        return self._lease.job

    def _work(self) -> Job:
        left_before: int | None = None
        passes = 0
        indices: dict[str, str] = {}
        if not self._job.passes:
            self._ledger.forget(self._job.id)  # of an earlier job of the same name
        while True:
            self._drain()
            self._client.indices.refresh(index=self._job.index)
            left = count_unsettled(self._client, self._job, wait=self._wait)
            if left == 0:
                if self._wait:
                    more = self._await_hosts()
                else:
                    more = count_left(self._client, self._job, wait=False) > 0
                if not more:
                    return self._finish_done()
                left_before, passes = None, 0
            if indices != (indices := self._indices()):
                # An alias that moved leads to other documents: what was counted is not theirs.
                left_before, passes = None, 0
            # No progress means that the rest cannot be done, unless it was tasks that got lost.
            stuck = left_before is not None and left >= left_before and not self._lost
            self._lost = 0
            if stuck or passes == _MOST_PASSES:
                left = count_not_done(self._client, self._job)
                note = f"{left} documents are left; see what was rejected, or start it again"
                return self._finish(JobState.DONE, note, left=left)
            self._beat(passes=self._job.passes + 1, total=self._job.total or left)
            for index, keys in self._chunks(left):
                self._await_room()
                self._send(index, keys)
            left_before, passes = left, passes + 1

    def _await_hosts(self) -> bool:
        """Where all else is done, wait until images of hosts that were away may be tried again.

        Returns:
            Whether there are any, and not for too long without one that came.
        """
        failed = count_not_done(self._client, self._job)
        now = time.monotonic()
        if self._fewest_failed is None or failed < self._fewest_failed:
            self._fewest_failed, self._gained_at = failed, now
        if not failed or now - self._gained_at > self._settings.indexer.host_patience:
            return False
        log.info("job %s waits for hosts of %d documents' images", self._job.id, failed)
        while not count_left(self._client, self._job, wait=self._wait):
            time.sleep(_BEAT)
            self._keep_up()
            self._client.indices.refresh(index=self._job.index)
        return True

    def _finish_done(self) -> Job:
        failed = count_not_done(self._client, self._job) if self._wait else 0
        note = f"images of {failed} documents could not be fetched; sweeps try again each hour"
        return self._finish(JobState.DONE, note if failed else "", left=failed)

    def _indices(self) -> dict[str, str]:
        """The concrete indices that are walked through, and what tells each from a later one."""
        found = self._client.indices.get_settings(
            index=self._job.index, name="index.uuid", flat_settings=True
        )
        return {name: entry["settings"]["index.uuid"] for name, entry in found.items()}

    @cached_property
    def _installation(self) -> str | None:
        return installation_of(self._client, self._settings.indexer.jobs_index)

    def _chunks(self, left: int) -> Iterator[tuple[str, list[DocumentKey]]]:
        """Walk through the index, in chunks that each belong to one concrete index."""
        largest = self._job.pace.chunk_size
        children = present_children(self._app) or _FEW
        query = query_of(self._job, retried_before(self._job, wait=self._wait))
        waiting: dict[str, list[DocumentKey]] = defaultdict(list)
        for page in pages(
            self._client,
            self._job.index,
            query,
            size=max(largest, _PAGE),
            slices=self._job.pace.slices,
        ):
            for found in page:
                waiting[found.index].append(found.key)
                if len(waiting[found.index]) >= size_of_chunk(left, largest, children):
                    chunk = waiting.pop(found.index)
                    left -= len(chunk)
                    yield found.index, chunk
        yield from waiting.items()

    def _send(self, index: str, keys: list[DocumentKey]) -> None:
        chunk = ChunkOfJob(
            job=self._job.id,
            since=self._job.started_at.isoformat(),
            chunk=f"{time.time_ns():x}.{self._queued}",
            field=self._job.field,
            model=self._job.model,
            image_field=self._settings.image_field,
            others=self._job.others,
        )
        self._ledger.open([(chunk, len(keys))])
        try:
            send(
                self._app,
                index,
                keys,
                self._settings.indexer.backfill_queue,
                installation=self._installation,
                job=chunk.to_json(),
            )
        except ServiceUnavailable:
            self._ledger.forget_chunk(chunk)
            raise
        self._queued += 1
        self._tally = replace(self._tally, in_flight=self._tally.in_flight + 1)
        if self._job.pace.rate is not None:
            now = time.monotonic()
            self._next_send = max(self._next_send, now - 1) + len(keys) / self._job.pace.rate

    def _await_room(self) -> None:
        """Wait until another chunk may be sent: for the rate, the number in flight, a pause."""
        self._keep_up()
        while (
            self._tally.in_flight >= self._job.pace.in_flight
            or time.monotonic() < self._next_send
            or self._lease.paused
        ):
            if not self._wait:
                raise _WouldWait
            until_send = self._next_send - time.monotonic()
            time.sleep(min(_POLL, until_send) if until_send > 0 else _POLL)
            self._keep_up()

    def _drain(self) -> None:
        """Wait until nothing is in flight."""
        self._keep_up(force=True)
        if self._tally.in_flight and not self._wait:
            self._look_for_lost_tasks()
        while self._tally.in_flight:
            if not self._wait:
                raise _WouldWait
            time.sleep(_POLL)
            self._keep_up(force=True)

    def _keep_up(self, *, force: bool = False) -> None:
        """Renew the lease, read the ledger, report to the caller; each only when it is time."""
        now = time.monotonic()
        if self._lease.due:
            self._beat()
        full = self._tally.in_flight >= self._job.pace.in_flight
        if force or full or now - self._tallied_at >= _BEAT:
            before = self._tally.finished
            self._tally = self._ledger.tally(self._job.id, self._job.started_at.isoformat())
            self._tallied_at = now
            if self._tally.finished != before or not self._tally.in_flight:
                self._progress_at = now
            self._report(self._job, self._tally)
            quiet = now - max(self._progress_at, self._looked_at)
            if quiet > _STALL and self._job.state is JobState.RUNNING:
                self._look_for_lost_tasks()

    def _look_for_lost_tasks(self) -> None:
        """Nothing came back for a while: return what dead workers hold, give up what is gone."""
        self._looked_at = time.monotonic()
        if queue_length(self._app, self._settings.indexer.backfill_queue):
            return  # they wait for a worker; asked first, since it is quick
        returned, _ = recover_lost_tasks(self._app)
        if returned:
            return
        held = held_tasks(self._app)
        jobs = [(task.get("kwargs") or {}).get("job") for task in held.tasks]
        if any(chunk and chunk["job"] == self._job.id for chunk in jobs):
            return
        quiet = self._looked_at - self._progress_at
        if held.silent and quiet < self._settings.indexer.time_limit:
            return  # they may be at work on them
        self._lost = self._ledger.forget(self._job.id, open_only=True)
        if self._lost:
            log.warning("job %s: the broker lost %d tasks; looking again", self._job.id, self._lost)
        self._tally = replace(self._tally, in_flight=0)

    def _beat(self, **changes: object) -> None:
        self._lease.beat(**changes)
        self._lease.check_cancelled()

    def _finish(self, state: JobState, note: str, *, left: int = 0) -> Job:
        since = self._job.started_at.isoformat()
        tally = self._ledger.tally(self._job.id, since)
        examples: tuple[FailedImage, ...] = ()
        if state is JobState.DONE and tally.failures:
            lasting = failures_that_lasted(self._client, self._job)
            counts = {**tally.counts, Outcome.FAILED.value: lasting.documents}
            tally = replace(tally, counts=counts, failures=lasting.by_code)
            examples = lasting.examples
        notes = [note] if note else []
        by_reason: dict[str, list[str]] = {}
        for id, reason in self._ledger.reasons(self._job.id, since).items():
            by_reason.setdefault(reason, []).append(id)
        notes += [f"{', '.join(ids)}: {reason}" for reason, ids in by_reason.items()]
        job = self._lease.finish(
            state,
            "; ".join(notes),
            counts=tally.counts,
            failures=tally.failures,
            examples=examples,
            left=left,
        )
        self._report(job, tally)
        self._ledger.forget(job.id)
        return job


def size_of_chunk(left: int, largest: int, children: int) -> int:
    """Documents in a job's next chunk: towards the end ever fewer, so that no child runs dry early.

    Half an even share of what is left, as in guided self-scheduling (Polychronopoulos and Kuck,
    IEEE Transactions on Computers, 1987).

    >>> [size_of_chunk(left, 64, 2) for left in (1000, 200, 100, 20)]
    [64, 50, 25, 8]

    Args:
        left: documents that no chunk has yet.
        largest: most in a chunk.
        children: tasks that workers work on at once.
    """
    return min(largest, max(_LEAST, math.ceil(left / (2 * children))))
