"""The periodic sweep: documents without their score, or with that of other images, get theirs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from celery import Task, shared_task
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from saferank.connection import clear_errors, connect
from saferank.errors import JobError, SaferankError
from saferank.indexer.copies import Copies
from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.changed import MOST_READ, take_up
from saferank.indexer.jobs.records import Job, Jobs, JobState, Pace
from saferank.indexer.jobs.remaining import count_left
from saferank.indexer.jobs.selection import Only, Selection
from saferank.indexer.operate import metrics
from saferank.indexer.reindex.writes import open_abandoned
from saferank.indexer.worker.installations import put_back_unless_ours
from saferank.indexer.worker.resources import job_of
from saferank.mappings import not_ready
from saferank.mappings.fields import SafetyFields
from saferank.settings import Settings, get_settings

log = logging.getLogger(__name__)

SWEEP_TASK = "saferank.sweep"


@shared_task(name=SWEEP_TASK, bind=True, base=Task, ignore_result=True, max_retries=None)
def sweep(
    self: Task[..., None],
    index: str,
    only: str = Only.MISSING.value,
    *,
    installation: str | None = None,
) -> None:
    """Queue what may be in flight of an index's unscored and changed documents, and leave.

    Called again and again (see ``indexer.sweep`` in the settings), it gets through any number.
    A job of the same kind that a person runs or paused is left alone. An index that cannot take
    scores does not keep the others of the same alias or data stream from theirs. Pictures of
    blocked documents that are still to be looked at, for cropped copies, are looked at as well.

    Args:
        self: the task.
        index: index, alias or pattern.
        only: one of ``Only``.
        installation: whose task it is, see ``installation``; None where that is not known.
    """
    settings = get_settings()
    try:
        _sweep(self, settings, index, Only(only), installation)
    except (SaferankError, ApiError, TransportError) as error:
        # The next one is near, and an outage is no fault of this code.
        log.warning("no sweep of %s this time: %s", index, error)


def _sweep(
    task: Task[..., None], settings: Settings, index: str, only: Only, installation: str | None
) -> None:
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        put_back_unless_ours(task, client, settings, installation)
        wanted = job_of(
            settings,
            index,
            Selection(only),
            Pace(settings.indexer.chunk_size, settings.indexer.in_flight),
            without=_not_ready(client, settings, index),
        )
        jobs = Jobs(client, settings.indexer.jobs_index)
        open_abandoned(client, jobs)
        left = count_left(client, wanted, wait=False)
        metrics.UNSCORED.labels(index).set(left)
        changed = replace(wanted, selection=Selection(Only.CHANGED))
        ways: tuple[Callable[[], Job | None], ...] = (
            lambda: _unscored(jobs, wanted, left),
            lambda: take_up(client, settings, jobs, changed, most=MOST_READ),
        )
        for hold in ways:
            try:
                job = hold()
            except JobError as error:
                log.info("no sweep of %s: %s", index, error)
                continue
            if job is not None:
                job = Backfill(client, task.app, settings, jobs, job, wait=False).run()
                log.info("sweep of %s: %s is %s", index, job.id, job.state)
        if copies := Copies.of(client, settings):
            copies.look_closer(index)
        metrics.SWEPT.labels(index).set(time.time())


def _not_ready(client: Elasticsearch, settings: Settings, name: str) -> tuple[str, ...]:
    """The concrete indices that cannot take scores; each is named in the log."""
    reasons: dict[str, str] = {}
    for fields in SafetyFields.each(settings):
        reasons |= not_ready(client, name, fields, image_field=settings.image_field)
    for reason in reasons.values():
        log.error("the sweep of %s leaves an index out: %s", name, reason)
    return tuple(reasons)


def _unscored(jobs: Jobs, wanted: Job, left: int) -> Job | None:
    """Hold the job for the unscored documents; None when none are left, or it is paused."""
    existing = jobs.find(wanted.id)
    if existing is not None and existing.state is JobState.PAUSED:
        return None
    unfinished = existing is not None and not existing.state.finished
    if not unfinished and not left:
        return None
    return jobs.acquire(wanted)
