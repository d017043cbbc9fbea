"""The worker's app: importing this makes it, and loads the model in each new child."""

from __future__ import annotations

import logging

from celery.signals import worker_process_init

from saferank.indexer.app import create_app
from saferank.indexer.resources import process_resources

log = logging.getLogger(__name__)

app = create_app()
app.set_default()

# One line a request would drown the worker's own.
logging.getLogger("elastic_transport").setLevel(logging.WARNING)


@worker_process_init.connect
def _prepare(**_: object) -> None:
    """Load the model now, so that a child's first task does not wait for it."""
    try:
        process_resources()
    except Exception:
        log.exception("this worker process cannot be prepared; its tasks will say so again")
