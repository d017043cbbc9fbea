"""Tasks of another installation go back to the queue, where its own workers find them."""

from __future__ import annotations

import logging
import random
from typing import Any

from celery import Task
from elasticsearch import Elasticsearch

from saferank.indexer.installation import installation_of
from saferank.settings import Settings

log = logging.getLogger(__name__)

# Seconds until a task that was put back comes again, at random between the two.
_SOON = (1.0, 10.0)


def put_back_unless_ours(
    task: Task[Any, Any], client: Elasticsearch, settings: Settings, installation: str | None
) -> None:
    """See that a task is for this installation, as far as that is known.

    Args:
        task: in which this is called.
        client: connected.
        settings: of this installation.
        installation: that the message names, see ``installation``.

    Raises:
        celery.exceptions.Retry: it is for another.
    """
    own = installation_of(client, settings.indexer.jobs_index)
    if None not in (installation, own) and installation != own:
        log.warning("putting %s of another installation (%s) back", task.name, installation)
        raise task.retry(countdown=random.uniform(*_SOON))  # noqa: S311
