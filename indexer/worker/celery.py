"""The worker's app: importing this makes it, and loads the model in each new child."""

from __future__ import annotations

import gc
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from billiard.util import get_logger
from celery.signals import (
    celeryd_init,
    setup_logging,
    task_postrun,
    worker_process_init,
    worker_shutdown,
    worker_shutting_down,
)

from saferank.errors import SaferankError
from saferank.indexer.operate import metrics
from saferank.indexer.operate.figures import FOLDER, has_room
from saferank.indexer.operate.logs import configure_logging
from saferank.indexer.worker.allocation import share_arenas
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import process_resources
from saferank.settings import get_settings

log = logging.getLogger(__name__)

app = create_app()
app.set_default()


@setup_logging.connect
def _log(loglevel: int | str, **_: object) -> None:
    """Log in saferank's format instead of Celery's."""
    configure_logging(loglevel or logging.INFO, json=get_settings().log_format == "json")
    # What the pool says, that a child was killed for instance, goes past the others otherwise.
    get_logger().propagate = True


@celeryd_init.connect
def _say_nothing_beside(instance: Any, **_: object) -> None:
    """Where each line is to be JSON, keep Celery from greeting and saying good-bye in its own way.

    It does that on standard output, which nothing else of a worker uses.
    """
    if get_settings().log_format == "json":
        instance.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@worker_shutting_down.connect
def _log_stopping(sig: str, how: str, **_: object) -> None:
    log.info("stopping: a %s shutdown, after %s", how.lower(), sig)


@worker_shutdown.connect
def _log_stopped(**_: object) -> None:
    log.info("stopped")


@worker_process_init.connect
def _prepare(**_: object) -> None:
    """Load the model now, so that a child's first task does not wait for it."""
    folder = os.environ.get(FOLDER)
    if folder is not None and not has_room(Path(folder)):
        log.error("this worker process has no room for metrics in %s, and keeps none", folder)
        metrics.turn_off()
    share_arenas()
    try:
        process_resources()
    except SaferankError as error:
        log.error("this worker process cannot be prepared; its tasks will say so again: %s", error)
    except Exception:
        log.exception("this worker process cannot be prepared; its tasks will say so again")
    # What is there now stays; the garbage collector would go through all of it again and again.
    gc.freeze()


@task_postrun.connect
def _forget_peak(**_: object) -> None:
    """Have a child judged by the memory that it holds between tasks.

    Celery looks at the peak since the start: one large picture would be the end of each child that
    opened it. Linux lets a process set its peak to what it holds now; elsewhere nothing changes.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
