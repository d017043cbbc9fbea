"""The worker's app: importing this makes it, and loads the model in each new child."""

from __future__ import annotations

import logging

from celery.signals import setup_logging, worker_process_init

from saferank.errors import SaferankError
from saferank.indexer.operate.logs import configure_logging
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


@worker_process_init.connect
def _prepare(**_: object) -> None:
    """Load the model now, so that a child's first task does not wait for it."""
    try:
        process_resources()
    except SaferankError as error:
        log.error("this worker process cannot be prepared; its tasks will say so again: %s", error)
    except Exception:
        log.exception("this worker process cannot be prepared; its tasks will say so again")
