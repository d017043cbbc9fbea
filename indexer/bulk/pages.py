"""Walking through all documents that match a query, as they are at one moment."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from saferank.indexer.keys import DocumentKey
from saferank.mappings.source import Json

# How long Elasticsearch keeps the frozen view between two pages.
KEEP_ALIVE = "10m"
# The rest of each hit would cost more than what is needed.
_NEEDED = ["hits.hits._index", "hits.hits._id", "hits.hits._routing", "hits.hits.sort"]


@dataclass(frozen=True, slots=True)
class Found:
    """A document that matches: the concrete index it is in, and its key."""

    index: str
    key: DocumentKey


def pages(
    client: Elasticsearch, index: str, query: Json, *, size: int = 1000, slices: int = 1
) -> Iterator[list[Found]]:
    """Walk through all matching documents as they are now, a page at a time.

    Later changes are not seen: the view is frozen. Pages of several slices are fetched at once.

    Args:
        client: connected.
        index: index, alias or pattern.
        query: an Elasticsearch query.
        size: documents in a page, at most 10,000.
        slices: parts of the index that are read in parallel.

    Raises:
        elasticsearch.NotFoundError: there is no such index, or the frozen view was lost (by a
            restart of a node, or a pause longer than ``KEEP_ALIVE``); start again then.
    """
    with _frozen(client, index) as view, ThreadPoolExecutor(slices) as pool:
        cursors: dict[int, list[Any] | None] = dict.fromkeys(range(slices))

        def next_page(part: int) -> list[Json]:
            body: dict[str, Any] = {
                "query": query,
                "size": size,
                "sort": [{"_shard_doc": "asc"}],
                "track_total_hits": False,
                "pit": {"id": view, "keep_alive": KEEP_ALIVE},
            }
            if slices > 1:
                body["slice"] = {"id": part, "max": slices}
            if cursors[part] is not None:
                body["search_after"] = cursors[part]
            answer = client.search(
                source=False,
                filter_path=_NEEDED,
                # A shard that does not answer must not pass for one without documents.
                allow_partial_search_results=False,
                **body,
            )
            hits: list[Json] = answer.get("hits", {}).get("hits", [])
            return hits

        while cursors:
            for part, hits in list(zip(cursors, pool.map(next_page, cursors), strict=True)):
                if hits:
                    cursors[part] = hits[-1]["sort"]
                    yield [
                        Found(hit["_index"], DocumentKey(hit["_id"], hit.get("_routing")))
                        for hit in hits
                    ]
                if len(hits) < size:
                    del cursors[part]


@contextmanager
def _frozen(client: Elasticsearch, index: str) -> Iterator[str]:
    view: str = client.open_point_in_time(index=index, keep_alive=KEEP_ALIVE)["id"]
    try:
        yield view
    finally:
        client.options(ignore_status=404).close_point_in_time(id=view)
