"""The index of known pictures: made, changed, and asked for those that images are copies of."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from elasticsearch import ConflictError, Elasticsearch, NotFoundError

from saferank.connection import make_index, sources
from saferank.errors import MappingError
from saferank.mappings.known import (
    DECISIONS,
    FARTHEST,
    KnownPicture,
    Near,
    distances,
    turned,
    words_near,
)
from saferank.mappings.record import Override

if TYPE_CHECKING:
    from saferank.settings import Settings

_VERSION = 2
_KEYWORD = {"type": "keyword"}
_MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "_meta": {"saferank": {"version": _VERSION, "own": True}},
    "properties": {
        **dict.fromkeys(("key", "decision", "digests", "origin", "by"), _KEYWORD),
        "hashes": {"type": "binary", "doc_values": True},
        # Of each hash apart, so that a row and a column that match are those of one hash.
        "looks": {
            "type": "nested",
            "properties": {"words": {"type": "keyword", "doc_values": False}},
        },
        "at": {"type": "date"},
        "reason": {"type": "text"},
        "look_after": {"type": "date"},
        "version": {"type": "integer"},
    },
}
_CHANGES = "changes"
"""Id of a document that is written anew after each change, so that its version counts them.

It says in which version of the mapping the pictures are stored, too.
"""
_CHANGED = {"version": _VERSION}
_PAGE = 1000
_MOST = 10_000  # hits that the engine gives at once
_BYTES = 32  # of a hash
_HASHES = 20_000  # about as many as go into one request
_NEEDED = [
    "responses.status",  # of each, so that one without hits is an answer, too
    "responses.error",
    "responses.hits.hits.fields",
]


class KnownIndex:
    """Known pictures in Elasticsearch.

    Args:
        client: connected.
        index: where they are kept.
        farthest: bits of 256 in which the PDQ hash of a near copy may differ, 0..31.
    """

    def __init__(self, client: Elasticsearch, index: str, farthest: int = FARTHEST) -> None:
        self._client = client
        self.index = index
        self._farthest = min(farthest, FARTHEST)

    @classmethod
    def of(cls, client: Elasticsearch, settings: Settings) -> KnownIndex | None:
        """As the settings say; None where decisions are not to reach copies."""
        if settings.known is None:
            return None
        return cls(client, settings.known, settings.known_distance)

    def install(self) -> None:
        """Make the index unless it is there, and have one of an earlier version be like it."""
        make_index(self._client, self.index, _MAPPING)
        with suppress(NotFoundError):
            if _version_in(self._client.get(index=self.index, id=_CHANGES).body) == _VERSION:
                return
        self._client.indices.put_mapping(index=self.index, **_MAPPING)
        if not self.put(map(_upgraded, self.of_origin())):
            self._count_change()

    def changes(self) -> int:
        """A number that is another one after each change; what was read under the same one holds.

        Raises:
            MappingError: there is no such index, or it is of an earlier version.
        """
        try:
            found = self._client.get(index=self.index, id=_CHANGES)
        except NotFoundError as error:
            raise MappingError(
                f"there are no known pictures in index {self.index!r}, so which copies are blocked "
                "is not known; make it with 'saferank known install', or restore it"
            ) from error
        if _version_in(found.body) != _VERSION:
            raise MappingError(
                f"the known pictures in index {self.index!r} were stored by another version; "
                "run 'saferank known install', which keeps them"
            )
        return int(found["_version"])

    def put(self, pictures: Iterable[KnownPicture]) -> int:
        """Store pictures, in the place of those with the same ids; how many."""
        return self._bulk(
            line
            for one in pictures
            for line in ({"index": {"_id": one.id}}, _to_store(one.to_document()))
        )

    def remove(self, ids: Iterable[str]) -> int:
        """Take pictures out; ids that are not there are passed over."""
        return self._bulk({"delete": {"_id": id}} for id in ids)

    def get(self, ids: Sequence[str]) -> list[KnownPicture]:
        """Those of these pictures that are there, as they are at this moment."""
        if not ids:
            return []
        found = self._client.mget(index=self.index, ids=list(ids))["docs"]
        return [_read(one["_source"]) for one in found if one.get("found")]

    def of_origin(self, origin: str | None = None) -> Iterator[KnownPicture]:
        """All pictures of a list, or of all lists, in the order of their ids."""
        query: dict[str, Any] = (
            {"exists": {"field": "key"}} if origin is None else {"term": {"origin": origin}}
        )
        yield from map(_read, self._sources(query))

    def waiting(self, now: datetime) -> Iterator[KnownPicture]:
        """The pictures whose time has come to be looked at, those that waited longest first."""
        due = {"range": {"look_after": {"lte": now.isoformat()}}}
        yield from map(_read, self._sources(due, [{"look_after": "asc"}, {"key": "asc"}]))

    def change(self, id: str, how: Callable[[KnownPicture], KnownPicture | None]) -> None:
        """Change a picture as it is at this moment; one that was taken out stays out.

        Args:
            id: of the picture.
            how: gives the picture in its place, or None to leave it as it is.
        """
        while True:
            try:
                found = self._client.get(index=self.index, id=id)
                changed = how(_read(found["_source"]))
                if changed is None:
                    return
                self._client.index(
                    index=self.index,
                    id=id,
                    document=_to_store(changed.to_document()),
                    if_seq_no=found["_seq_no"],
                    if_primary_term=found["_primary_term"],
                )
            except NotFoundError:
                return
            except ConflictError:
                continue
            self._count_change()
            return

    def counts(self) -> dict[tuple[str, str], int]:
        """How many pictures each origin has with each decision."""
        origins = {
            "terms": {"field": "origin", "size": _PAGE},
            "aggs": {"decision": {"terms": {"field": "decision"}}},
        }
        found = self._client.search(index=self.index, size=0, aggs={"origin": origins})
        return {
            (origin["key"], decision["key"]): decision["doc_count"]
            for origin in found["aggregations"]["origin"]["buckets"]
            for decision in origin["decision"]["buckets"]
        }

    def with_digests(self, digests: Iterable[str]) -> list[KnownPicture]:
        """All pictures that have one of these digests."""
        wanted = list(dict.fromkeys(digests))
        return [
            _read(source)
            for start in range(0, len(wanted), _MOST)
            for source in self._sources({"terms": {"digests": wanted[start : start + _MOST]}})
        ]

    def near(self, hashes: Iterable[str]) -> dict[str, list[Near]]:
        """The pictures to which hashes are near, each with its distance; all there are.

        Args:
            hashes: PDQ hashes of 64 hex digits each.

        Returns:
            By hash, for those that any picture is near to.
        """
        wanted = list(dict.fromkeys(hashes))
        found: dict[str, list[Near]] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            searches: list[Mapping[str, Any]] = []
            for one in some:
                searches += [{"allow_partial_search_results": False}, _candidates(one)]
            answers = self._client.msearch(
                index=self.index, searches=searches, filter_path=_NEEDED
            ).get("responses", [])
            for one, answer in zip(some, answers, strict=True):
                if "error" in answer:
                    raise MappingError(
                        f"index {self.index!r} of known pictures cannot be searched: "
                        f"{answer['error'].get('reason')}"
                    )
                hits = answer.get("hits", {}).get("hits", [])
                if near := self._verified(one, hits if len(hits) < _MOST else self._all(one)):
                    found[one] = near
        return found

    def _all(self, hash: str) -> list[Any]:
        """The candidates of a hash that has more of them than come at once."""
        query = _candidates(hash)["query"]
        return [
            {"fields": {"key": [source["key"]], "hashes": [source["hashes"]]}}
            for source in self._sources(query)
        ]

    def _verified(self, hash: str, hits: Sequence[Any]) -> list[Near]:
        """Those of the candidates that are near."""
        if not hits:
            return []
        blobs = [base64.b64decode(hit["fields"]["hashes"][0]) for hit in hits]
        bits = np.frombuffer(b"".join(blobs), np.uint8).reshape(-1, _BYTES)
        owners = np.repeat(np.arange(len(hits)), [len(blob) // _BYTES for blob in blobs])
        apart = distances(hash, bits)
        nearest: dict[int, int] = {}
        for place in np.flatnonzero(apart <= self._farthest):
            owner = int(owners[place])
            nearest[owner] = min(int(apart[place]), nearest.get(owner, _BYTES * 8))
        return [
            Near(hits[owner]["fields"]["key"][0], distance) for owner, distance in nearest.items()
        ]

    def has(self) -> tuple[bool, bool]:
        """Whether any picture has a digest, and whether any has a hash."""
        answer = self._client.search(
            index=self.index,
            size=0,
            track_total_hits=False,
            aggs={
                "digests": {"filter": {"exists": {"field": "digests"}}},
                "hashes": {"filter": {"exists": {"field": "hashes"}}},
            },
        )["aggregations"]
        return answer["digests"]["doc_count"] > 0, answer["hashes"]["doc_count"] > 0

    def _sources(
        self, query: Mapping[str, Any], order: Sequence[Mapping[str, str]] = ({"key": "asc"},)
    ) -> Iterator[dict[str, Any]]:
        yield from sources(self._client, self.index, query, order, page=_PAGE)

    def _count_change(self) -> None:
        """Let a change be seen, and count it."""
        self._client.indices.refresh(index=self.index)
        self._client.index(index=self.index, id=_CHANGES, document=_CHANGED)

    def _bulk(self, lines: Iterable[Mapping[str, Any]]) -> int:
        """Send lines of a bulk, some at a time; then let the change be seen."""
        done, hashes, part = 0, 0, list[Mapping[str, Any]]()
        for line in lines:
            part.append(line)
            hashes += len(line.get("looks", ()))
            if len(part) >= 2 * _PAGE or hashes >= _HASHES:
                done += self._send(part)
                hashes, part = 0, []
        done += self._send(part)
        if done:
            self._count_change()
        return done

    def _send(self, part: Sequence[Mapping[str, Any]]) -> int:
        if not part:
            return 0
        items = self._client.bulk(index=self.index, operations=part)["items"]
        answers = [answer for item in items for answer in item.values()]
        for answer in answers:
            if "error" in answer:
                raise MappingError(
                    f"index {self.index!r} does not take a known picture: "
                    f"{answer['error'].get('reason')}"
                )
        return sum(answer["status"] < 300 for answer in answers)


_AT_ONCE = 64  # look-ups in one request


def _candidates(hash: str) -> dict[str, Any]:
    """A search for all pictures that may be near to a hash."""
    of_one_hash = [{"terms": {"looks.words": words}} for words in words_near(hash)]
    query = {"nested": {"path": "looks", "query": {"bool": {"filter": of_one_hash}}}}
    return {
        "query": {"constant_score": {"filter": query}},
        "size": _MOST,
        "stored_fields": "_none_",  # Reading them takes longer than all else.
        "docvalue_fields": ["key", "hashes"],
        "sort": ["_doc"],
        "track_total_hits": False,
    }


def _to_store(document: dict[str, Any]) -> dict[str, Any]:
    """The same with its hashes as the engine keeps bytes."""
    hashes = base64.b64encode(bytes.fromhex(document["hashes"])).decode()
    return {**document, "hashes": hashes or None}


def _version_in(changes: Mapping[str, Any]) -> int:
    return int(changes["_source"].get("version", 1))


def _upgraded(picture: KnownPicture) -> KnownPicture:
    """A picture that was stored in version 1, which did not say what is still to be looked at."""
    waits = (
        picture.origin == DECISIONS
        and picture.decision is Override.BLOCK
        and len(picture.digests) == 1
        and 0 < len(picture.hashes) <= len(turned(picture.hashes[0]))
    )
    return replace(picture, look_after=picture.at) if waits else picture


def _read(source: dict[str, Any]) -> KnownPicture:
    hashes = base64.b64decode(source["hashes"] or "").hex()
    return KnownPicture.from_document({**source, "hashes": hashes})
