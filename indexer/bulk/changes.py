"""Following the changes of an index: every document written after a point, shard by shard.

Elasticsearch numbers the writes of a shard (``_seq_no``), and a document carries the number of
its last write. So the documents with a number above the one reached are exactly those created or
changed since; a deleted document simply is no more.

Numbers are given before a write is searchable, and not always in that order: a document with
number 100 may be visible while 99 is not yet. Therefore a walk ends at the shard's *global
checkpoint* as it was before the refresh: below it, every copy of the shard has every write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from elasticsearch import ApiError, BadRequestError, Elasticsearch

from saferank.errors import ServiceUnavailable
from saferank.indexer.bulk.pages import KEEP_ALIVE
from saferank.indexer.bulk.parts import MOST_BYTES, TOO_MANY, json_size
from saferank.mappings.source import Json

NOTHING_YET = -1
"""The cursor of a shard of which nothing was read."""
# Before anything is known of the documents' sizes.
_FIRST_PAGE = 64


@dataclass(frozen=True, slots=True)
class Page:
    """Changed documents of one shard.

    Attributes:
        hits: as Elasticsearch returns them, with ``_source`` and ``_routing``.
        cursor: all writes of the shard up to this number are in this page or earlier ones.
    """

    hits: list[Json]
    cursor: int


def checkpoints(client: Elasticsearch, index: str) -> dict[str, int]:
    """Read the number up to which every copy of a shard has every write, for each shard.

    Raises:
        ServiceUnavailable: a shard has no primary at the moment.
    """
    shards = client.indices.stats(index=index, level="shards", metric="docs")["indices"]
    reached: dict[str, int] = {}
    for number, copies in shards[index]["shards"].items():
        for copy in copies:
            if copy["routing"]["primary"] and "seq_no" in copy:
                reached[number] = copy["seq_no"]["global_checkpoint"]
    settings = client.indices.get_settings(index=index, name="index.number_of_shards")
    expected = int(settings[index]["settings"]["index"]["number_of_shards"])
    if len(reached) != expected:
        raise ServiceUnavailable(
            f"{expected - len(reached)} shards of {index!r} have no primary; wait for the cluster"
        )
    return reached


def changed(
    client: Elasticsearch,
    index: str,
    shard: str,
    after: int,
    upto: int,
    *,
    source: Json | bool,
    size: int = 500,
) -> Iterator[Page]:
    """Walk through the documents of a shard that were written after one number, up to another.

    The index must have been refreshed after ``upto`` was read.

    Args:
        client: connected.
        index: the concrete index.
        shard: its number.
        after: cursor reached before.
        upto: the shard's checkpoint.
        source: see ``whole_source``.
        size: documents in a page, at most; fewer where they are large.

    Yields:
        Pages in the order of the numbers; the last one's cursor is ``upto``.
    """
    if upto <= after:
        return
    view = client.open_point_in_time(
        index=index, keep_alive=KEEP_ALIVE, preference=f"_shards:{shard}"
    )["id"]
    asked = min(size, _FIRST_PAGE)
    try:
        while after < upto:
            try:
                hits = client.search(
                    pit={"id": view, "keep_alive": KEEP_ALIVE},
                    query={"range": {"_seq_no": {"gt": after, "lte": upto}}},
                    sort=[{"_seq_no": "asc"}],
                    source=source,
                    size=asked,
                    seq_no_primary_term=True,
                    track_total_hits=False,
                    allow_partial_search_results=False,
                )["hits"]["hits"]
            except ApiError as error:
                # So many at once may be more than Elasticsearch has memory for.
                if error.status_code != TOO_MANY or asked == 1:
                    raise
                asked //= 2
                continue
            after = hits[-1]["_seq_no"] if len(hits) == asked else upto
            asked = _next_page(hits, size)
            yield Page(hits, after)
    finally:
        client.options(ignore_status=404).close_point_in_time(id=view)


def _next_page(hits: list[Json], most: int) -> int:
    """How many documents to ask for after a page: as many as such a request may hold."""
    total = sum(json_size(hit["_source"]) for hit in hits)
    fitting = MOST_BYTES * len(hits) // max(total, 1)
    return max(1, min(fitting, 2 * len(hits), most))


def whole_source(client: Elasticsearch, index: str) -> Json | bool:
    """What to ask for as ``_source``, so that nothing of a document is left out.

    Newer versions leave vectors out unless asked not to; older ones do not know the option.
    """
    everything = {"exclude_vectors": False}
    try:
        client.search(index=index, size=0, source=everything)
    except BadRequestError:
        return True
    return everything
