"""Holding a job, with records that need no Elasticsearch."""

from dataclasses import replace
from typing import Any, cast

import pytest

from saferank.errors import JobError
from saferank.indexer.jobs.lease import Cancelled, Lease
from saferank.indexer.jobs.records import Job, Jobs, JobState, Pace
from saferank.indexer.jobs.selection import Selection

JOB = Job(
    index="products",
    field="safety",
    model="m",
    selection=Selection(),
    pace=Pace(chunk_size=64, in_flight=64),
    owner="us",
)


class Records:
    """One record, which others may change."""

    def __init__(self) -> None:
        self.stored = JOB

    def beat(self, job: Job, **changes: Any) -> Job:
        if job.owner != self.stored.owner:
            raise JobError(f"job {job.id!r} was taken over by {self.stored.owner}")
        self.stored = replace(self.stored, **changes)
        return self.stored


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def lease(records: Records) -> Lease:
    return Lease(cast(Jobs, records), JOB, every=60)


def test_a_beat_stores_changes_and_is_not_due_for_a_while(records: Records, lease: Lease) -> None:
    assert lease.due
    lease.beat(total=7)
    assert (records.stored.total, lease.job.total) == (7, 7)
    assert not lease.due


def test_what_others_ask_is_learnt_with_the_next_beat(records: Records, lease: Lease) -> None:
    records.stored = replace(JOB, state=JobState.PAUSED)
    assert not lease.paused
    lease.beat()
    assert lease.paused
    lease.check_cancelled()
    records.stored = replace(JOB, state=JobState.CANCELLED)
    lease.beat()
    with pytest.raises(Cancelled):
        lease.check_cancelled()


def test_a_finished_job_has_no_owner(records: Records, lease: Lease) -> None:
    done = lease.finish(JobState.DONE, "all is well", counts={"scored": 1})
    assert done == records.stored
    assert (done.state, done.owner, done.note) == (JobState.DONE, None, "all is well")
    assert done.finished_at is not None


def test_a_job_that_was_let_go_stays_unfinished(records: Records, lease: Lease) -> None:
    assert lease.let_go().owner is None
    assert records.stored.state is JobState.RUNNING


def test_a_job_that_was_taken_over_is_not_touched(records: Records, lease: Lease) -> None:
    records.stored = replace(JOB, owner="them")
    with pytest.raises(JobError, match="taken over by them"):
        lease.beat(total=7)
    lease.let_go()
    assert records.stored == replace(JOB, owner="them")
