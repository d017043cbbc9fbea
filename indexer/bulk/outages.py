"""Which errors of Elasticsearch are transient, which are not, and waiting for those that are."""

from __future__ import annotations

import logging
import time

from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout
from elasticsearch import ApiError

from saferank.engines.engine import wrong_server
from saferank.errors import JobError

log = logging.getLogger(__name__)

# What a busy or restarting cluster answers: too many requests, no shard to serve it.
BUSY = frozenset({429, 502, 503, 504})
# A block on writes: of a full disk (429), of a reindex or for maintenance (403). It is lifted.
BLOCK = "cluster_block_exception"

PATIENCE = 15 * 60.0
"""Seconds without progress after which a job ends."""
_PAUSE = 2.0


def is_transient(error: Exception) -> bool:
    """Whether the same request may well succeed in a moment."""
    if isinstance(error, ApiError):
        return error.status_code in BUSY or error.error == BLOCK
    return isinstance(error, (TransportConnectionError, ConnectionTimeout))


def is_lasting(error: Exception) -> bool:
    """Whether waiting does not help: a refused query, no access, no such index."""
    if not isinstance(error, ApiError) or error.error == BLOCK:
        return False
    return error.status_code in (400, 401, 403) or error.error == "index_not_found_exception"


class Outages:
    """Waits while services are away, for as long as a job has patience.

    Args:
        job: its id, for messages.
        patience: seconds without progress.
    """

    def __init__(self, job: str, patience: float) -> None:
        self._job = job
        self._patience = patience
        self.since: float | None = None
        """When the outage began, on the monotonic clock; None before the first."""

    def wait(self, error: Exception, *, progressed: bool) -> None:
        """Pause before the next try.

        Args:
            error: what the last try ended with.
            progressed: whether anything was done since the outage began; a new one begins then.

        Raises:
            JobError: waiting does not help, or it has been long enough.
        """
        if is_lasting(error):
            said = wrong_server(error) if isinstance(error, ApiError) else None
            reason = error if said is None else f"the server {said}"
            raise JobError(f"job {self._job!r} cannot go on: {reason}") from error
        now = time.monotonic()
        if self.since is None or progressed:
            self.since = now
        if now - self.since > self._patience:
            raise JobError(
                f"job {self._job!r} cannot go on: {error}; "
                "start it again when the services are back"
            ) from error
        log.warning("job %s waits: %s", self._job, error)
        time.sleep(_PAUSE)
