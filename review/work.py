"""The open work in Elasticsearch: who holds which item, what was reported, what waits for somebody.

All of it but the leases follows from the log, and is made again by a rebuild. A document of this
index is deleted when nothing about its item is open any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import ConflictError, Elasticsearch, NotFoundError

from saferank.connection import make_index, sources
from saferank.review.entries import Item, Standing

_KEYWORD = {"type": "keyword"}
_BOOLEAN = {"type": "boolean"}
_MAPPING = {
    "dynamic": "strict",
    "_meta": {"saferank": {"version": 1, "own": True}},
    "properties": {
        **dict.fromkeys(("key", "index", "document", "routing", "holder"), _KEYWORD),
        **dict.fromkeys(("reported", "waiting", "unsettled"), _BOOLEAN),
        "until": {"type": "double"},
        "since": {"type": "double"},
    },
}
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Held:
    """An item that is somebody's for now, and where that is written."""

    holder: str
    until: float


class Work:
    """The open work on all items.

    Args:
        client: connected.
        index: where it is kept.
        lease: seconds for which an item is one reviewer's.
        clock: seconds since the epoch; all processes should agree on it within a few seconds.
    """

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
        lease: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._index = index
        self._lease = lease
        self._clock = clock

    def install(self) -> None:
        """Make the index unless it is there."""
        make_index(self._client, self._index, _MAPPING)

    def acquire(self, item: Item, person: str) -> bool:
        """Hold an item for a reviewer, or hold it for longer; False when another one has it."""
        held = {"holder": person, "until": self._clock() + self._lease}
        try:
            found = self._client.get(index=self._index, id=item.key)
        except NotFoundError:
            try:
                self._client.create(
                    index=self._index, id=item.key, document={**item.to_document(), **held}
                )
            except ConflictError:
                return False
            return True
        if self._holder(found["_source"]) not in (None, person):
            return False
        try:
            self._client.index(
                index=self._index,
                id=item.key,
                document={**found["_source"], **held},
                if_seq_no=found["_seq_no"],
                if_primary_term=found["_primary_term"],
            )
        except ConflictError:
            return False
        return True

    def holders(self, items: Sequence[Item]) -> dict[Item, str]:
        """Who holds which of the items at this moment."""
        if not items:
            return {}
        answers = self._client.mget(index=self._index, ids=[item.key for item in items])["docs"]
        found = {
            item: self._holder(answer["_source"])
            for item, answer in zip(items, answers, strict=True)
            if answer.get("found")
        }
        return {item: holder for item, holder in found.items() if holder is not None}

    def release(self, item: Item, person: str) -> None:
        """Let go of an item that a reviewer holds; nothing happens when it is another's."""
        self._change(item, lambda found: self._without(found, person))

    def mark(self, item: Item) -> None:
        """Note that the log is about to say more of an item than its document does."""
        self._client.update(
            index=self._index,
            id=item.key,
            doc={**item.to_document(), "unsettled": True},
            doc_as_upsert=True,
            retry_on_conflict=10,
        )

    def settle(self, item: Item, standing: Standing, *, done_by: str | None = None) -> None:
        """Note what is open about an item, now that its document says what the log says.

        Args:
            item: the item.
            standing: what follows from its chain.
            done_by: whose lease ends with it.
        """
        open_now = {
            "unsettled": False,
            "reported": bool(standing.reports),
            "waiting": standing.waiting,
            "since": self._clock(),
        }
        if standing.reports or standing.waiting:
            self._client.update(
                index=self._index,
                id=item.key,
                doc={**item.to_document(), **open_now},
                doc_as_upsert=True,
                retry_on_conflict=10,
            )
            if done_by is not None:
                self.release(item, done_by)
            return
        self._change(item, lambda found: self._without({**found, **open_now}, done_by))

    def unsettled(self) -> list[Item]:
        """Items of which the log may say more than their documents do; a process ended there."""
        self._client.indices.refresh(index=self._index)
        return list(self._search({"term": {"unsettled": True}}))

    def open(self, index: str, kind: str) -> Iterator[Item]:
        """Items of an index that are ``reported`` or ``waiting``, those that wait longest first."""
        yield from self._search(
            {"bool": {"filter": [{"term": {"index": index}}, {"term": {kind: True}}]}}
        )

    def count(self, index: str, kind: str) -> int:
        """How many these are."""
        query = {"bool": {"filter": [{"term": {"index": index}}, {"term": {kind: True}}]}}
        return int(self._client.count(index=self._index, query=query)["count"])

    def _search(self, query: dict[str, Any]) -> Iterator[Item]:
        order = [{"since": "asc"}, {"key": "asc"}]
        yield from map(
            Item.from_document, sources(self._client, self._index, query, order, page=_PAGE)
        )

    def _holder(self, source: dict[str, Any]) -> str | None:
        holder: str | None = source.get("holder")
        return holder if holder is not None and source["until"] > self._clock() else None

    def _without(self, found: dict[str, Any], person: str | None) -> dict[str, Any]:
        """What is stored, without a reviewer's lease or one that has ended."""
        if self._holder(found) not in (None, person):
            return found
        return {name: value for name, value in found.items() if name not in ("holder", "until")}

    def _change(self, item: Item, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Change what is stored, or delete it when nothing is left; another's change is kept."""
        while True:
            try:
                found = self._client.get(index=self._index, id=item.key)
            except NotFoundError:
                return
            changed = change(found["_source"])
            where: dict[str, Any] = {
                "index": self._index,
                "id": item.key,
                "if_seq_no": found["_seq_no"],
                "if_primary_term": found["_primary_term"],
            }
            flags = ("holder", "unsettled", "reported", "waiting")
            try:
                if any(changed.get(flag) for flag in flags):
                    self._client.index(document=changed, **where)
                else:
                    self._client.delete(**where)
            except ConflictError:
                continue
            except NotFoundError:
                return
            return
