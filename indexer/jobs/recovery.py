"""Bring back the tasks of workers that are gone, when the broker is a Redis or Valkey.

RabbitMQ returns a task to its queue when the worker's connection ends. Redis has no notion of
that: a task stays in a hash of unacknowledged messages until its visibility timeout passes.
A starting worker does not wait: what no living worker says it holds goes back at once. Should a
living worker not answer in time, a task runs twice, which is as good as once.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from celery import Celery

from saferank.indexer.documents import Json

log = logging.getLogger(__name__)

_ANSWER_TIME = 1.0


def recover_lost_tasks(app: Celery) -> int:
    """Put the saferank tasks that nobody works on back into their queues.

    Returns:
        Their number.
    """
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
        if connection.transport.driver_type != "redis":
            return 0
        channel: Any = connection.default_channel
        unacknowledged = {
            tag: task
            for tag, message in channel.client.hgetall(channel.unacked_key).items()
            if (task := _task_id(message)) is not None
        }
        if not unacknowledged:
            return 0
        held = {task["id"] for task in held_tasks(app)}
        lost = [tag for tag, task in unacknowledged.items() if task not in held]
        for tag in lost:
            channel.qos.restore_by_tag(tag)
    if lost:
        log.warning("%d tasks of workers that are gone go back to their queues", len(lost))
    return len(lost)


def _task_id(message: bytes) -> str | None:
    """Read a task's id from an unacknowledged message; None when the task is not ours."""
    headers: Json = json.loads(message)[0].get("headers", {})
    return headers["id"] if str(headers.get("task", "")).startswith("saferank.") else None


def held_tasks(app: Celery) -> list[Json]:
    """Ask the living workers what they hold, waiting or at work: ``id``, ``name``, ``kwargs`` …

    They are asked in the order in which a task moves on, so that none is missed.
    """
    held: list[Json] = []
    # A connection of its own, closed at once: one of the app's pool would stay in the middle of
    # waiting for replies, and a child forked later would wait for them forever.
    with app.connection_for_write() as connection:
        inspect = app.control.inspect(timeout=_ANSWER_TIME, connection=connection)
        replies: Any
        for replies in (inspect.scheduled(), inspect.reserved(), inspect.active()):
            for tasks in (replies or {}).values():
                held += [task.get("request", task) for task in tasks]
    return held
