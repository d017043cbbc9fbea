"""Celery apps that score: one for saferank alone, or the tasks in an application's own app.

An application with a Celery app of its own calls ``configure(its_app)``; the tasks are shared
tasks and appear there. ``saferank worker`` and ``celery -A saferank.indexer.worker worker`` run
saferank's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from celery import Celery, bootsteps
from celery.beat import BeatLazyFunc
from celery.concurrency.solo import TaskPool as SoloPool
from celery.signals import worker_init, worker_ready, worker_shutdown
from kombu import Exchange, Queue

from saferank.indexer.brokers import broker_app
from saferank.indexer.installation import installation_of_settings
from saferank.indexer.jobs.recovery import recover_lost_tasks
from saferank.indexer.presence import Presence, Present
from saferank.indexer.queue import LOOK_TASK, SCORE_TASK
from saferank.indexer.worker.cores import children
from saferank.indexer.worker.sweep import SWEEP_TASK
from saferank.settings import IndexerSettings, Settings, get_settings

log = logging.getLogger(__name__)

# Seconds after connecting in which other workers connect too, when the broker was restarted.
_SETTLED = 10.0
# Tries while a worker is silent, and seconds between them: one that was killed is gone before.
_TRIES = 10
_PAUSE = 2.0


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
    """Add the tasks, their queues and their time limit to an app, before or after its own settings.

    What the app has stays as it is: its broker's settings, its tasks, and the queues that its
    workers serve. With Redis, its ``visibility_timeout`` should be longer than
    ``indexer.time_limit``; if it is shorter, tasks run more often than needed.
    """
    settings = settings or get_settings()

    def add(sender: Celery, **_: object) -> None:
        _add(sender, settings.indexer)

    # Celery reads an app's settings late, and again after each ``config_from_object``.
    app.on_after_configure.connect(add, weak=False)
    if app.configured:  # type: ignore[attr-defined]
        _add(app, settings.indexer)


def _add(app: Celery, settings: IndexerSettings) -> None:
    """Add what is ours to an app's settings; adding it twice is as good as once."""
    modules = tuple(
        f"saferank.indexer.worker.{name}" for name in ("tasks", "sweep", "look", "fitness")
    )
    app.conf.include = list(dict.fromkeys([*(app.conf.include or ()), *modules]))
    ours = [
        Queue(name, Exchange(name), routing_key=name)
        for name in (settings.fresh_queue, settings.backfill_queue)
    ]
    there = app.conf.task_queues or [_default_queue(app)]
    if isinstance(there, Mapping):
        app.conf.task_queues = {**{queue.name: _as_options(queue) for queue in ours}, **there}
    else:
        names = {queue.name for queue in there}
        app.conf.task_queues = [*there, *(queue for queue in ours if queue.name not in names)]
    app.conf.task_annotations = _merged(
        app.conf.task_annotations, {SCORE_TASK: {"time_limit": settings.time_limit}}
    )
    app.conf.beat_schedule = {
        **(app.conf.beat_schedule or {}),
        **{
            f"saferank.sweep {index}": {
                "task": SWEEP_TASK,
                "schedule": settings.sweep_every,
                "args": (index,),
                # Asked of the cluster by beat, when it sends one.
                "kwargs": {"installation": BeatLazyFunc(_installation)},
                # The next one does what a late one would have done.
                "options": {"expires": settings.sweep_every},
            }
            for index in settings.sweep
        },
    }
    app.conf.task_routes = _merged(
        app.conf.task_routes,
        {task: {"queue": settings.fresh_queue} for task in (SCORE_TASK, SWEEP_TASK, LOOK_TASK)},
    )


def _installation() -> str | None:
    return installation_of_settings(get_settings())


def _default_queue(app: Celery) -> Queue:
    """The queue of an app that names none: Celery makes it only where no others are named."""
    name, kind = app.conf.task_default_queue, app.conf.task_default_exchange_type
    exchange = Exchange(app.conf.task_default_exchange or name, kind)
    return Queue(name, exchange, routing_key=app.conf.task_default_routing_key or name)


def _as_options(queue: Queue) -> dict[str, Any]:
    return {"exchange": queue.exchange.name, "routing_key": queue.routing_key}


def _merged(existing: Any, ours: dict[str, Any]) -> Any:
    """Add entries to a Celery setting that may be nothing, one mapping, or a list."""
    if not existing:
        return ours
    if isinstance(existing, dict):
        return {**ours, **existing}
    return list(existing) if ours in existing else [ours, *existing]


class RecoverAfterConnect(bootsteps.StartStopStep):
    """Each time that a worker has (again) reached the broker, return what nobody works on.

    A worker that lost its connection can no longer acknowledge what it held.
    """

    requires = ("celery.worker.consumer:Tasks",)

    def start(self, parent: Any) -> None:
        """Wait until workers have settled, without holding this one up."""
        _recover_later(parent.app, _SETTLED)


@worker_init.connect
def _recover_before_start(sender: Any, **_: object) -> None:
    if recover(sender.app):
        _recover_later(sender.app, _PAUSE)


@worker_ready.connect
def _be_present(sender: Any, **_: object) -> None:
    """Keep a beat until the worker ends, so that nobody takes its silence for death."""
    controller = sender.controller
    mute = not sender.app.conf.worker_enable_remote_control or issubclass(
        controller.pool_cls, SoloPool
    )
    presence = Presence(sender.app, Present(sender.hostname, mute), children(controller))
    presence.start()
    worker_shutdown.connect(lambda **_: presence.stop(), sender=controller, weak=False)


def _recover_later(app: Celery, seconds: float) -> None:
    """Recover in some seconds; and again while a worker is silent, until it is gone for sure."""

    def patiently() -> None:
        for _ in range(_TRIES):
            if not recover(app):
                return
            time.sleep(_PAUSE)

    timer = threading.Timer(seconds, patiently)
    timer.daemon = True
    timer.start()


def recover(app: Celery) -> bool:
    """Return the tasks of lost workers; if that fails, they come back after a timeout.

    Returns:
        Whether it is worth trying again: a worker may live, and does not say what it holds.
    """
    try:
        _, silent = recover_lost_tasks(app)
    except Exception as error:
        log.warning("tasks of lost workers, if any, come back later: %s", error)
        return False
    return bool(silent)
