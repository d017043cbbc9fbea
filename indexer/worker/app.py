"""Celery apps that score: one for saferank alone, or the tasks in an application's own app.

An application with a Celery app of its own calls ``configure(its_app)``; the tasks are shared
tasks and appear there. ``saferank worker`` and ``celery -A saferank.indexer.worker worker`` run
saferank's.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import Celery, bootsteps
from celery.signals import worker_init
from kombu import Exchange, Queue

from saferank.indexer.brokers import broker_app
from saferank.indexer.jobs.recovery import recover_lost_tasks
from saferank.indexer.queue import SCORE_TASK
from saferank.indexer.worker.sweep import SWEEP_TASK
from saferank.settings import Settings, get_settings

log = logging.getLogger(__name__)

# Seconds after connecting in which other workers connect too, when the broker was restarted.
_SETTLED = 10.0


def create_app(settings: Settings | None = None) -> Celery:
    """Make a Celery app for saferank alone."""
    settings = settings or get_settings()
    app = broker_app(settings)
    app.conf.update(
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_max_memory_per_child=settings.indexer.child_memory_mb * 1024,
        # Loading a model takes seconds on a busy machine; four are the default.
        worker_proc_alive_timeout=60,
        broker_connection_retry_on_startup=True,
        # A hundred tries, Celery's default, are an outage of some hours.
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_default_queue=settings.indexer.fresh_queue,
    )
    configure(app, settings)
    app.steps["consumer"].add(RecoverAfterConnect)
    return app


def configure(app: Celery, settings: Settings | None = None) -> None:
    """Add the tasks, their queues and their time limit to an app.

    The app's own broker settings stay as they are. With Redis, its ``visibility_timeout`` should
    be longer than ``indexer.time_limit``; if it is shorter, tasks run more often than needed.
    """
    settings = settings or get_settings()
    queues = settings.indexer
    app.conf.include = [
        *(app.conf.include or ()),
        "saferank.indexer.worker.tasks",
        "saferank.indexer.worker.sweep",
    ]
    app.conf.task_queues = [
        *(app.conf.task_queues or ()),
        *(
            Queue(name, Exchange(name), routing_key=name)
            for name in (queues.fresh_queue, queues.backfill_queue)
        ),
    ]
    app.conf.task_annotations = _merged(
        app.conf.task_annotations, {SCORE_TASK: {"time_limit": queues.time_limit}}
    )
    app.conf.beat_schedule = {
        **(app.conf.beat_schedule or {}),
        **{
            f"saferank.sweep {index}": {
                "task": SWEEP_TASK,
                "schedule": queues.sweep_every,
                "args": (index,),
            }
            for index in queues.sweep
        },
    }
    app.conf.task_routes = _merged(
        app.conf.task_routes,
        {SCORE_TASK: {"queue": queues.fresh_queue}, SWEEP_TASK: {"queue": queues.fresh_queue}},
    )


def _merged(existing: Any, ours: dict[str, Any]) -> Any:
    """Add entries to a Celery setting that may be nothing, one mapping, or a list."""
    if not existing:
        return ours
    if isinstance(existing, dict):
        return {**ours, **existing}
    return [ours, *existing]


class RecoverAfterConnect(bootsteps.StartStopStep):
    """Each time that a worker has (again) reached the broker, return what nobody works on.

    A worker that lost its connection can no longer acknowledge what it held.
    """

    requires = ("celery.worker.consumer:Tasks",)

    def start(self, parent: Any) -> None:
        """Wait until workers have settled, without holding this one up."""
        timer = threading.Timer(_SETTLED, recover, args=(parent.app,))
        timer.daemon = True
        timer.start()


@worker_init.connect
def _recover_before_start(sender: Any, **_: object) -> None:
    recover(sender.app)


def recover(app: Celery) -> None:
    """Return the tasks of lost workers; if that fails, they come back after a timeout."""
    try:
        recover_lost_tasks(app)
    except Exception as error:
        log.warning("tasks of lost workers, if any, come back later: %s", error)
