"""Ranking: how demotion enters scores, sorts, rescoring and collapsed groups.

A request is ordered in one of three ways.

by relevance  the score is relevance times factor; without ``sort``, or with ``_score`` first.
              A relevance of 0 counts as the smallest there is (see ``relevance``)
by a field    a factor would change nothing. The score becomes the tier, 1 for shown and 0.5 for
              demoted documents, and is put before the sort of the request
unordered     by ``_doc``, to read everything: nothing to demote
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import DEFAULT_SIZE, LISTS, MATCH_ALL, Query, as_list
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.query import (
    check_inner_hits,
    check_nested_sort,
    safe_query,
    without_hidden,
)
from saferank.ranker.rewrite.relevance import (
    LEAST,
    LEAST_RESCORED,
    NEXT_TO_NOTHING,
    floored,
    never_zero,
)

_SCORE = "_score"
SHOWN_TIER, DEMOTED_TIER = 1.0, 0.5
_BY_TIER = {_SCORE: "desc"}


class Order(Enum):
    """What a request is ordered by."""

    RELEVANCE = "relevance"
    FIELD = "field"
    NOTHING = "nothing"


def order_of(sort: Any, key: str, decision: Decision) -> Order:
    """What a ``sort`` orders by.

    Raises:
        UnsafeRequest: not a sort, or an unsafe query in it.
    """
    keys = list(_sort_keys(sort, key, decision))
    if not keys or keys[0] == (_SCORE, "desc"):
        return Order.RELEVANCE
    if keys[0][0] in ("_doc", "_shard_doc"):
        return Order.NOTHING
    return Order.FIELD


def _sort_keys(sort: Any, key: str, decision: Decision) -> Iterable[tuple[str, str]]:
    """Field and direction of each sort key; their nested filters are checked."""
    for item in as_list(sort):
        if isinstance(item, str):
            yield item, _direction_unless_given(item)
        elif isinstance(item, dict):
            for field, options in item.items():
                yield field, _direction(field, options, f"{key}.{field}", decision)
        else:
            raise UnsafeRequest(key, "a sort is a field, an object, or a list of these")


def _direction(field: str, options: Any, key: str, decision: Decision) -> str:
    """Of one sort key; a filter inside of it is checked."""
    direction = _direction_unless_given(field)
    if isinstance(options, str):
        direction = options
    elif isinstance(options, dict):
        direction = options.get("order", direction)
        check_nested_sort(options.get("nested"), f"{key}.nested", decision)
    return str(direction).lower()


def _direction_unless_given(field: str) -> str:
    return "desc" if field == _SCORE else "asc"


def ranked(body: dict[str, Any], query: Query, decision: Decision, key: str = "") -> dict[str, Any]:
    """A search body, or a standard retriever, that finds visible documents and demotes.

    Args:
        body: with any of ``sort``, ``search_after``, ``min_score``, ``collapse``, ``pit``.
        query: its query, safe in its parts.
        decision: what to hide and demote.
        key: place of the body in the request, with a dot at its end; for errors.
    """
    sort = body.get("sort")
    order = Order.RELEVANCE if sort is None else order_of(sort, f"{key}sort", decision)
    if order is Order.NOTHING:
        return {**body, "query": without_hidden(query, decision)}
    result = dict(body)
    if order is Order.RELEVANCE and "indices_boost" in body:
        result["indices_boost"] = _boosts_above_zero(body["indices_boost"])
        query = floored(query)
    elif order is Order.RELEVANCE:
        query = never_zero(query)
    visible = without_hidden(query, decision)
    min_score = result.pop("min_score", None)
    if min_score is not None:
        if "indices_boost" in body:
            raise UnsafeRequest(
                f"{key}min_score", "with 'indices_boost' it cannot be told apart from demotion"
            )
        # A bound on the relevance must not see the factor.
        visible = {"function_score": {"query": visible, "min_score": min_score}}
    if order is Order.RELEVANCE:
        if "search_after" in body:
            _check_score(body["search_after"], key)
        result["query"] = _times_factor(visible, decision.scoring)
        return result
    result["query"] = _in_tiers(visible, decision)
    # A boost would mix the tiers, and has no say in an order by fields.
    result.pop("indices_boost", None)
    result["sort"] = _by_tier(sort, f"{key}sort", decision)
    if "search_after" in body:
        tier_and_values(body, key)  # Else it is a cursor of another level.
    if "collapse" in body:
        result["collapse"] = _collapse_in_tiers(body["collapse"], f"{key}collapse", decision)
    return result


def _boosts_above_zero(boosts: Any) -> list[Any]:
    return [
        {index: boost or NEXT_TO_NOTHING for index, boost in item.items()}
        if isinstance(item, dict)
        else item
        for item in as_list(boosts)
    ]


def demoting(query: Query, decision: Decision, *, few: bool = False) -> Query:
    """The query with its scores times the factor of each document, and none of them 0.

    Args:
        query: whose documents are visible.
        decision: how to demote.
        few: only few documents are scored, as in a rescorer.
    """
    if not decision.functions:
        return query
    scoring = decision.scoring_few if few else decision.scoring
    return _times_factor(never_zero(query), scoring)


def _times_factor(query: Query, scoring: Query) -> Query:
    return {"function_score": {"query": query, **scoring}}


def _in_tiers(query: Query, decision: Decision) -> Query:
    return {
        "function_score": {
            "query": {"constant_score": {"filter": query}},
            "functions": [{"filter": decision.demoted, "weight": DEMOTED_TIER}],
        }
    }


def looks_at_score_later(sort: Any, key: str, decision: Decision) -> bool:
    """Whether a sort by fields has the score in it, too.

    Raises:
        UnsafeRequest: see ``order_of``.
    """
    fields = {field for field, _ in _sort_keys(sort, key, decision)}
    return order_of(sort, key, decision) is Order.FIELD and _SCORE in fields


def _by_tier(sort: Any, key: str, decision: Decision) -> list[Any]:
    if looks_at_score_later(sort, key, decision):
        raise UnsafeRequest(
            key,
            "this level demotes, and the score has to carry that in a sort by fields; "
            "put '_score' first (descending) or leave it out",
        )
    return [_BY_TIER, *as_list(sort)]


def _check_score(cursor: Any, key: str) -> None:
    """The sort values of a hit have what stands for a relevance of 0, times its factor."""
    if as_list(cursor)[:1] == [0]:
        raise UnsafeRequest(
            f"{key}search_after",
            "this level demotes hits with a score of 0, too; give the last hit's 'sort' unchanged",
        )


def tier_and_values(body: Mapping[str, Any], key: str) -> tuple[float, list[Any]]:
    """What a cursor of a hit in a sort by fields consists of.

    Args:
        body: with ``sort`` and ``search_after``.
        key: place of the body in the request, with a dot at its end; for errors.

    Raises:
        UnsafeRequest: no hit has such sort values at a level that demotes.
    """
    tier, *values = as_list(body["search_after"]) or [None]
    count = sum(len(item) if isinstance(item, dict) else 1 for item in as_list(body["sort"]))
    counts = (count, count + 1) if "pit" in body else (count,)  # A tie-break may be last.
    if tier not in (SHOWN_TIER, DEMOTED_TIER) or len(values) not in counts:
        raise UnsafeRequest(
            f"{key}search_after",
            f"{count + 1} values are expected, the tier first: give the last hit's 'sort' "
            "unchanged, from a page at the same level",
        )
    return tier, values


def safe_collapse(collapse: Any, key: str, decision: Decision) -> dict[str, Any]:
    """Check the inner hits of a ``collapse``."""
    if not isinstance(collapse, dict):
        raise UnsafeRequest(key, "an object is expected")
    for inner in as_list(collapse.get("inner_hits")):
        here = f"{key}.inner_hits"
        if not isinstance(inner, dict):
            raise UnsafeRequest(here, "an object is expected")
        check_inner_hits(inner, here, decision)
        order_of(inner.get("sort"), f"{here}.sort", decision)
    return collapse


def _collapse_in_tiers(collapse: Any, key: str, decision: Decision) -> dict[str, Any]:
    """Inner hits are found by the request's query, so their scores are tiers, too."""
    inner = collapse.get("inner_hits")
    if inner is None:
        return dict(collapse)
    changed = []
    for item in as_list(inner):
        here = f"{key}.inner_hits.sort"
        if order_of(item.get("sort"), here, decision) is Order.RELEVANCE:
            raise UnsafeRequest(here, "give it a sort by fields, as the request has one")
        changed.append({**item, "sort": _by_tier(item["sort"], here, decision)})
    return {**collapse, "inner_hits": changed if isinstance(inner, LISTS) else changed[0]}


