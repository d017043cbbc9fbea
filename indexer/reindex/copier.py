"""Bringing changed documents from one index into another, and removing what was deleted.

A write into the new index is conditional on what was read there just before, for workers score
its documents meanwhile. It never undoes a score, and no score undoes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import stamina
from elasticsearch import ApiError, Elasticsearch

from saferank.errors import JobError, ServiceUnavailable
from saferank.indexer.bulk.outages import BLOCK, BUSY, is_transient
from saferank.indexer.bulk.pages import pages
from saferank.indexer.bulk.parts import TOO_LARGE, by_bytes, document_to_json, in_halves, to_json
from saferank.indexer.documents import Json
from saferank.indexer.keys import DocumentKey
from saferank.indexer.reindex.merge import merged

log = logging.getLogger(__name__)

_NAMED = 5
_PAGE = 5000
_LONGEST_REASON = 200


class _Again(Exception):
    """Some writes were turned away or met another writer."""


class Copier:
    """Writes into the new index.

    Args:
        client: connected.
        source: the old index.
        target: the new index.
        scores: the objects that scores go into, each with the identity of the model that scores
            now.
        image_field: source field with the image references.
        still_ours: called right before each write; waits while the job is paused, and raises
            when it was cancelled or another producer took over.
        patience: seconds to keep trying while Elasticsearch is busy.
    """

    def __init__(
        self,
        client: Elasticsearch,
        source: str,
        target: str,
        *,
        scores: Mapping[str, str],
        image_field: str,
        still_ours: Callable[[], None],
        patience: float = 60.0,
    ) -> None:
        self._client = client
        self._source = source
        self._target = target
        self._scores = scores
        self._image_field = image_field
        self._still_ours = still_ours
        self._patience = patience

    def write(self, hits: Sequence[Json]) -> None:
        """Store the documents of a page as they are in the old index.

        Raises:
            JobError: the new index refuses a document.
        ServiceUnavailable: Elasticsearch stayed busy for longer than ``patience``.
        """
        left = list(hits)

        def write_left() -> None:
            nonlocal left
            left = self._write(left)
            if left:
                raise _Again(f"{len(left)} documents are not written yet")

        if left:
            self._patiently(write_left)

    def remove_deleted(self, *, slices: int, check: Callable[[], None]) -> int:
        """Remove from the new index what is no longer in the old one, by comparing all ids.

        Both must have been refreshed since the last documents were copied.

        Args:
            slices: parts of the index that are read in parallel.
            check: called at each page; raises when this must stop.

        Returns:
            The number of documents removed.
        """
        removed = 0
        for page in pages(self._client, self._target, {"match_all": {}}, size=_PAGE, slices=slices):
            check()
            keys = [found.key for found in page]
            gone = self._patiently(lambda keys=keys: self._gone(keys))  # type: ignore[misc]
            if gone:
                self._still_ours()
                self._patiently(lambda gone=gone: self._delete(gone))  # type: ignore[misc]
                removed += len(gone)
        return removed

    def _write(self, hits: list[Json]) -> list[Json]:
        """Try to store documents; return those to try again."""
        entries = in_halves(self._read, hits)
        _check_readable(entries)
        operations: list[tuple[Json, bytes, bytes]] = []
        for hit, entry in zip(hits, entries, strict=True):
            action = _location(hit["_id"], hit.get("_routing"))
            found = entry.get("found", False)
            if found:
                action["if_seq_no"] = entry["_seq_no"]
                action["if_primary_term"] = entry["_primary_term"]
            document = merged(
                hit["_source"],
                entry.get("_source"),
                scores=self._scores,
                image_field=self._image_field,
            )
            line = to_json({"index" if found else "create": action})
            operations.append((hit, line, document_to_json(document)))
        again, refused = [], []
        for hit, result in self._send(operations):
            blocked = result.get("error", {}).get("type") == BLOCK
            if result["status"] in BUSY or result["status"] == 409 or blocked:
                again.append(hit)
            elif result["status"] >= 400:
                refused.append((hit["_id"], result["error"]))
        if refused:
            reasons = "; ".join(f"{id}: {_reason(error)}" for id, error in refused[:_NAMED])
            raise JobError(
                f"index {self._target!r} does not take {len(refused)} documents ({reasons}); "
                "correct them or the new mapping, then start again"
            )
        return again

    def _read(self, hits: Sequence[Json]) -> list[Json]:
        """Read what the new index has of documents."""
        found: list[Json] = self._client.mget(
            index=self._target,
            docs=[_location(hit["_id"], hit.get("_routing")) for hit in hits],
            source_includes=[self._image_field, *self._scores],
        )["docs"]
        return found

    def _send(self, operations: list[tuple[Json, bytes, bytes]]) -> Iterator[tuple[Json, Json]]:
        """Send writes in bulks that are not too large; give each document's answer."""

        def send(some: Sequence[tuple[Json, bytes, bytes]]) -> list[tuple[Json, Json]]:
            self._still_ours()
            lines: list[Any] = [line for _, *both in some for line in both]
            # They went through the ingest pipeline when they were first indexed.
            items = self._client.bulk(index=self._target, operations=lines, pipeline="_none")
            answers = [result for item in items["items"] for result in item.values()]
            return [(hit, answer) for (hit, *_), answer in zip(some, answers, strict=True)]

        for part in by_bytes(operations, lambda one: len(one[1]) + len(one[2])):
            try:
                yield from in_halves(send, part)
            except ApiError as error:
                if error.status_code != TOO_LARGE:
                    raise
                raise JobError(
                    f"a document for {self._target!r} is refused as too large (413); raise "
                    "'http.max_content_length', or the limit of the proxy, and start again"
                ) from error

    def _gone(self, keys: list[DocumentKey]) -> list[DocumentKey]:
        """The documents that the old index no longer had when it was last refreshed."""
        if any(key.routing is not None for key in keys):
            docs = [_location(key.id, key.routing) for key in keys]
            entries = self._client.mget(
                index=self._source, docs=docs, source=False, realtime=False
            )["docs"]
            _check_readable(entries)
            return [key for key, entry in zip(keys, entries, strict=True) if not entry.get("found")]
        query = {"ids": {"values": [key.id for key in keys]}}
        # Mostly all are there, and counting them costs a fraction of naming them.
        if self._client.count(index=self._source, query=query)["count"] == len(keys):
            return []
        answer = self._client.search(
            index=self._source,
            query=query,
            size=len(keys),
            source=False,
            filter_path="hits.hits._id",
            # A shard that does not answer must not pass for one without documents.
            allow_partial_search_results=False,
        )
        found = {hit["_id"] for hit in answer.get("hits", {}).get("hits", ())}
        return [key for key in keys if key.id not in found]

    def _delete(self, keys: list[DocumentKey]) -> None:
        operations = [{"delete": _location(key.id, key.routing)} for key in keys]
        items = self._client.bulk(index=self._target, operations=operations)["items"]
        statuses = {result["status"] for item in items for result in item.values()}
        if statuses - {200, 404}:
            raise _Again(f"deletes were turned away: {sorted(statuses)}")

    def _patiently(self, call: Callable[[], Any]) -> Any:
        try:
            for attempt in stamina.retry_context(
                on=_try_again,
                attempts=None,
                timeout=self._patience,
                wait_initial=0.05,
                wait_max=5.0,
            ):
                with attempt:
                    return call()
        except _Again as error:
            raise ServiceUnavailable(
                f"index {self._target!r} did not take all writes for {self._patience:g} s: {error}"
            ) from error
        raise AssertionError("unreachable")


def _try_again(error: Exception) -> bool:
    return isinstance(error, _Again) or is_transient(error)


def _check_readable(entries: Sequence[Json]) -> None:
    for entry in entries:
        # Without its routing there is no such document.
        if "error" in entry and entry["error"]["type"] != "routing_missing_exception":
            raise _Again(str(entry["error"]))


def _location(id: str, routing: str | None) -> dict[str, Any]:
    return {"_id": id} if routing is None else {"_id": id, "routing": routing}


def _reason(error: Json) -> str:
    cause = (error.get("caused_by") or {}).get("reason", "")
    return f"{error.get('reason')} {cause}".strip()[:_LONGEST_REASON]
