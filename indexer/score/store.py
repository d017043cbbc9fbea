"""Reading documents from Elasticsearch and writing their scores back.

A write changes the indexer's own fields and only if the document is still the version that was
read. So it never creates a document, never brings a deleted one back, never undoes another
writer's change, and needs no script on the cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import stamina
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout
from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError

from saferank.errors import MappingError, ServiceUnavailable
from saferank.indexer.documents import Document, Json
from saferank.indexer.keys import DocumentKey
from saferank.indexer.operate import metrics
from saferank.indexer.score.outages import BUSY, is_transient
from saferank.mappings.fields import SafetyFields
from saferank.mappings.paths import nested, values_at
from saferank.mappings.record import SafetyRecord

log = logging.getLogger(__name__)

T = TypeVar("T")


class Written(Enum):
    """What became of a write."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    """The same was stored already."""
    CHANGED = "changed"
    """The document is another version by now; read it again."""
    DELETED = "deleted"
    REJECTED = "rejected"
    """Elasticsearch will not take it, whatever the score."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The outcome for one document, with Elasticsearch's reason when it was rejected."""

    written: Written
    reason: str | None = None


class _Busy(Exception):
    """Some items were turned away for now."""


class _Closed(_Busy):
    """The index refuses writes: for a second while an alias moves, or because it was replaced."""


class DocumentStore:
    """Documents of any index, their images and their scores.

    Args:
        client: connected.
        fields: names of the safety fields.
        image_field: source field with the image references.
        patience: seconds to keep trying while Elasticsearch is busy or away.
    """

    def __init__(
        self,
        client: Elasticsearch,
        fields: SafetyFields,
        image_field: str,
        *,
        patience: float = 60.0,
    ) -> None:
        self._client = client
        self._fields = fields
        self._image_field = image_field
        self._patience = patience

    def read(
        self, index: str, keys: Sequence[DocumentKey]
    ) -> tuple[list[Document], list[DocumentKey]]:
        """Read the newest version of documents, also of those not yet searchable.

        Returns:
            The documents that exist, and the keys of those that do not.

        Raises:
            MappingError: there is no such index.
            ServiceUnavailable: Elasticsearch stayed busy or away for longer than ``patience``.
        """
        if not keys:
            return [], []
        wanted = [
            {"_id": key.id} if key.routing is None else {"_id": key.id, "routing": key.routing}
            for key in keys
        ]
        with metrics.stage("read"):
            entries = self._patiently(lambda: self._mget(index, wanted))
        documents, missing = [], []
        for key, entry in zip(keys, entries, strict=True):
            if entry.get("found"):
                documents.append(self._document(key, entry))
            else:
                missing.append(key)
        return documents, missing

    def write(
        self,
        index: str,
        records: Sequence[tuple[Document, SafetyRecord]],
        *,
        restamp: bool = False,
    ) -> list[WriteResult]:
        """Store records, in the order given.

        Args:
            index: the documents' index.
            records: what to store for each document that was read.
            restamp: write a new ``scored_at`` even if nothing else is new.

        Raises:
            ServiceUnavailable: Elasticsearch stayed busy or away for longer than ``patience``.
        """
        results: list[WriteResult | None] = [None] * len(records)
        for place, (document, record) in enumerate(records):
            if not restamp and document.record.says(record):
                results[place] = WriteResult(Written.UNCHANGED)

        def write_rest() -> None:
            places = [place for place, result in enumerate(results) if result is None]
            if not places:
                return
            operations: list[Json] = []
            for place in places:
                document, record = records[place]
                action: dict[str, Any] = {
                    "_id": document.key.id,
                    "if_seq_no": document.seq_no,
                    "if_primary_term": document.primary_term,
                }
                if document.key.routing is not None:
                    action["routing"] = document.key.routing
                operations += [
                    {"update": action},
                    {"doc": nested(self._fields.root, record.to_document())},
                ]
            response = self._client.bulk(index=index, operations=operations)
            busy = 0
            closed = any(_is_closed(item["update"]) for item in response["items"])
            for place, item in zip(places, response["items"], strict=True):
                results[place] = _result(item["update"])
                busy += results[place] is None
            if busy:
                metrics.STORE_RETRIES.labels("busy").inc(busy)
                kind = _Closed if closed else _Busy
                raise kind(f"{busy} of {len(places)} writes were turned away")

        with metrics.stage("write"):
            self._patiently(write_rest)
        return [result for result in results if result is not None]

    def _mget(self, index: str, wanted: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
        response = self._client.mget(
            index=index, docs=wanted, source_includes=[self._image_field, self._fields.root]
        )
        entries: list[dict[str, Any]] = response["docs"]
        for entry in entries:
            error = entry.get("error")
            if error is None:
                continue
            if error["type"] == "index_not_found_exception":
                raise MappingError(f"there is no index {index!r}; correct the name, or create it")
            if error["type"] == "routing_missing_exception":
                continue  # without its routing there is no such document
            raise _Busy(f"{error['type']}: {error.get('reason')}")
        return entries

    def _document(self, key: DocumentKey, entry: Json) -> Document:
        source = entry.get("_source", {})
        stored: object = next(values_at(source, self._fields.root), {})
        own = SafetyFields.INDEXER_OWNED
        return Document(
            key,
            tuple(values_at(source, self._image_field)),
            {name: stored[name] for name in own if name in stored}
            if isinstance(stored, Mapping)
            else {},
            entry["_seq_no"],
            entry["_primary_term"],
        )

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call again, with growing pauses, while Elasticsearch is busy or away."""
        try:
            for attempt in stamina.retry_context(
                on=_try_again, attempts=None, timeout=self._patience, wait_max=10.0
            ):
                with attempt:
                    if attempt.num > 1:
                        metrics.STORE_RETRIES.labels("request").inc()
                    return call()
        except NotFoundError as error:
            raise MappingError(f"there is no such index: {error}") from error
        except _Closed as error:
            raise MappingError(
                f"the index has refused writes for {self._patience:g} s; score the documents "
                "through the alias if it was replaced by a new index"
            ) from error
        except _Busy as error:
            raise ServiceUnavailable(
                f"Elasticsearch stayed too busy for {self._patience:g} s ({error}); "
                "lower the rate of the backfill, or give the cluster more room"
            ) from error
        except BadRequestError as error:
            raise MappingError(f"Elasticsearch refuses the request: {error}") from error
        except (TransportConnectionError, ConnectionTimeout, ApiError) as error:
            raise ServiceUnavailable(
                f"Elasticsearch did not serve a request for {self._patience:g} s: {error}"
            ) from error
        raise AssertionError("unreachable")


def _try_again(error: Exception) -> bool:
    return isinstance(error, _Busy) or is_transient(error)


def _result(item: Json) -> WriteResult | None:
    """Read one item of a bulk answer; None when it is to be sent again."""
    status: int = item["status"]
    if status in BUSY or _is_closed(item):
        return None
    if status == 409:
        return WriteResult(Written.CHANGED)
    if status == 404:
        return WriteResult(Written.DELETED)
    if status >= 400:
        error = item["error"]
        cause = error.get("caused_by", {}).get("reason", "")
        return WriteResult(Written.REJECTED, f"{error['type']}: {error['reason']} {cause}".strip())
    return WriteResult(Written.UNCHANGED if item["result"] == "noop" else Written.STORED)


def _is_closed(item: Json) -> bool:
    error = item.get("error")
    return isinstance(error, Mapping) and error.get("type") == "cluster_block_exception"