def safe_rescore(rescore: Any, key: str, decision: Decision, *, demote: bool) -> list[Any]:
    """Rescorers that keep the demotion of the scores they are given.

    Every way of combining scores but one is homogeneous: the result for a demoted score and a
    demoted rescore score is the demoted result. ``multiply`` needs only one of both demoted.

    Raises:
        UnsafeRequest: a rescorer other than ``query``, or an unsafe query in it.
    """
    result = []
    for number, item in enumerate(as_list(rescore)):
        here = f"{key}.{number}" if isinstance(rescore, LISTS) else key
        if not isinstance(item, dict) or not isinstance(item.get("query"), dict):
            raise UnsafeRequest(here, "only rescorers by 'query' are known to be safe")
        for name in item:
            if name not in ("query", "window_size"):
                raise UnsafeRequest(f"{here}.{name}", "only rescorers by 'query' are known")
        spec = item["query"]
        query = safe_query(spec.get("rescore_query"), f"{here}.query.rescore_query", decision)
        if demote and _mode(spec) != "multiply":
            query = _times_factor(query, decision.scoring)
        result.append({**item, "query": {**spec, "rescore_query": query}})
    return result


def paged(rescorers: list[Any], depth: int) -> list[Any]:
    """Rescorers under which every page is cut from the same list.

    A rescorer that can lower scores puts documents of its window below documents outside, and how
    many of these a shard looks at grows with the page. Then it must look at all from the start.

    Args:
        rescorers: as ``safe_rescore`` makes them.
        depth: how many documents a shard can score again.
    """
    if not _lower(rescorers):
        return rescorers
    return [*rescorers, {"window_size": depth, "query": {"rescore_query": {"match_none": {}}}}]


