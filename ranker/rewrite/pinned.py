"""Retrievers that put documents in front: ``pinned`` by their ids, ``rule`` by rules of the engine.

The engine puts them there behind every filter, so that none of these keeps a hidden one out. Around
a plain query both say what the query of the same name says, and the exclusion goes around that. Of
what is pinned in front of other retrievers, a search of its own tells first what is visible; which
documents rules pin is not known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import (
    DEFAULT_SIZE,
    LISTS,
    MATCH_ALL,
    Json,
    Query,
    as_list,
    as_object,
    names,
)
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.limits import DEFAULT_LIMITS, Limits
from saferank.ranker.rewrite.query import safe_queries, safe_query, without_hidden

KEYS = {
    "pinned": names("retriever ids docs rank_window_size filter min_score _name"),
    "rule": names("retriever ruleset_ids match_criteria rank_window_size filter min_score _name"),
}
"""Kind -> its keys."""

_OPTIONS = names("ids docs ruleset_ids match_criteria")
# Of a ``standard`` retriever that is a query and no more.
_QUERY = names("query filter min_score _name")
_OWN = names("filter min_score _name")
# What the search for the visible ones has in common with the request.
_SHARED = names("pit runtime_mappings timeout")


_VISIBLE = "visible"


class Visible(list[Json]):
    """``docs`` of a ``pinned`` retriever that are known to be visible."""


def of_a_query(body: Json) -> bool:
    """Whether a retriever of these kinds has a plain query to put documents in front of."""
    retriever = as_object(body.get("retriever"))
    standard = retriever.get("standard")
    return len(retriever) == 1 and isinstance(standard, dict) and standard.keys() <= _QUERY


def as_query(kind: str, body: Json, key: str, decision: Decision) -> Json:
    """A retriever of a query that puts documents in front, none of them hidden.

    Args:
        kind: of the retriever, and of the query.
        body: of the retriever; see ``of_a_query``.
        key: its place in the request, for errors.
        decision: whose documents to hide.

    Raises:
        UnsafeRequest: see ``safe_query``.
    """
    standard, here = body["retriever"]["standard"], f"{key}.retriever.standard"
    organic = safe_query(standard.get("query", MATCH_ALL), f"{here}.query", decision)
    filters = [
        *as_list(safe_queries(as_list(standard.get("filter")), f"{here}.filter", decision)),
        *as_list(safe_queries(as_list(body.get("filter")), f"{key}.filter", decision)),
    ]
    if filters:
        organic = {"bool": {"must": [organic], "filter": filters}}
    options = {name: body[name] for name in _OPTIONS if name in body}
    query = without_hidden({kind: {"organic": organic, **options}}, decision)
    kept = {name: standard[name] for name in ("min_score", "_name") if name in standard}
    own: Json = {name: body[name] for name in ("min_score", "_name") if name in body}
    return _first(body, {"standard": {**kept, "query": query}}, own)


def _first(body: Json, retriever: Any, own: Json) -> Json:
    """The best hits of a retriever, as many as the window of the body it is from, unchanged."""
    window = body.get("rank_window_size", DEFAULT_SIZE)
    nothing = {"window_size": window, "query": {"rescore_query": {"match_none": {}}}}
    return {"rescorer": {**own, "retriever": retriever, "rescore": [nothing]}}


def pinned_request(body: Json, decision: Decision, limits: Limits = DEFAULT_LIMITS) -> Json | None:
    """The body of a search for the visible ones of what a request pins; None if it needs none.

    Its hits belong into ``with_pinned``.

    Args:
        body: of a search.
        decision: whose documents to hide.
        limits: of the indices.

    Raises:
        UnsafeRequest: what is pinned is not named as the engine takes it.
    """
    if not decision.hidden or "retriever" not in body:
        return None
    wanted: list[Query] = []

    def note(pinned: Json) -> Json:
        for item in _items(pinned):
            parts = [{"ids": {"values": [item["_id"]]}}]
            if item.get("_index") is not None:
                parts.append({"term": {"_index": item["_index"]}})
            wanted.append({"bool": {"filter": parts, "_name": str(len(wanted))}})
        return {"pinned": pinned}

    _changed(body["retriever"], note)
    if not wanted:
        return None
    # An id can be that of several documents, under several routings; the engine pins all of them.
    visible = {"bool": {**decision.visible, "_name": _VISIBLE}}
    return {
        **{name: body[name] for name in _SHARED if name in body},
        "query": {"bool": {"filter": [{"bool": {"should": wanted}}], "should": [visible]}},
        "size": limits.result_window,
        "_source": False,
        "track_total_hits": False,
    }


def with_pinned(body: Json, hits: Sequence[Json] | None) -> Json:
    """A search body that pins visible documents only.

    Args:
        body: of a search.
        hits: of the search that ``pinned_request`` gives for it; None before it is sent, to see
            what is refused of the rest.
    """
    number = 0
    hidden = {_place(hit) for hit in hits or () if _VISIBLE not in hit["matched_queries"]}

    def visible(pinned: Json) -> Json:
        nonlocal number
        found = Visible()
        for _ in _items(pinned):
            found += [
                {"_index": hit["_index"], "_id": hit["_id"]}
                for hit in hits or ()
                if str(number) in hit["matched_queries"] and _place(hit) not in hidden
            ]
            number += 1
        rest = {name: part for name, part in pinned.items() if name not in ("ids", "docs")}
        if found or hits is None:
            return {"pinned": {**rest, "docs": found}}
        own = {name: rest[name] for name in _OWN if name in rest}
        return _first(rest, rest.get("retriever"), own)

    return {**body, "retriever": _changed(body["retriever"], visible)}


def _place(hit: Json) -> tuple[str, str]:
    """Index and id of a document."""
    return hit["_index"], hit["_id"]


def _items(pinned: Json) -> Iterator[Json]:
    """Each document that a retriever pins, as ``docs`` names it."""
    yield from ({"_id": name} for name in as_list(pinned.get("ids")))
    for item in as_list(pinned.get("docs")):
        if not isinstance(item, dict) or not isinstance(item.get("_id"), str):
            raise UnsafeRequest("retriever.pinned.docs", "each is an object with an '_id'")
        yield item


def _changed(retriever: Any, change: Callable[[Json], Json]) -> Any:
    """A tree of retrievers with those changed that pin documents in front of others."""
    if not isinstance(retriever, dict):
        return retriever
    result = {kind: _inside(body, change) for kind, body in retriever.items()}
    pinned = result.get("pinned")
    if isinstance(pinned, dict) and not of_a_query(pinned):
        return change(pinned)
    return result


def _inside(body: Any, change: Callable[[Json], Json]) -> Any:
    """What holds other retrievers: a retriever's body, or an item in a list of them."""
    if not isinstance(body, dict):
        return body
    result = dict(body)
    if "retriever" in body:
        result["retriever"] = _changed(body["retriever"], change)
    if isinstance(body.get("retrievers"), LISTS):
        result["retrievers"] = [
            _inside(item, change) if "retriever" in as_object(item) else _changed(item, change)
            for item in body["retrievers"]
        ]
    return result
