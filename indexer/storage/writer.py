"""Writing to documents that were read: some of their fields, and only if nothing else changed them.

A document is written to the concrete index where it was found, if it is still the version that was
read, and not to another index that has taken that one's name meanwhile. So a write never creates a
document, never brings a deleted one back, never undoes another writer's change, and needs no
script on the cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import ApiError, Elasticsearch

from saferank.errors import ServiceUnavailable
from saferank.indexer.bulk.outages import BLOCK, BUSY
from saferank.indexer.bulk.parts import TOO_LARGE, by_bytes, in_halves, to_json
from saferank.indexer.documents import Document, Json, WriteResult, Written
from saferank.indexer.operate import metrics
from saferank.indexer.storage.indices import Indices
from saferank.indexer.storage.patience import ACCESS, Blocked, Busy, IndexBlocked, Patience
from saferank.indexer.storage.reader import location

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Documents that are written together.

    Attributes:
        index: the name that they were read through.
        documents: as they were read.
        lines: what a bulk says of each, by its place; of those with something to write.
        results: by their places; None as long as there is none.
    """

    index: str
    documents: Sequence[Document]
    lines: Mapping[int, tuple[bytes, bytes]]
    results: list[WriteResult | None]

    @property
    def open_places(self) -> list[int]:
        """The places that have no result yet."""
        return [place for place, result in enumerate(self.results) if result is None]

    def size(self, place: int) -> int:
        """Bytes of a document's part of a bulk."""
        return sum(map(len, self.lines[place]))


class Writer:
    """Writes to documents, in bulks of a size that Elasticsearch takes.

    Args:
        client: connected.
        indices: the concrete ones, as they were seen when the documents were read.
        patience: with an index that refuses writes, and with Elasticsearch.
    """

    def __init__(self, client: Elasticsearch, indices: Indices, patience: Patience) -> None:
        self._client = client
        self._indices = indices
        self._patience = patience
        self._blocked: set[str] = set()

    def check_accept(self, documents: Iterable[Document]) -> None:
        """See, before work is done in vain, whether indices that refused writes still do.

        Raises:
            IndexBlocked: one does.
        """
        for index in {document.index for document in documents} & self._blocked:
            if self._indices.blocks(index).get(index):
                raise IndexBlocked(index, f"index {index!r} still refuses writes")
            self._blocked.discard(index)

    def write(
        self, index: str, documents: Sequence[Document], contents: Sequence[Json | None]
    ) -> list[WriteResult]:
        """Write, and say what became of each document, in the order given.

        Args:
            index: as the documents were read through.
            documents: as they were read.
            contents: the fields to write to each; None for one that is to stay as it is.

        Raises:
            IndexBlocked: an index refused writes for too long.
            MappingError: there is no such index.
            ServiceUnavailable: Elasticsearch stayed busy or away for too long.
        """
        pairs = enumerate(zip(documents, contents, strict=True))
        lines = {
            place: _lines(document, content)
            for place, (document, content) in pairs
            if content is not None
        }
        results = [
            None if place in lines else WriteResult(Written.UNCHANGED)
            for place in range(len(documents))
        ]
        batch = _Batch(index, documents, lines, results)
        with metrics.stage("write"):
            self._patience.call(index, lambda: self._write_rest(batch))
            if any(result and result.written is Written.DELETED for result in results):
                self._patience.call(index, lambda: self._look_for_replaced(batch))
        return [result for result in results if result is not None]

    def _write_rest(self, batch: _Batch) -> None:
        """Write to the documents that have no result yet.

        Raises:
            Busy: some were turned away for now.
        """
        self._pass_over_replaced(batch)
        turned_away: list[Busy] = []
        for part in by_bytes(batch.open_places, batch.size):
            turned_away += in_halves(lambda places: self._send(batch, places), part)
        if turned_away:
            metrics.STORE_RETRIES.labels("busy").inc(len(turned_away))
            blocks = (error for error in turned_away if isinstance(error, Blocked))
            raise next(blocks, turned_away[0])

    def _pass_over_replaced(self, batch: _Batch) -> None:
        """Have documents read again whose index was deleted, or made anew, since they were read."""
        places = batch.open_places
        now = self._indices.uuids_of_those_there(batch.documents[place].index for place in places)
        for place in places:
            document = batch.documents[place]
            if now.get(document.index) != document.uuid:
                batch.results[place] = WriteResult(Written.CHANGED)

    def _look_for_replaced(self, batch: _Batch) -> None:
        """Tell documents that were deleted from those whose index was, in the very last moment.

        A write that comes a moment late makes the index anew, empty; there is no way to ask
        Elasticsearch not to, but for a user without the privilege to make indices.
        """
        now = self._indices.uuids_of_those_there(document.index for document in batch.documents)
        replaced = set()
        for place, document in enumerate(batch.documents):
            if now.get(document.index) != document.uuid:
                batch.results[place] = WriteResult(Written.CHANGED)
                replaced.add(document.index)
        for name in replaced & now.keys():
            log.error(
                "index %r was deleted while its documents were scored, and is there again: if it "
                "is empty and nobody made it, the write of a score did; delete it then",
                name,
            )

    def _send(self, batch: _Batch, places: Sequence[int]) -> list[Busy]:
        """Send one bulk and note the results; give what is to be sent again."""
        operations: list[Any] = [line for place in places for line in batch.lines[place]]
        try:
            items = self._client.bulk(operations=operations)["items"]
        except ApiError as error:
            if error.status_code != TOO_LARGE or len(places) > 1:
                raise
            _, content = batch.lines[places[0]]
            reason = (
                f"its record of {len(content):,} bytes is refused as too large (413); raise the "
                "limit"
            )
            batch.results[places[0]] = WriteResult(Written.REJECTED, reason)
            return []
        turned_away: list[Busy] = []
        for place, item in zip(places, items, strict=True):
            # Elasticsearch may answer an update under another name than "update".
            (answer,) = item.values()
            try:
                batch.results[place] = _result(answer)
            except Blocked as block:
                if self._indices.leads_to(batch.index, block.index):
                    self._blocked.add(block.index)
                    turned_away.append(block)
                else:
                    batch.results[place] = WriteResult(Written.CHANGED)
            except Busy as busy:
                turned_away.append(busy)
        return turned_away


def _lines(document: Document, content: Json) -> tuple[bytes, bytes]:
    """What a bulk says of one document."""
    action = {
        **location(document.index, document.key),
        "if_seq_no": document.seq_no,
        "if_primary_term": document.primary_term,
    }
    return to_json({"update": action}), to_json({"doc": content})


def _result(item: Json) -> WriteResult:
    """Read one item of a bulk answer.

    Raises:
        Busy: it is to be sent again.
        ServiceUnavailable: this process may not write there.
    """
    status: int = item["status"]
    if status < 400:
        return WriteResult(Written.UNCHANGED if item["result"] == "noop" else Written.STORED)
    error = item["error"]
    reason = f"{error['type']}: {error.get('reason')}"
    if error["type"] == BLOCK:
        raise Blocked(item["_index"], reason)
    if status in BUSY:
        raise Busy(reason)
    if status in ACCESS:
        raise ServiceUnavailable(f"Elasticsearch refuses a write ({reason}); allow it")
    if status == 409 or error["type"] == "index_not_found_exception":
        return WriteResult(Written.CHANGED)
    if status == 404:
        return WriteResult(Written.DELETED)
    cause = error.get("caused_by", {}).get("reason", "")
    return WriteResult(Written.REJECTED, f"{reason} {cause}".strip())
