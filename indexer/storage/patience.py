"""Calling Elasticsearch again while it is busy or away, and naming what will not pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import stamina
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout
from elasticsearch import ApiError

from saferank.engines.engine import wrong_server
from saferank.errors import MappingError, ServiceUnavailable
from saferank.indexer.bulk.outages import is_transient
from saferank.indexer.operate import metrics

T = TypeVar("T")

ACCESS = frozenset({401, 403})
"""Of the statuses 4xx, those that say nothing about the request itself."""


class IndexBlocked(ServiceUnavailable):
    """An index refuses writes: its disk is full, it is being maintained, or it was replaced.

    Attributes:
        index: its name.
    """

    def __init__(self, index: str, message: str) -> None:
        self.index = index
        super().__init__(message)


class Busy(Exception):
    """Some items of a request were turned away for now."""


class Blocked(Busy):
    """An index refuses writes: for a second while an alias moves, or for longer."""

    def __init__(self, index: str, reason: str) -> None:
        self.index = index
        super().__init__(reason)


class Patience:
    """Calls again, with growing pauses, while Elasticsearch is busy or away.

    Args:
        seconds: to keep trying.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def call(self, index: str, call: Callable[[], T]) -> T:
        """Call until it succeeds, and give what it gave.

        Args:
            index: what it is about, for messages.
            call: raises ``Busy`` or what the client raises; only then it is called again.

        Raises:
            IndexBlocked: an index refused writes for too long.
            MappingError: the index cannot be used, however often it is tried.
            ServiceUnavailable: Elasticsearch stayed busy or away for too long, or refuses access.
        """
        try:
            for attempt in stamina.retry_context(
                on=_try_again, attempts=None, timeout=self._seconds, wait_max=10.0
            ):
                with attempt:
                    if attempt.num > 1:
                        metrics.STORE_RETRIES.labels("request").inc()
                    return call()
        except Blocked as error:
            raise IndexBlocked(
                error.index,
                f"index {error.index!r} has refused writes for {self._seconds:g} s ({error}); "
                "its documents wait until it takes them again: make room on its disk, or lift the "
                "block",
            ) from error
        except Busy as error:
            raise ServiceUnavailable(
                f"Elasticsearch stayed too busy for {self._seconds:g} s ({error}); "
                "lower the rate of the backfill, or give the cluster more room"
            ) from error
        except ApiError as error:
            if is_transient(error):
                raise self._away(error) from error
            if error.status_code in ACCESS or error.status_code >= 500:
                raise ServiceUnavailable(f"Elasticsearch refuses for now: {error}") from error
            raise MappingError(_refusal(index, error)) from error
        except (TransportConnectionError, ConnectionTimeout) as error:
            raise self._away(error) from error
        raise AssertionError("unreachable")

    def _away(self, error: Exception) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"Elasticsearch did not serve a request for {self._seconds:g} s: {error}"
        )


def _try_again(error: Exception) -> bool:
    return isinstance(error, Busy) or is_transient(error)


def _refusal(index: str, error: ApiError) -> str:
    """What is wrong with an index that cannot be used, and what to do."""
    if (said := wrong_server(error)) is not None:
        return f"the server {said}"
    match error.error:
        case "index_not_found_exception" | "illegal_argument_exception" if ":" in index:
            return f"{index!r} is an index of another cluster; score it from there"
        case "index_not_found_exception":
            return f"there is no index {index!r}; correct the name, or create it"
        case "index_closed_exception":
            return f"index {index!r} is closed; open it, then score what has no score"
    return f"Elasticsearch refuses the request for {index!r}: {error}"
