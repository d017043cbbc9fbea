"""The Celery tasks, thin: messages in, reports out."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from celery import Celery, Task, shared_task
from celery.exceptions import Reject
from elastic_transport import TransportError
from elasticsearch import ApiError

from saferank.connection import clear_errors, index_exists
from saferank.errors import ConfigurationError, MappingError, SaferankError, ServiceUnavailable
from saferank.indexer.jobs.ledger import ChunkOfJob, Ledger
from saferank.indexer.jobs.records import Jobs
from saferank.indexer.keys import DocumentKey
from saferank.indexer.operate import metrics
from saferank.indexer.operate.logs import about
from saferank.indexer.queue import SCORE_TASK, known_settings, send
from saferank.indexer.reindex.progress import replaced_by
from saferank.indexer.score.interfaces import Guard
from saferank.indexer.score.report import Report
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.patience import IndexBlocked
from saferank.indexer.worker.poison import alone_guard
from saferank.indexer.worker.resources import Resources, process_resources
from saferank.settings import Settings, get_settings

log = logging.getLogger(__name__)

_LONGEST_DELAY = 120.0
_LONGEST_DELAY_IN_JOB = 6.0
# The part of a task that there was no time for.
_REST = "rest"
# Seconds until a task that was put back comes again, at random between the two.
_SOON = (1.0, 10.0)
_LATER = (30.0, 60.0)


@dataclass(frozen=True, slots=True)
class _Work:
    """What a message asks for.

    Attributes:
        index: the documents' index.
        keys: the documents.
        queue: where the message came from, and where parts of it go on.
        attempt: counts the tries for transient errors.
        suspicious: a worker crashed over these documents.
        sent_at: when the message was sent, in seconds since 1970; 0 when it does not say.
        installation: whose task it is, if that is known.
        chunk: the chunk of a job that this is, if it is one.
        stated: settings that the sender stated, see ``stated_settings``.
        unknown: what the message says beside, for a newer version than this one.
    """

    index: str
    keys: list[DocumentKey]
    queue: str
    attempt: int
    suspicious: bool
    sent_at: float
    installation: str | None
    chunk: ChunkOfJob | None
    stated: Mapping[str, str]
    unknown: frozenset[str]


@shared_task(
    name=SCORE_TASK,
    bind=True,
    base=Task,
    acks_late=True,
    reject_on_worker_lost=True,
    acks_on_timeout=False,
    ignore_result=True,
    max_retries=None,
)
def score(
    self: Task[Any, Any],
    /,
    index: str,
    ids: list[str | list[str]],
    *,
    attempt: int = 1,
    alone: bool = False,
    queued_at: float | None = None,
    installation: str | None = None,
    job: dict[str, Any] | None = None,
    stated: dict[str, str] | None = None,
    **newer: object,
) -> None:
    """Score documents.

    Args:
        self: the task.
        index: the documents' index.
        ids: their keys, see ``DocumentKey.to_json``.
        attempt: counts the tries for transient errors.
        alone: the document's chunk crashed its worker; each image is guarded.
        queued_at: when the task was sent, in seconds since 1970.
        installation: whose task it is, see ``installation``; None where that is not known.
        job: the chunk of a job that this is, see ``ChunkOfJob.to_json``.
        stated: settings that the sender stated, see ``stated_settings``.
        newer: what a newer version of saferank sends beside.
    """
    delivery: Any = self.request.delivery_info or {}
    work = _Work(
        index,
        [DocumentKey.from_json(value) for value in ids],
        queue=delivery.get("routing_key") or get_settings().indexer.fresh_queue,
        attempt=attempt,
        suspicious=alone or bool(delivery.get("redelivered")),
        sent_at=queued_at or 0.0,
        installation=installation,
        chunk=None if job is None else ChunkOfJob.from_json(job),
        stated=stated or {},
        unknown=frozenset(newer) | ChunkOfJob.unknown_in(job or {}),
    )
    if queued_at is not None:
        is_fresh = work.queue == get_settings().indexer.fresh_queue
        waited = metrics.QUEUE_SECONDS.labels("fresh" if is_fresh else "backfill")
        waited.observe(max(0.0, time.time() - queued_at))
    with (
        metrics.IN_FLIGHT.track_inprogress(),
        about(task=self.request.id, index=index, job=work.chunk and work.chunk.job),
    ):
        try:
            _do(self.app, work)
        except (SaferankError, ApiError, TransportError) as error:
            if self.request.is_eager:
                raise  # there is no queue to go back to
            # Nothing is wrong with the documents: they wait until the service is back.
            log.warning("putting %d documents of %s back: %s", len(ids), index, error)
            _put_back(self, work, error)


def _put_back(task: Task[Any, Any], work: _Work, error: Exception) -> NoReturn:
    """Have a task come again in a while."""
    # A block on writes lasts; what is only away or busy may be back in a moment.
    seconds = random.uniform(*_LATER if isinstance(error, IndexBlocked) else _SOON)  # noqa: S311
    again = {
        **(task.request.kwargs or {}),
        "alone": work.suspicious,
        "queued_at": time.time(),
    }
    try:
        raise task.retry(exc=error, countdown=seconds, kwargs=again) from error
    except Reject as rejected:
        # The broker takes no new message, and Celery would drop this one.
        log.error("the task goes back to the broker as it is: %s", rejected.args[0])
        raise Reject(error, requeue=True) from error


def _do(app: Celery, work: _Work) -> None:
    """Do what a message asks for, unless its job no longer wants it, and note what came out."""
    resources = process_resources()
    _check_ours(resources, work)
    ledger = Ledger(resources.client, resources.settings.indexer.jobs_index)
    if work.chunk is not None and not ledger.wanted(work.chunk):
        return
    _check_stated(resources.settings, work.stated)
    _check_understood(work.unknown)
    if work.suspicious and len(work.keys) > 1:
        report = _split(app, ledger, work)
    else:
        report = _score(app, ledger, resources, work)
    if work.chunk is not None:
        ledger.close(work.chunk, report)


def _check_ours(resources: Resources, work: _Work) -> None:
    """See that a task is for this installation.

    Raises:
        ServiceUnavailable: it is for another; it goes back to the queue, where that finds it.
    """
    if not resources.is_ours(work.installation):
        raise ServiceUnavailable(
            f"this is a task of another installation ({work.installation}) that shares the queue "
            f"{work.queue!r}; give each queues of its own with SAFERANK_INDEXER__FRESH_QUEUE and "
            "SAFERANK_INDEXER__BACKFILL_QUEUE"
        )


def _split(app: Celery, ledger: Ledger, work: _Work) -> Report:
    """Send each document on alone, so that only the one that is at fault is held up."""
    log.warning("each of %d documents goes on alone", len(work.keys))
    parts = {f"alone{place}": [key] for place, key in enumerate(work.keys)}
    _send_on(app, ledger, work, parts, attempt=work.attempt, alone=True)
    return Report()


def _score(app: Celery, ledger: Ledger, resources: Resources, work: _Work) -> Report:
    """Score the documents, and send those on that are to be tried again."""
    refusal = _refusal(resources, work.chunk)
    try:
        report = _score_safely(resources, work) if refusal is None else _all_rejected(work, refusal)
    except (SaferankError, ApiError, TransportError):
        raise
    except Exception as error:  # a fault of ours: neither loop on it nor lose sight of it
        log.exception("unexpected error while scoring %s", work.index)
        if len(work.keys) > 1:
            return _split(app, ledger, work)
        report = _after_fault(resources, work, error)
    if report.rest:
        log.info("%d documents of %s go on later", len(report.rest), work.index)
        parts = {_REST: report.rest}
        _send_on(app, ledger, work, parts, attempt=work.attempt, alone=work.suspicious)
    if report.waiting:
        _send_on(
            app,
            ledger,
            work,
            {f"try{work.attempt + 1}": report.waiting},
            attempt=work.attempt + 1,
            alone=work.suspicious,
            countdown=_delay(work.attempt, report.wait),
        )
    return report


def _send_on(
    app: Celery,
    ledger: Ledger,
    work: _Work,
    parts: Mapping[str, list[DocumentKey]],
    **arguments: Any,
) -> None:
    """Send parts of a task on as tasks of their own; of a job's chunk, note them first."""
    chunks = {} if work.chunk is None else {name: work.chunk.part(name) for name in parts}
    if work.chunk is not None and _REST in parts:
        chunks[_REST] = work.chunk.rest()
    ledger.open([(chunk, len(parts[name])) for name, chunk in chunks.items()])
    for name, keys in parts.items():
        job = chunks[name].to_json() if chunks else None
        send(
            app,
            work.index,
            keys,
            work.queue,
            installation=work.installation,
            job=job,
            stated=work.stated,
            **arguments,
        )


