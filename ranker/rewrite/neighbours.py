"""Nearest neighbours: what becomes of a ``knn`` section that has to go through a query.

Alone a section stays what it is: its results are few, and a last rescorer multiplies the factor
onto all of them. Beside a query, under a sort, in groups, behind a cursor and in a scroll the
factor has to be in the query, and inner hits are found by nothing but the query. There a search of
its own finds the neighbours first, and the query then names them, each with the score it had.

The engine's ``knn`` query is no substitute: it finds ``k`` on each shard, all documents on ``flat``
fields, and nothing in nested objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saferank.ranker.bodies import LISTS, Json, Page, Query, as_list, as_object, names
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.limits import DEFAULT_LIMITS, Limits
from saferank.ranker.rewrite.query import safe_knn

RETRIEVER = names(
    """
    field query_vector query_vector_builder k num_candidates visit_percentage filter similarity
    rescore_vector min_score _name
    """
)
"""The keys of a ``knn`` retriever."""

# What a search for the neighbours has in common with the request.
_SHARED = names("pit runtime_mappings timeout")
# What the engine refuses beside a retriever.
_NOT_BESIDE_RETRIEVER = names("knn query rescore search_after sort terminate_after")
# Sorts under which the engine takes rescorers.
_BY_SCORE: tuple[list[Any], ...] = ([], ["_score"], [{"_score": "desc"}])


def as_section(body: Json) -> Json:
    """The body with its ``knn`` retriever as the section that it is; itself without one."""
    given = as_object(body.get("retriever"))
    retriever = as_object(given.get("knn"))
    alone = len(given) == 1 and _NOT_BESIDE_RETRIEVER.isdisjoint(body)
    if not retriever or not alone or retriever.keys() - RETRIEVER:
        return body
    rest = {key: value for key, value in body.items() if key != "retriever"}
    # The engine does not look at the bound of a retriever that stands alone.
    section = {key: value for key, value in retriever.items() if key != "min_score"}
    return {**rest, "knn": section}


def key_of(body: Mapping[str, Any]) -> str:
    """Where a body has its section, or the retriever that is one."""
    return "knn" if "knn" in body else "retriever.knn"


def safe_searches(body: Mapping[str, Any], key: str, decision: Decision) -> list[Json]:
    """The ``knn`` searches of a body, each with filters and with its own ``k``.

    Args:
        body: with a ``knn`` section.
        key: place of the section in the request, for errors.
        decision: whose documents to hide.

    Raises:
        UnsafeRequest: see ``safe_knn``.
    """
    searches = []
    for number, item in enumerate(as_list(body["knn"])):
        here = f"{key}.{number}" if isinstance(body["knn"], LISTS) else key
        search = safe_knn(item, here, decision)
        searches.append(search if "k" in search else {**search, "k": Page.of(body).size})
    return searches


def count_of(searches: Sequence[Json]) -> int:
    """How many documents the searches can find."""
    return sum(whole(search["k"]) for search in searches)


def whole(count: Any) -> int:
    """A count as a request may write it; 0 for what is none, which the engine refuses."""
    return int(count) if isinstance(count, int) or str(count).isdecimal() else 0


def stays_section(
    body: Mapping[str, Any],
    count: int,
    decision: Decision,
    *,
    demote: bool,
    scroll: bool,
    limits: Limits,
) -> bool:
    """Whether the results of the searches need not go through a query.

    Args:
        body: as the application means it.
        count: of documents that the searches can find.
        decision: whose documents to hide.
        demote: whether to demote, too.
        scroll: whether the request begins a scroll, in which there are no rescorers.
        limits: of the indices.
    """
    alone = body.get("query") is None
    if not demote:
        groups = as_list(as_object(body.get("collapse")).get("inner_hits"))
        return not (groups and alone and decision.hidden)
    return (
        alone
        and not scroll
        and not {"collapse", "search_after"} & body.keys()
        and as_list(body.get("sort")) in _BY_SCORE
        and count <= limits.rescore_window
    )


def nearest_request(
    body: Mapping[str, Any],
    decision: Decision,
    *,
    demote: bool = True,
    scroll: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    found: Sequence[Json] = (),
) -> Json | None:
    """The body of a search that has to find the neighbours first; None if the request needs none.

    Its hits belong into ``nearest`` of ``rewrite_search``.

    Args:
        body, decision, demote, scroll, limits: as for ``rewrite_search``.
        found: hits of earlier ones, where one page does not hold all neighbours.

    Raises:
        UnsafeRequest: a part that cannot be made safe; it names the key.
    """
    given = as_section(dict(body)) if "retriever" in body else body
    if not given.get("knn"):
        return None
    searches = safe_searches(given, key_of(body), decision)
    count = count_of(searches)
    demote = demote and bool(decision.functions)
    if stays_section(given, count, decision, demote=demote, scroll=scroll, limits=limits):
        return None
    result = {key: given[key] for key in _SHARED if key in given}
    if found:
        if len(found) >= count:
            return None
        result["post_filter"] = {"bool": {"must_not": [_any_of(found)]}}
    size = min(count - len(found), limits.result_window)
    return {**result, "knn": searches, "size": size, "_source": False, "track_total_hits": False}


def _any_of(hits: Sequence[Json]) -> Query:
    by_index: dict[str, list[str]] = {}
    for hit in hits:
        by_index.setdefault(hit["_index"], []).append(hit["_id"])
    return {"bool": {"should": [_in_index(index, ids) for index, ids in by_index.items()]}}


def _in_index(index: str, ids: list[str]) -> Query:
    return {"bool": {"filter": [{"term": {"_index": index}}, {"terms": {"_id": ids}}]}}


def neighbours_query(nearest: Sequence[Json], *others: Query) -> Query:
    """The documents found first, with the scores that they had, and those of other queries.

    Args:
        nearest: hits.
        others: queries whose scores are added, as the engine does beside a section.
    """
    parts: list[Query] = [
        {"constant_score": {"filter": _in_index(hit["_index"], [hit["_id"]]), "boost": score}}
        for hit in nearest
        if (score := hit["_score"]) is not None
    ]
    parts += others
    return {"bool": {"should": parts}} if parts else {"match_none": {}}


def finding_nothing(search: Json) -> Json:
    """A search whose presence alone matters.

    With one in the body, the engine scores the query by word statistics of all shards together,
    and so it has to do where the real searches have been found first.
    """
    kept = {key: search[key] for key in _VECTOR_KEYS if key in search}
    return {**kept, "k": 1, "num_candidates": 1, "filter": {"match_none": {}}}


_VECTOR_KEYS = ("field", "query_vector", "query_vector_builder")


def carry_over(hits: Sequence[Json], nearest: Sequence[Json]) -> None:
    """Give hits what only the search for the neighbours could say: inner hits and names."""
    first = {
        (hit["_index"], hit["_id"]): {key: hit[key] for key in _SAID_FIRST if key in hit}
        for hit in nearest
    }
    for hit in hits:
        for key, said in first.get((hit["_index"], hit["_id"]), {}).items():
            also = hit.get(key)
            if isinstance(said, dict):
                hit[key] = {**said, **(also or {})}
            else:
                hit[key] = [*(also or []), *(name for name in said if name not in (also or []))]


_SAID_FIRST = ("inner_hits", "matched_queries")
