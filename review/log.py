"""The review log in Elasticsearch: entries are added to it, and never changed.

An entry's id is its item and its number in the item's chain, and it is only ever created. So of two
people who say something about an item at once, one is told; and reading by id shows every entry as
soon as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from elasticsearch import ConflictError, Elasticsearch

from saferank.connection import make_index, sources
from saferank.errors import MappingError
from saferank.review.entries import Entry, Item, entry_id

_KEYWORD = {"type": "keyword"}
_MAPPING = {
    "dynamic": "strict",
    "_meta": {"saferank": {"version": 1, "own": True}},
    "properties": {
        **dict.fromkeys(
            ("key", "index", "document", "routing", "act", "by", "token", "queue"), _KEYWORD
        ),
        **dict.fromkeys(("model", "policy", "digests", "batch"), _KEYWORD),
        "number": {"type": "integer"},
        "undoes": {"type": "integer"},
        "opinions": {"type": "integer"},
        "at": {"type": "date_nanos"},
        "reason": {"type": "text"},
        "probability": {"type": "float"},
        "before": {"type": "object", "enabled": False},
    },
}
_AT_ONCE = 16  # entries that are asked for together; most chains are shorter
_PAGE = 1000


class Overtaken(Exception):
    """Somebody else has said something about the item since its chain was read."""


class Log:
    """The entries of all items.

    Args:
        client: connected.
        index: where they are kept.
    """

    def __init__(self, client: Elasticsearch, index: str) -> None:
        self._client = client
        self._index = index

    def install(self) -> None:
        """Make the index unless it is there."""
        make_index(self._client, self._index, _MAPPING)

    def chain(self, item: Item) -> list[Entry]:
        """All entries of an item, in order, as they are at this moment.

        Raises:
            MappingError: there is no log.
        """
        return self.chains([item])[item]

    def chains(self, items: Sequence[Item]) -> dict[Item, list[Entry]]:
        """The same of several items."""
        found: dict[Item, list[Entry]] = {item: [] for item in items}
        going_on = list(found)
        first = True
        while going_on:
            # Most items have no entry at all, so the first look is for one alone.
            most = 1 if first and len(items) > 1 else _AT_ONCE
            first = False
            wanted = [
                (item, len(found[item]) + 1 + step) for item in going_on for step in range(most)
            ]
            ids = [entry_id(item, number) for item, number in wanted]
            answers = self._client.mget(index=self._index, ids=ids)["docs"]
            full = dict.fromkeys(going_on, True)
            for (item, _), answer in zip(wanted, answers, strict=True):
                if "error" in answer:
                    raise MappingError(
                        f"the review log {self._index!r} cannot be read "
                        f"({answer['error']['reason']}); restore it, or start the review again "
                        "for a new one"
                    )
                if full[item] and answer.get("found"):
                    found[item].append(Entry.from_document(answer["_source"]))
                else:
                    full[item] = False
            going_on = [item for item in going_on if full[item]]
        return found

    def append(self, entry: Entry, length: int) -> Entry:
        """Store an entry as the next of its chain.

        Args:
            entry: without a number.
            length: entries that the chain had when it was read.

        Returns:
            The entry with its number.

        Raises:
            Overtaken: the chain is longer by now.
        """
        entry = replace(entry, number=length + 1)
        try:
            self._client.create(index=self._index, id=entry.id, document=entry.to_document())
        except ConflictError as error:
            raise Overtaken from error
        return entry

    def newest(self, person: str | None = None, *, size: int = 200) -> list[Entry]:
        """The newest entries, of one person or of all, the newest first."""
        query: dict[str, Any] = {"match_all": {}} if person is None else {"term": {"by": person}}
        self._client.indices.refresh(index=self._index)
        answer = self._client.search(
            index=self._index,
            query=query,
            sort=[{"at": "desc"}, {"number": "desc"}],
            size=size,
            track_total_hits=False,
        )
        return [Entry.from_document(hit["_source"]) for hit in answer["hits"]["hits"]]

    def entries(self, *, index: str | None = None, since: str | None = None) -> Iterator[Entry]:
        """All entries, chain by chain, each chain in order.

        Args:
            index: of items of this index or alias alone.
            since: not older than this, a date or date mathematics such as ``now-30d``.
        """
        filters: list[dict[str, Any]] = []
        if index is not None:
            filters.append({"term": {"index": index}})
        if since is not None:
            filters.append({"range": {"at": {"gte": since}}})
        self._client.indices.refresh(index=self._index)
        query = {"bool": {"filter": filters}}
        order = [{"key": "asc"}, {"number": "asc"}]
        yield from map(
            Entry.from_document, sources(self._client, self._index, query, order, page=_PAGE)
        )
