"""Whether scoring can work: what an orchestrator or an operator asks."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from celery import Celery
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch, NotFoundError

from saferank.connection import clear_errors, index_exists
from saferank.errors import SaferankError, ServiceUnavailable
from saferank.indexer.brokers import check_broker, clear_broker_errors, queue_length
from saferank.indexer.presence import present_workers
from saferank.mappings import check_index
from saferank.mappings.fields import SafetyFields
from saferank.settings import Settings

FITNESS = "saferank_fitness"
"""The remote control command that a worker answers with what it scores with, and its faults."""
_ANSWER_TIME = 2.0
_LONGEST_ANSWER = 10.0
_BLOCKS = frozenset({"read_only", "read_only_allow_delete", "write", "read"})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it is as it must be.
        detail: what was found.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """All that was looked at."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as it must be."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The form that ``saferank health --json`` prints."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}


def ready(
    client: Elasticsearch,
    app: Celery,
    settings: Settings,
    indices: Sequence[str],
    *,
    model: str | None = None,
) -> Health:
    """See whether a document that is queued now would be scored and stored.

    Args:
        client: connected; with a short timeout.
        app: the Celery app.
        settings: names of queues and fields.
        indices: indices or aliases that must have the safety fields.
        model: identity of the model that the workers must score with, if that is known here; of
            several, with commas between them.
    """
    checks = [_elasticsearch(client, settings)]
    if checks[0].ok:
        for index in indices:
            checks += [_mapping(client, index, settings), _writes(client, index, settings)]
    checks.append(_broker(app))
    if checks[-1].ok:
        checks += _queues(app, settings, model)
    return Health(tuple(checks))


def live(app: Celery) -> Health:
    """See whether the workers of this machine answer, for deciding on a restart.

    A broker that is away is no reason for one: a worker connects again by itself, and until then
    it cannot be asked.
    """
    broker = _broker(app)
    if not broker.ok:
        return Health((Check("worker", True, f"cannot be asked: {broker.detail}"),))
    here = f"@{socket.gethostname()}"
    names = [name for name in _workers(app) if name.endswith(here)]
    names += [f"{name} (at work)" for name in _mute(app, names) if name.endswith(here)]
    return Health((Check("worker", bool(names), _named(names, f"no worker of {here} answers")),))


def _elasticsearch(client: Elasticsearch, settings: Settings) -> Check:
    name = "elasticsearch"
    try:
        with clear_errors(settings.elasticsearch_url):
            # Needs no more than the rights on this index; that it may be missing is no fault.
            found = index_exists(client, settings.indexer.jobs_index)
    except (SaferankError, ApiError, TransportError) as error:
        return Check(name, False, str(error))
    return Check(name, True, "answers" if found else "answers; no job was ever recorded")


def _mapping(client: Elasticsearch, index: str, settings: Settings) -> Check:
    name = f"mapping of {index}"
    try:
        with clear_errors(settings.elasticsearch_url):
            for fields in SafetyFields.each(settings):
                check_index(client, index, fields, image_field=settings.image_field)
    except (SaferankError, ApiError, TransportError) as error:
        return Check(name, False, str(error))
    roots = ", ".join(repr(field) for field in settings.model_by_field)
    return Check(name, True, f"has the fields under {roots}")


def _writes(client: Elasticsearch, index: str, settings: Settings) -> Check:
    """Whether the index takes a score now: a full disk or a person may have closed it."""
    name = f"writes to {index}"
    try:
        with clear_errors(settings.elasticsearch_url):
            found = client.indices.get_settings(index=index, name="index.blocks.*")
    except NotFoundError:
        return Check(name, False, "there is no such index")
    except (SaferankError, ApiError, TransportError) as error:
        return Check(name, False, str(error))
    closed = {
        f"{concrete} has index.blocks.{block}"
        for concrete, entry in found.items()
        for block, on in entry["settings"].get("index", {}).get("blocks", {}).items()
        if block in _BLOCKS and str(on) == "true"
    }
    if closed:
        return Check(
            name, False, f"refused: {', '.join(sorted(closed))}; free some disk, or take it away"
        )
    return Check(name, True, "are accepted")


