"""Looking at the picture of a blocked document, so that its cropped copies are found, too.

An application that blocks a document would have to wait for the picture's host; a worker may.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import Task, shared_task

from saferank.connection import clear_errors, connect
from saferank.indexer.copies import Copies
from saferank.indexer.queue import LOOK_TASK
from saferank.indexer.worker.installations import put_back_unless_ours
from saferank.settings import get_settings

log = logging.getLogger(__name__)


@shared_task(name=LOOK_TASK, bind=True, base=Task, ignore_result=True, max_retries=None)
def look(self: Task[Any, Any], index: str, name: str, *, installation: str | None = None) -> None:
    """Look at the picture; a sweep makes up for what a worker that ends here leaves undone.

    Args:
        self: the task.
        index: index or alias whose documents have the picture.
        name: of the decision, see ``Copies.look_closer``.
        installation: whose task it is, see ``installation``; None where that is not known.
    """
    settings = get_settings()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        put_back_unless_ours(self, client, settings, installation)
        copies = Copies.of(client, settings)
        if copies is None:
            log.error(
                "the picture of a blocked document in %s is not looked at: set SAFERANK_KNOWN for "
                "workers as for what decides",
                index,
            )
        else:
            copies.look_closer(index, name)