def _refusal(resources: Resources, chunk: ChunkOfJob | None) -> str | None:
    """Why this worker must not work for a job; None when it may."""
    if chunk is None:
        return None
    own, own_field = resources.models, resources.settings.image_field
    pairs = [("model", own[name], model) for name, model in chunk.scores.items() if name in own]
    pairs += [("field", ", ".join(own), name) for name in chunk.scores if name not in own]
    pairs.append(("image_field", own_field, chunk.image_field or own_field))
    others = [
        f"{name} {wanted!r} and not {there!r}" for name, there, wanted in pairs if there != wanted
    ]
    if not others:
        return None
    return f"the job wants {', '.join(others)}, which is this worker's; {_OTHER_SETTINGS}"


_OTHER_SETTINGS = (
    "give sender and workers the same settings, or workers with other settings queues of their own"
)


def _check_stated(settings: Settings, stated: Mapping[str, str]) -> None:
    """See that this worker scores as the sender of an upload wants it.

    Raises:
        ConfigurationError: it does not; the documents wait for one that does.
    """
    own = known_settings(settings)
    others = [
        f"{name} {wanted!r} and not {own.get(name)!r}"
        for name, wanted in stated.items()
        if own.get(name) != wanted
    ]
    if others:
        raise ConfigurationError(
            f"the sender wants {', '.join(others)}, which is this worker's; {_OTHER_SETTINGS}"
        )


