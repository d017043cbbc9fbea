"""What a job still has to do, as the index itself says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from elasticsearch import Elasticsearch

from saferank.indexer.documents import Json
from saferank.indexer.jobs.records import Job
from saferank.mappings.fields import SafetyFields

# After which a transient failure is tried again: of a job, and of a sweep, that comes for ever.
_RETRY = timedelta(seconds=30)
_RETRY_OF_SWEEP = timedelta(hours=1)


def query_of(job: Job, failed_before: datetime) -> Json:
    """Build the query of what a job still has to do, see ``Selection.to_query``."""
    each = [
        job.selection.to_query(
            SafetyFields(name), model, job.started_at, failed_before=failed_before
        )
        for name, model in job.scores.items()
    ]
    # What one category wants is scored for all: their images are fetched and decoded once.
    query: Json = each[0] if len(each) == 1 else {"bool": {"should": each}}
    if not job.without:
        return query
    return {"bool": {"filter": [query], "must_not": [{"terms": {"_index": list(job.without)}}]}}


def count_left(client: Elasticsearch, job: Job, *, wait: bool = True) -> int:
    """Count the documents that a job has to do now, as far as they are searchable.

    Args:
        client: connected.
        job: the job.
        wait: as in ``Backfill``.
    """
    return _count(client, job, retried_before(job, wait=wait))


def count_unsettled(client: Elasticsearch, job: Job, *, wait: bool) -> int:
    """Count what is to be done, but for transient failures since the job began."""
    return _count(client, job, min(retried_before(job, wait=wait), job.started_at))


def count_not_done(client: Elasticsearch, job: Job) -> int:
    """Count what is to be done now or later: transient failures too, however recent."""
    return _count(client, job, datetime.now(UTC) + timedelta(days=1))


def _count(client: Elasticsearch, job: Job, failed_before: datetime) -> int:
    count: int = client.count(index=job.index, query=query_of(job, failed_before))["count"]
    return count


def retried_before(job: Job, *, wait: bool) -> datetime:
    """Before when a transient failure must have been for the job to try again.

    A job that somebody waits for tries all that failed before it began, and its own failures soon.
    """
    now = datetime.now(UTC)
    return max(job.started_at, now - _RETRY) if wait else now - _RETRY_OF_SWEEP
