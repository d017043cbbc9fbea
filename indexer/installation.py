"""Which installation a task is for, so that none is done, or dropped, by another one's worker.

Two installations, staging and production say, may share a broker and forget to give their queues
names of their own. Then each takes the other's tasks, about documents and jobs that it does not
know. So a task names the installation that it is for: a cluster, and the job records there.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from saferank.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

log = logging.getLogger(__name__)

_ASKED_AGAIN = 60.0
# By address and index of the job records, which make the name; settings with a mapping in them are
# no keys.
_known: dict[tuple[str, str], tuple[str | None, float]] = {}


def installation_of(client: Elasticsearch, jobs_index: str) -> str | None:
    """Name the installation of a cluster; None when the cluster does not let us know.

    Args:
        client: connected, with the cluster privilege ``monitor``.
        jobs_index: as in the settings.
    """
    from elasticsearch import AuthorizationException

    try:
        state = client.cluster.state(metric="version", filter_path="cluster_uuid")
    except AuthorizationException:
        return None
    return f"{state['cluster_uuid']}/{jobs_index}"


def installation_of_settings(settings: Settings) -> str | None:
    """Name the installation of an application that queues documents.

    None when the application has not set where Elasticsearch is, or it does not answer at once:
    that must not keep a document from being queued. Asked once, or once a minute until it answers.
    """
    if "elasticsearch_url" not in settings.model_fields_set:
        return None
    # Here, since an application that only queues may not have loaded a client yet.
    from elastic_transport import TransportError
    from elasticsearch import ApiError

    from saferank.connection import connect

    key = settings.elasticsearch_url, settings.indexer.jobs_index
    name, asked = _known.get(key, (None, -_ASKED_AGAIN))
    if name is None and time.monotonic() - asked >= _ASKED_AGAIN:
        try:
            with connect(settings, timeout=2.0) as client:
                name = installation_of(client, settings.indexer.jobs_index)
        except (ApiError, TransportError) as error:
            log.warning("tasks do not say which installation they are for: %s", error)
        _known[key] = name, time.monotonic()
    return name
