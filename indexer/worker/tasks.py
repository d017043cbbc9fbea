"""The Celery tasks, thin: messages in, reports out."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from datetime import datetime
from typing import Any

from celery import Celery, Task, shared_task
from elastic_transport import TransportError
from elasticsearch import ApiError

from saferank.connection import clear_errors
from saferank.errors import MappingError, SaferankError
from saferank.indexer.jobs.ledger import ChunkOfJob, Ledger
from saferank.indexer.keys import DocumentKey
from saferank.indexer.operate import metrics
from saferank.indexer.operate.logs import about
from saferank.indexer.queue import SCORE_TASK, send
from saferank.indexer.score.pipeline import Guard
from saferank.indexer.score.report import Outcome, Report
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.worker.poison import alone_guard
from saferank.indexer.worker.resources import Resources, process_resources
from saferank.settings import get_settings

log = logging.getLogger(__name__)

_LONGEST_DELAY = 120.0


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
    index: str,
    ids: list[str | list[str]],
    *,
    attempt: int = 1,
    alone: bool = False,
    queued_at: float | None = None,
    job: dict[str, str] | None = None,
) -> None:
    """Score documents.

    Args:
        self: the task.
        index: the documents' index.
        ids: their keys, see ``DocumentKey.to_json``.
        attempt: counts the tries for errors that may pass.
        alone: the document's chunk ended its worker; each image is guarded.
        queued_at: when the task was sent, in seconds since 1970.
        job: the chunk of a job that this is, see ``ChunkOfJob.to_json``.
    """
    keys = [DocumentKey.from_json(value) for value in ids]
    delivery: Any = self.request.delivery_info or {}
    queue: str = delivery.get("routing_key") or get_settings().indexer.fresh_queue
    if queued_at is not None:
        metrics.QUEUE_SECONDS.labels(queue).observe(max(0.0, time.time() - queued_at))
    suspicious = alone or bool(delivery.get("redelivered"))
    chunk = None if job is None else ChunkOfJob(**job)
    with (
        metrics.IN_FLIGHT.track_inprogress(),
        about(task=self.request.id, index=index, job=chunk and chunk.job),
    ):
        try:
            resources = process_resources()
            ledger = Ledger(resources.client, resources.settings.indexer.jobs_index)
            if chunk is not None and not ledger.wanted(chunk):
                return
            if suspicious and len(keys) > 1:
                log.warning("a task for %d documents came back; each goes alone", len(keys))
                report = Report()
                parts = [([key], f"alone{place}") for place, key in enumerate(keys)]
                again: dict[str, Any] = {"attempt": attempt, "alone": True}
            else:
                guard = (
                    alone_guard(
                        resources.client,
                        resources.settings.indexer.jobs_index,
                        index,
                        keys[0],
                        message=queued_at or 0.0,
                    )
                    if suspicious
                    else None
                )
                report = _score(resources, index, keys, attempt, guard, chunk)
                parts = [(report.waiting, f"try{attempt + 1}")] if report.waiting else []
                again = {
                    "attempt": attempt + 1,
                    "alone": suspicious,
                    "countdown": _delay(attempt, report.wait),
                }
            _send_on(self.app, ledger, index, queue, chunk, parts, again)
            if chunk is not None:
                ledger.close(chunk, report)
        except (SaferankError, ApiError, TransportError) as error:
            # Nothing is wrong with the documents: they wait until the service is back.
            log.warning("putting %d documents of %s back: %s", len(keys), index, error)
            raise self.retry(
                exc=error,
                countdown=random.uniform(1, 10),  # noqa: S311
                kwargs={
                    **(self.request.kwargs or {}),
                    "alone": suspicious,
                    "queued_at": time.time(),
                },
            ) from error


def _send_on(
    app: Celery,
    ledger: Ledger,
    index: str,
    queue: str,
    chunk: ChunkOfJob | None,
    parts: list[tuple[list[DocumentKey], str]],
    arguments: dict[str, Any],
) -> None:
    """Send parts of a chunk on as tasks of their own; of a job's chunk, note them first."""
    named = [None if chunk is None else chunk.part(name) for _, name in parts]
    ledger.open([(part, len(keys)) for part, (keys, _) in zip(named, parts, strict=True) if part])
    for part, (keys, _) in zip(named, parts, strict=True):
        send(app, index, keys, queue, job=None if part is None else part.to_json(), **arguments)


def _score(
    resources: Resources,
    index: str,
    keys: list[DocumentKey],
    attempt: int,
    guard: Guard | None,
    chunk: ChunkOfJob | None,
) -> Report:
    settings = resources.settings
    own = (settings.field, resources.pipeline.model.identity)
    if chunk is not None and own != (chunk.field, chunk.model):
        return _all_rejected(
            keys,
            f"this worker writes {own[1]} into {own[0]!r}, and the job wants {chunk.model} in "
            f"{chunk.field!r}; give workers with other settings queues of their own",
        )
    try:
        with clear_errors(settings.elasticsearch_url):
            resources.check_index(index)
            report = score_documents(
                resources.pipeline,
                resources.store,
                index,
                keys,
                since=None if chunk is None else datetime.fromisoformat(chunk.since),
                last_try=attempt >= settings.indexer.attempts,
                guard=guard,
            )
    except MappingError as error:
        report = _all_rejected(keys, str(error))
    except (SaferankError, ApiError, TransportError):
        raise
    except Exception as error:  # a fault of ours: neither loop on it nor lose sight of it
        log.exception("unexpected error while scoring %s", index)
        report = _all_rejected(keys, f"unexpected error: {error!r}")
    log.info(
        "scored a chunk of %s: %s",
        index,
        {name.value: count for name, count in (+report.counts).items()},
    )
    return report


def _all_rejected(keys: list[DocumentKey], reason: str) -> Report:
    log.error("%d documents are not scored: %s", len(keys), reason)
    return Report(
        counts=Counter({Outcome.REJECTED: len(keys)}), rejected=dict.fromkeys(keys, reason)
    )


def _delay(attempt: int, asked: float | None) -> float:
    """Seconds before the next try: as long as a server asked, else doubling; with jitter."""
    base = get_settings().indexer.retry_delay * 2.0 ** (attempt - 1)
    return min(max(base, asked or 0.0), _LONGEST_DELAY) * random.uniform(1.0, 1.3)  # noqa: S311