def _check_understood(unknown: frozenset[str]) -> None:
    """See that this worker understands all of a message: the score may depend on any of it.

    Raises:
        ConfigurationError: it does not; the documents wait for one that does.
    """
    if unknown:
        raise ConfigurationError(
            f"the message says {', '.join(sorted(unknown))}, which a newer saferank understands "
            "and not this one; update the worker, and workers before what sends to them"
        )


def _score_safely(resources: Resources, work: _Work) -> Report:
    """Score the documents; what Elasticsearch will never take is in the report.

    Raises:
        SaferankError, ApiError, TransportError: a service cannot be used for now.
    """
    settings = resources.settings
    fields = resources.models if work.chunk is None else work.chunk.scores
    pipeline, store = resources.limited_to(fields)
    until = time.monotonic() + settings.seconds_to_start
    try:
        with clear_errors(settings.elasticsearch_url):
            if work.chunk is None:
                # Where it is away already, the task goes back at once, or an eager one fails; a
                # job's chunk has asked whether it is wanted.
                index_exists(resources.client, settings.indexer.jobs_index)
            report = score_documents(
                pipeline,
                store,
                work.index,
                work.keys,
                since=None if work.chunk is None else datetime.fromisoformat(work.chunk.since),
                last_try=work.attempt >= settings.indexer.attempts,
                # A job looks again at what failed; meanwhile it must not be held up.
                longest_wait=_LONGEST_DELAY if work.chunk is None else _LONGEST_DELAY_IN_JOB,
                guard=_guard(resources, work) if work.suspicious else None,
                until=until,
                memory=resources.memory,
            )
    except MappingError as error:
        report = _all_rejected(work, str(error))
    except IndexBlocked as error:
        new = replaced_by(Jobs(resources.client, settings.indexer.jobs_index), error.index)
        if new is None:
            raise
        report = _all_rejected(
            work, f"index {error.index!r} was replaced by {new!r}; name their alias when you queue"
        )
    _log_report(work.index, report)
    return report


def _log_report(index: str, report: Report) -> None:
    """One line for a chunk: what became of it, and an example of each thing that is wrong."""
    told: dict[str, object] = {
        "counts": {name.value: count for name, count in report.counts.items() if count}
    }
    if report.examples:
        told["failures"] = dict(report.failures)
        told["examples"] = [image.to_json() for image in report.examples.values()]
    level = logging.WARNING if report.failures else logging.INFO
    log.log(level, "scored a chunk of %s", index, extra=told)


def _after_fault(resources: Resources, work: _Work, error: Exception) -> Report:
    """Try a document again that a fault of ours kept from being scored, but not for ever."""
    if work.attempt >= resources.settings.indexer.attempts:
        return _all_rejected(work, f"unexpected error: {error!r}")
    report = Report()
    report.add_waiting(work.keys)
    return report


def _guard(resources: Resources, work: _Work) -> Guard:
    """Guard the images of the one document that may have crashed a worker."""
    notes = resources.settings.indexer.jobs_index
    return alone_guard(resources.client, notes, work.index, work.keys[0], message=work.sent_at)


def _all_rejected(work: _Work, reason: str) -> Report:
    log.error("%d documents are not scored: %s", len(work.keys), reason)
    report = Report()
    report.add_rejected(work.keys, reason)
    return report


def _delay(attempt: int, asked: float | None) -> float:
    """Seconds before the next try: as long as a server asked, else doubling; with jitter."""
    base = get_settings().indexer.retry_delay * 2.0 ** (attempt - 1)
    return min(max(base, asked or 0.0), _LONGEST_DELAY) * random.uniform(1.0, 1.3)  # noqa: S311
