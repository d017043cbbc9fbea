"""Bring back the tasks of workers that are gone, when the broker is a Redis or Valkey.

RabbitMQ returns a task to its queue when the worker's connection ends. Redis has no notion of
that: a task stays in a hash of unacknowledged messages until its visibility timeout passes.
Nobody waits for that: what no living worker holds goes back at once. Living workers are asked what
they hold. While one that is present does not answer, nothing is taken from anybody.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from celery import Celery

from saferank.indexer.documents import Json
from saferank.indexer.presence import present_workers

log = logging.getLogger(__name__)

_ANSWER_TIME = 1.0


@dataclass(frozen=True, slots=True)
class Held:
    """What the living workers hold.

    Attributes:
        tasks: waiting or at work there: ``id``, ``name``, ``kwargs`` …
        silent: names of those that are present and did not say what they hold.
    """

    tasks: tuple[Json, ...]
    silent: frozenset[str]


def recover_lost_tasks(app: Celery) -> tuple[int, frozenset[str]]:
    """Put the saferank tasks that nobody works on back into their queues.

    Returns:
        Their number; and the workers that must answer or be gone before any can be put back.
    """
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
        if connection.transport.driver_type != "redis":
            return 0, frozenset()
        channel: Any = connection.default_channel
        unacknowledged = _unacknowledged(channel)
        if not unacknowledged:
            return 0, frozenset()
        held = held_tasks(app)
        if held.silent:
            return 0, held.silent
        ids = {task["id"] for task in held.tasks}
        # What was done while the workers were asked is nobody's loss.
        there = _unacknowledged(channel)
        lost = [tag for tag, task in unacknowledged.items() if task not in ids and tag in there]
        for tag in lost:
            channel.qos.restore_by_tag(tag)
    if lost:
        log.warning("%d tasks of workers that are gone go back to their queues", len(lost))
    return len(lost), frozenset()


def _unacknowledged(channel: Any) -> dict[str, str]:
    """The ids of our tasks that workers have taken and not finished, by the tags of messages."""
    # Kombu puts its prefix before the keys of some commands, and not of this one.
    key = f"{channel.global_keyprefix}{channel.unacked_key}"
    return {
        tag.decode(): task
        for tag, message in channel.client.hgetall(key).items()
        if (task := _task_id(message)) is not None
    }


def _task_id(message: bytes) -> str | None:
    """Read a task's id from an unacknowledged message; None when the task is not ours."""
    headers: Json = json.loads(message)[0].get("headers", {})
    return headers["id"] if str(headers.get("task", "")).startswith("saferank.") else None


def held_tasks(app: Celery) -> Held:
    """Ask the living workers what they hold, waiting or at work.

    They are asked in the order in which a task moves on, so that none is missed.
    """
    tasks: list[Json] = []
    present = {worker.name for worker in present_workers(app)}
    answered = set(present)
    # A connection of its own, closed at once: one of the app's pool would stay in the middle of
    # waiting for replies, and a child forked later would wait for them forever.
    with app.connection_for_write() as connection:
        inspect = app.control.inspect(timeout=_ANSWER_TIME, connection=connection)
        replies: Any
        for replies in (inspect.scheduled(), inspect.reserved(), inspect.active()):
            answered &= (replies or {}).keys()
            for answer in (replies or {}).values():
                tasks += [task.get("request", task) for task in answer]
    return Held(tuple(tasks), frozenset(present - answered))
