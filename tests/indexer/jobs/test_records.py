"""Job records as they are stored, also by a newer version than this one."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from saferank.errors import JobError
from saferank.indexer.jobs.ledger import ChunkOfJob
from saferank.indexer.jobs.records import Job, JobState, Pace
from saferank.indexer.jobs.selection import Only, Selection
from saferank.indexer.score.report import FailedImage

VERSION = (7, 1)
JOB = Job(
    index="products",
    field="safety",
    model="m",
    selection=Selection(Only.STALE, {"term": {"shop": "a"}}),
    pace=Pace(chunk_size=64, in_flight=64, rate=5.0),
    without=("old",),
    heartbeat_at=datetime(2026, 1, 2, tzinfo=UTC),
    progress={"documents": 5},
    version=VERSION,
)


def stored(job: Job = JOB) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(job.to_document()))
    return document


def test_a_record_is_read_back_as_it_was_stored() -> None:
    image = FailedImage("7", "truncated", "https://host/7.jpg", "the file ends early")
    for job in (JOB, replace(JOB, examples=(image,))):
        read = Job.from_document(stored(job), VERSION)
        assert read == job
        assert read.unknown == []
        assert stored(read) == stored(job)


def test_an_unfinished_job_has_nothing_in_it_that_the_version_before_does_not_know() -> None:
    assert "examples" not in stored()["record"]


def test_what_a_newer_version_noted_stays_when_this_one_writes() -> None:
    document = stored()
    document["record"]["priority"] = 3
    document["record"]["pace"]["burst"] = 9
    document["record"]["selection"]["sample"] = 0.1
    document["record"]["progress"]["shards"] = {"a": 1}
    read = Job.from_document(document, VERSION)
    assert replace(read, progress=JOB.progress) == JOB
    assert read.unknown == ["burst", "priority", "sample"]
    changed = stored(
        replace(
            read,
            state=JobState.PAUSED,
            selection=Selection(Only.STALE, {"term": {"shop": "b"}}),
            progress={"documents": 6},
        )
    )
    record = changed["record"]
    assert changed["state"] == record["state"] == "paused"
    assert (record["priority"], record["pace"]["burst"]) == (3, 9)
    assert record["progress"] == {"documents": 6, "shards": {"a": 1}}
    # A query is one value: its parts are never mixed with those of another.
    assert record["selection"] == {"only": "stale", "query": {"term": {"shop": "b"}}, "sample": 0.1}


@pytest.mark.parametrize(
    ("part", "value"), [("state", "draining"), ("selection", {"only": "odd", "query": None})]
)
def test_a_job_of_a_kind_that_this_version_lacks_is_said(part: str, value: object) -> None:
    document = stored()
    document["record"][part] = value
    with pytest.raises(JobError, match=r"'products' was recorded by a newer saferank .*update"):
        Job.from_document(document, VERSION)


def test_a_chunk_travels_and_says_what_is_not_understood_of_it() -> None:
    chunk = ChunkOfJob("job", "2026-01-01", "c1", "safety", "m", "image")
    message = chunk.to_json()
    assert ChunkOfJob.from_json(message) == chunk
    assert ChunkOfJob.unknown_in(message) == set()
    newer = {**message, "categories": "violence"}
    assert ChunkOfJob.from_json(newer) == chunk
    assert ChunkOfJob.unknown_in(newer) == {"categories"}
    del message["image_field"]
    assert ChunkOfJob.from_json(message).image_field == ""
