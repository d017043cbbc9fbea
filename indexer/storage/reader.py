"""Reading documents by their keys.

A document is read by its id through the name that the caller gave. That does not go through a
data stream's name, nor through an alias of several indices, nor without a custom routing; what is
not found so is looked for by a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from elasticsearch import Elasticsearch

from saferank.indexer.bulk.pages import pages
from saferank.indexer.bulk.parts import in_halves
from saferank.indexer.documents import Document, Json
from saferank.indexer.keys import DocumentKey
from saferank.indexer.storage.indices import Indices
from saferank.indexer.storage.patience import Busy
from saferank.mappings.fields import SafetyFields
from saferank.mappings.overrides import NO_FIELDS
from saferank.mappings.paths import list_on_the_way, value_at, values_at

# Answers to a read by id that say: not through this name, or not without a routing.
_NOT_BY_ID = frozenset(
    {
        "illegal_argument_exception",
        "index_not_found_exception",
        "index_closed_exception",
        "routing_missing_exception",
    }
)


class Reader:
    """Reads documents of any index: their images, their scores and people's decisions.

    Args:
        client: connected.
        indices: the concrete ones that are seen on the way.
        image_field: source field with the image references.
        fields: names of the safety fields, for each category; the first one's decisions are read.
    """

    def __init__(
        self,
        client: Elasticsearch,
        indices: Indices,
        image_field: str,
        fields: Sequence[SafetyFields],
    ) -> None:
        self._client = client
        self._indices = indices
        self._image_field = image_field
        self._first, *others = fields
        self._others = [each.root for each in others]
        every = [name for each in fields for name in each.objects]
        self._objects = tuple(dict.fromkeys(every))

    def read(
        self, index: str, keys: Sequence[DocumentKey]
    ) -> tuple[list[Document], list[DocumentKey]]:
        """The documents that exist, and the keys of those that do not, see ``DocumentStore.read``.

        Raises:
            Busy: some of them were turned away for now.
            elasticsearch.ApiError: there is no such index, or it cannot be read.
        """
        # Seen before: a document of an index that comes later is then one to read again.
        uuids = self._indices.seen(index)
        entries = self._get([location(index, key) for key in keys])
        documents, unknown = [], []
        for key, entry in zip(keys, entries, strict=True):
            if entry.get("found"):
                documents.append(self._document(key, entry, uuids))
            else:
                unknown.append(key)
        elsewhere = self._find(index, unknown, uuids)
        documents += elsewhere
        found = {document.key for document in elsewhere}
        found |= {DocumentKey(key.id) for key in found}
        return documents, [key for key in unknown if key not in found]

    def _find(
        self, index: str, keys: Sequence[DocumentKey], uuids: Mapping[str, str]
    ) -> list[Document]:
        """Look for documents by a query, whichever index and routing they have."""
        if not keys:
            return []
        # What was written in the last second is not searchable yet.
        self._client.indices.refresh(index=index)
        query = {"ids": {"values": [key.id for key in keys]}}
        asked = set(keys)
        places = [
            (one.index, one.key)
            for page in pages(self._client, index, query, size=len(keys))
            for one in page
            if one.key in asked or DocumentKey(one.key.id) in asked
        ]
        entries = self._get([location(*place) for place in places])
        return [
            self._document(key, entry, uuids)
            for (_, key), entry in zip(places, entries, strict=True)
            if entry.get("found")
        ]

    @property
    def _read_fields(self) -> list[str]:
        # Whole from the top, or a list on the way would not show where nothing in it is asked for.
        return [self._image_field, *(path.partition(".")[0] for path in self._objects)]

    def _get(self, locations: Sequence[Json]) -> list[Json]:
        """Read by id; an entry that cannot be read so counts as not found."""
        if not locations:
            return []

        def get(some: Sequence[Json]) -> list[Json]:
            found: list[Json] = self._client.mget(docs=some, source_includes=self._read_fields)[
                "docs"
            ]
            return found

        entries = in_halves(get, locations)
        for entry in entries:
            error = entry.get("error")
            if error is not None and error["type"] not in _NOT_BY_ID:
                raise Busy(f"{error['type']}: {error.get('reason')}")
        return entries

    def _document(self, key: DocumentKey, entry: Json, uuids: Mapping[str, str]) -> Document:
        source = entry.get("_source", {})
        objects = {path: value_at(source, path) for path in self._objects}
        lists = (list_on_the_way(source, path) for path in self._objects)
        return Document(
            key,
            tuple(values_at(source, self._image_field)),
            _some(objects[self._first.root], SafetyFields.INDEXER_OWNED),
            _some(objects[self._first.override_object], NO_FIELDS),
            entry["_seq_no"],
            entry["_primary_term"],
            entry["_index"],
            uuids.get(entry["_index"], ""),
            next(filter(None, lists), None),
            {root: _some(objects[root], SafetyFields.INDEXER_OWNED) for root in self._others},
        )


def location(index: str, key: DocumentKey) -> dict[str, str]:
    """Where a document is, as reads and bulks name it."""
    there = {"_index": index, "_id": key.id}
    return there if key.routing is None else {**there, "routing": key.routing}


def _some(found: object, names: Iterable[str]) -> dict[str, Any]:
    """The values of these names in what should be an object."""
    if not isinstance(found, Mapping):
        return {}
    return {name: found[name] for name in names if name in found}
