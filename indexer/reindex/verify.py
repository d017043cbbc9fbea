"""Seeing that the copy is complete before anybody is led to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from elasticsearch import Elasticsearch

from saferank.errors import JobError
from saferank.indexer.bulk.parts import in_halves
from saferank.indexer.documents import Json
from saferank.indexer.keys import DocumentKey
from saferank.indexer.reindex.merge import digest

_NAMED = 5
_PAGE = 100
# By default the most that a search gives; documents under several routings may share an id.
_MOST_HITS = 10_000


def count(client: Elasticsearch, index: str) -> int:
    """Count the documents of an index that are searchable.

    Raises:
        JobError: not every shard answered.
    """
    answer = client.count(index=index)
    if answer["_shards"]["failed"]:
        raise JobError(f"index {index!r} cannot be counted: a shard failed; try again")
    found: int = answer["count"]
    return found


def verify_sample(
    client: Elasticsearch,
    source: str,
    target: str,
    roots: Collection[str],
    *,
    size: int,
    source_filter: Json | bool,
) -> int:
    """Compare random documents of two indices by a hash of all but the score.

    Args:
        client: connected.
        source: index that nobody writes to now.
        target: its copy.
        roots: the objects that scores go into.
        size: documents to compare.
        source_filter: see ``whole_source``.

    Returns:
        The number of documents compared.

    Raises:
        JobError: a document is missing or different.
    """
    hits = client.search(
        index=source,
        query={"function_score": {"random_score": {}}},
        size=min(size, _MOST_HITS),
        source=False,
    )["hits"]["hits"]
    wrong = []
    for start in range(0, len(hits), _PAGE):
        chosen = hits[start : start + _PAGE]
        before = _documents(client, source, chosen, source_filter)
        after = _documents(client, target, chosen, source_filter)
        for hit in chosen:
            key = _key(hit)
            if key not in after:
                wrong.append(f"{key.id} is missing")
            elif digest(before[key], roots) != digest(after[key], roots):
                wrong.append(f"{key.id} differs")
    if wrong:
        raise JobError(
            f"{target!r} is not a true copy of {source!r}: of {len(hits)} documents compared, "
            f"{len(wrong)} are not right ({'; '.join(wrong[:_NAMED])}); the alias was not moved"
        )
    return len(hits)


def _documents(
    client: Elasticsearch, index: str, hits: list[Json], source_filter: Json | bool
) -> dict[DocumentKey, Json]:
    """Read documents by id through a search, for ``mget`` may leave vectors out."""

    def search(some: Sequence[Json]) -> list[Json]:
        answer = client.search(
            index=index,
            query={"ids": {"values": [hit["_id"] for hit in some]}},
            size=_MOST_HITS,
            source=source_filter,
            allow_partial_search_results=False,
        )
        found: list[Json] = answer["hits"]["hits"]
        return found

    return {_key(hit): hit["_source"] for hit in in_halves(search, hits)}


def _key(hit: Json) -> DocumentKey:
    return DocumentKey(hit["_id"], hit.get("_routing"))
