"""Highlights by the query that the application gave, and not by the one that is sent.

The engine's usual highlighter finds no words inside a ``function_score`` with a ``min_score``, and
marks words of our filters where a field need not be the one that is searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from saferank.ranker.bodies import LISTS, Json, Query, as_list, as_object

_SUB = ("aggs", "aggregations")


def by_the_query_given(body: Json, *, bounded: bool) -> Json:
    """A search body with the highlights that it has as it is; itself if it has them anyway.

    Args:
        body: its parts checked, its query as it was given.
        bounded: whether a bound on its scores goes into its query.
    """
    if "min_score" not in body and _MAY_MARK.isdisjoint(body):
        return body  # As most.
    search = body
    if "retriever" in body:
        search = as_object(as_object(body["retriever"]).get("standard"))
    bound = bounded and search.get("min_score") is not None
    if not bound and not any(_marks_any_field(body.get(key)) for key in _HIGHLIGHTED):
        return body
    queries = list(_queries_of(body["retriever"], ())) if "retriever" in body else [_query_of(body)]
    given = [query for query in queries if query is not None]
    if not given:
        return body
    return _everywhere(body, given[0] if len(given) == 1 else {"bool": {"should": given}})


# Where highlights can be asked for.
_HIGHLIGHTED = ("highlight", "collapse", *_SUB)
_MAY_MARK = frozenset({"retriever", *_HIGHLIGHTED})


def _marks_any_field(value: Any) -> bool:
    """Whether there are highlights of fields that are not searched."""
    if isinstance(value, LISTS):
        return any(map(_marks_any_field, value))
    if not isinstance(value, dict):
        return False
    required = value.get("require_field_match", True)
    return required in (False, "false") or any(map(_marks_any_field, value.values()))


def _query_of(body: Json, filters: Sequence[Query] = ()) -> Query | None:
    """What a body, or a standard retriever, finds words by."""
    query, filters = body.get("query"), [*filters, *as_list(body.get("filter"))]
    return {"bool": {"must": as_list(query), "filter": filters}} if filters else query


def _queries_of(retriever: Any, filters: Sequence[Query]) -> Iterator[Query | None]:
    """What each of the retrievers inside of one finds words by; the filters are around it."""
    for kind, body in as_object(retriever).items():
        if kind == "standard":
            yield _query_of(body, filters)
            continue
        around = [*filters, *as_list(as_object(body).get("filter"))]
        yield from _queries_of(as_object(body).get("retriever"), around)
        for item in as_list(as_object(body).get("retrievers")):
            yield from _queries_of(as_object(item).get("retriever", item), around)


def _everywhere(body: Json, query: Query) -> Json:
    """A body with all its highlights by a query: of hits, of groups, and in aggregations."""
    result = dict(_by(body, query))
    collapse = as_object(body.get("collapse"))
    if groups := as_list(collapse.get("inner_hits")):
        result["collapse"] = {**collapse, "inner_hits": [_by(group, query) for group in groups]}
    for key in _SUB:
        if key in body:
            result[key] = _in_aggregations(body[key], query)
    if standard := as_object(as_object(body.get("retriever")).get("standard")):
        result["retriever"] = {"standard": _everywhere(standard, query)}
    return result


def _in_aggregations(aggregations: Json, query: Query) -> Json:
    result = {}
    for name, body in aggregations.items():
        result[name] = dict(body)
        if "top_hits" in body:
            result[name]["top_hits"] = _by(body["top_hits"], query)
        for key in _SUB:
            if key in body:
                result[name][key] = _in_aggregations(body[key], query)
    return result


def _by(options: Any, query: Query) -> Any:
    """Options of hits whose highlights are by a query, unless they name one themselves."""
    highlight = as_object(options).get("highlight")
    if highlight is None or "highlight_query" in as_object(highlight):
        return options
    return {**options, "highlight": {**as_object(highlight), "highlight_query": query}}