def paged_demoted(
    rescorers: list[Any], decision: Decision, page_end: int, depth: int, key: str
) -> list[Any]:
    """The same for rescorers of demoted scores, after which no score is 0.

    Where one of them can make a score 0, or divides what stands for 0, a last one gives all such
    documents what stands for 0 again, times their factors.

    Args:
        rescorers: as ``safe_rescore`` makes them where the query is demoted, too.
        decision: how to demote.
        page_end: how many hits the page and those before it have.
        depth: how many documents a shard can score again.
        key: place of the rescorers in the request, for errors.

    Raises:
        UnsafeRequest: a weight is negative.
    """
    check_weights(rescorers, key)
    if _lower(rescorers):
        window = depth
    elif any(_weight(item["query"], "query_weight") == 0 for item in rescorers):
        window = min(depth, max(page_end, widest(rescorers)))
    else:
        return rescorers
    lowest = _times_factor({"match_all": {"boost": LEAST_RESCORED}}, decision.scoring)
    query = {"rescore_query": lowest, "score_mode": "max"}
    return [*rescorers, {"window_size": window, "query": query}]


def multiplying(rescorers: list[Any], decision: Decision, window: int, key: str) -> list[Any]:
    """Rescorers and a last one that demotes, for results that are few.

    Args:
        rescorers: as ``safe_rescore`` makes them where nothing is demoted.
        decision: how to demote.
        window: at least as many as the results.
        key: place of the rescorers in the request, for errors.

    Raises:
        UnsafeRequest: a weight is negative.
    """
    check_weights(rescorers, key)
    last = (
        {"rescore_query": {"match_all": {"boost": LEAST}}, "score_mode": "max"},
        {"rescore_query": demoting(MATCH_ALL, decision), "score_mode": "multiply"},
    )
    return [*rescorers, *({"window_size": window, "query": query} for query in last)]


def widest(rescorers: list[Any]) -> int:
    """How many documents the rescorers look at."""
    return max(_windows(rescorers), default=DEFAULT_SIZE)


def narrowest(rescorers: list[Any]) -> int:
    """How many documents a retriever of these rescorers gives."""
    return min(_windows(rescorers), default=DEFAULT_SIZE)


def _windows(rescorers: list[Any]) -> list[int]:
    windows = [item.get("window_size", DEFAULT_SIZE) for item in rescorers]
    return [size for size in windows if isinstance(size, int)]


def check_weights(rescorers: list[Any], key: str) -> None:
    """Check that rescorers make no score that a factor would raise.

    Raises:
        UnsafeRequest: a weight is negative.
    """
    for item in rescorers:
        for name in _WEIGHTS:
            if not _weight(item["query"], name) >= 0:
                raise UnsafeRequest(
                    f"{key}.query.{name}",
                    "this level demotes, and a factor would raise a score below 0; use a weight "
                    "of 0 or more, or a 'boosting' query with a 'negative_boost'",
                )


_WEIGHTS = ("query_weight", "rescore_query_weight")


def _weight(spec: dict[str, Any], name: str) -> float:
    try:
        return float(spec.get(name, 1))
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _mode(spec: dict[str, Any]) -> str:
    return str(spec.get("score_mode", "total")).lower()


def _lower(rescorers: list[Any]) -> bool:
    """Whether one of the rescorers can give a document a lower score than those outside."""
    return not all(
        _mode(item["query"]) in ("total", "max")
        and all(_weight(item["query"], name) >= 0 for name in _WEIGHTS)
        for item in rescorers
    )