def _broker(app: Celery) -> Check:
    try:
        check_broker(app)
    except ServiceUnavailable as error:
        return Check("broker", False, str(error))
    return Check("broker", True, "answers")


def _queues(app: Celery, settings: Settings, model: str | None) -> list[Check]:
    """See for each queue whether a worker serves it, how much waits there, and who they are."""
    try:
        with clear_broker_errors(app):
            serving: Any = app.control.inspect(timeout=_ANSWER_TIME).active_queues() or {}
            # It may serve the queue: which ones, it cannot say now.
            mute = [f"{name} (at work)" for name in _mute(app, serving)]
        checks, ours = [], set[str]()
        for queue in (settings.indexer.fresh_queue, settings.indexer.backfill_queue):
            workers = [worker for worker, queues in serving.items() if queue in _names(queues)]
            ours.update(workers)
            workers = workers or mute
            waiting = queue_length(app, queue)
            detail = _named(workers, "no worker serves it; start 'saferank worker'")
            checks.append(Check(f"queue {queue}", bool(workers), f"{detail}; {waiting} tasks wait"))
        return checks + _fitness(app, settings, model, ours)
    except ServiceUnavailable as error:
        return [Check("queues", False, str(error))]


def _fitness(app: Celery, settings: Settings, model: str | None, workers: set[str]) -> list[Check]:
    """See for each worker of our queues whether it scores as these settings want it, and can."""
    if not workers:
        return []
    wanted = {
        "field": ", ".join(settings.model_by_field),
        "image_field": settings.image_field,
        "model": model,
        **indices_of_decisions(settings),
    }
    with clear_broker_errors(app):
        # Over as soon as all of these have answered.
        replies: Any = app.control.broadcast(
            FITNESS, destination=sorted(workers), reply=True, timeout=_LONGEST_ANSWER
        )
    # Workers of earlier versions do not know the command.
    answers = {
        name: answer
        for reply in replies or ()
        for name, answer in reply.items()
        if isinstance(answer, dict) and "faults" in answer
    }
    return [_fit(name, answer, wanted) for name, answer in sorted(answers.items())]


def _fit(name: str, answer: dict[str, Any], wanted: dict[str, str | None]) -> Check:
    others = [
        f"has {key} {has!r} and not {value!r}; give it the same settings and restart it, or a "
        "queue of its own"
        for key, value in wanted.items()
        # An earlier version says less.
        if None not in (value, has := answer.get(key)) and has != value
    ]
    wrong = [*answer["faults"], *others]
    return Check(f"worker {name}", not wrong, "; ".join(wrong) or f"scores with {answer['model']}")


def indices_of_decisions(settings: Settings) -> dict[str, str]:
    """Where people's decisions are looked up, by the names of the settings."""
    return {"overrides": settings.overrides or "none", "known": settings.known or "none"}


def _mute(app: Celery, answered: Iterable[str]) -> list[str]:
    """Workers that live, did not answer, and need not while they are at work."""
    try:
        with clear_broker_errors(app):
            present = present_workers(app)
    except ServiceUnavailable:
        return []
    return sorted({worker.name for worker in present if worker.mute} - set(answered))


def _workers(app: Celery) -> list[str]:
    try:
        with clear_broker_errors(app):
            return sorted(app.control.inspect(timeout=_ANSWER_TIME).ping() or {})
    except ServiceUnavailable:
        return []


def workers_alive(app: Celery) -> list[str]:
    """Workers that answer, or live and need not answer while they are at work."""
    answering = _workers(app)
    return sorted({*answering, *_mute(app, answering)})


def _names(queues: Iterable[dict[str, Any]]) -> set[str]:
    return {queue["name"] for queue in queues or ()}


def _named(workers: list[str], none: str) -> str:
    return f"{', '.join(sorted(workers))} answers" if workers else none
