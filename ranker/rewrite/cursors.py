"""Where a page begins in a sort by fields at a level that demotes, whose hits stand in two tiers.

The ``sort`` of a hit has its tier in front, and so is the whole cursor. Values that an application
took from elsewhere, from the fields of its last hit for one, lack the tier: then the documents that
have these values tell it. Where there is none, the values are a bound, in both tiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import MATCH_ALL, Json, Query, as_list, as_object, names
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.limits import DEFAULT_LIMITS, Limits
from saferank.ranker.rewrite.ranking import (
    DEMOTED_TIER,
    SHOWN_TIER,
    Order,
    order_of,
    tier_and_values,
)
from saferank.ranker.rewrite.search import rewrite_search

_UNCHANGED = "give the last hit's 'sort' unchanged, from a page at the same level"


class Cursor(NamedTuple):
    """Behind which values the hits of each tier begin.

    Attributes:
        shown: of the shown documents; none where they begin at the first, None where all of them
            are on earlier pages.
        demoted: of the demoted documents, likewise.
    """

    shown: list[Any] | None
    demoted: list[Any]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """The cursor that a body has from a hit.

        Raises:
            UnsafeRequest: no hit has such values.
        """
        if body.get("search_after") is None:
            return cls([], [])
        tier, values = tier_and_values(body, "")
        return cls(values, []) if tier == SHOWN_TIER else cls(None, values)


# Options of a sort key by which its values are those of the field.
_OPTIONS = names("order format missing unmapped_type")
_AT_THE_END = names("_first _last")
# What has documents of its own, or looks at all that are found.
_NOT_BESIDE = names("collapse knn profile rescore retriever terminate_after")


def lacks_tier(body: Mapping[str, Any], decision: Decision) -> bool:
    """Whether a body has a cursor of plain values of fields, at a level that demotes.

    Raises:
        UnsafeRequest: not a sort, or an unsafe query in it.
    """
    if not decision.functions or body.get("search_after") is None or "sort" not in body:
        return False
    keys = _keys(body["sort"])
    return (
        _NOT_BESIDE.isdisjoint(body)
        and order_of(body["sort"], "sort", decision) is Order.FIELD
        and len(as_list(body["search_after"])) == len(keys)
        and all(map(_is_plain, keys))
    )


_Key = tuple[str, Any]


def _keys(sort: Any) -> list[_Key]:
    """Field and options of each key of a sort."""
    return [
        (str(item), options)
        for part in as_list(sort)
        for item, options in (part.items() if isinstance(part, dict) else [(part, None)])
    ]


def _is_plain(key: _Key) -> bool:
    field, options = key
    if not isinstance(options, dict):
        return not field.startswith("_")
    at_the_end = options.get("missing", "_last") in _AT_THE_END
    return not field.startswith("_") and options.keys() <= _OPTIONS and at_the_end


def holders_request(body: Json, decision: Decision, limits: Limits = DEFAULT_LIMITS) -> Json:
    """The body of a search for the documents that have the values of the cursor.

    Args:
        body: see ``lacks_tier``.
        decision: what to hide and demote.
        limits: of the indices.

    Raises:
        UnsafeRequest: a part that cannot be made safe; it names the key.
    """
    pairs = zip(_keys(body["sort"]), as_list(body["search_after"]), strict=True)
    filters = [*as_list(body.get("post_filter")), *(_having(key, value) for key, value in pairs)]
    query = {"bool": {"must": [body.get("query") or MATCH_ALL], "filter": filters}}
    kept = {key: value for key, value in body.items() if key in _WHERE}
    searched = {**kept, "query": query, "size": 0, "track_total_hits": True}
    safe = rewrite_search(searched, decision, demote=False, limits=limits)
    return {**safe, "aggs": {_DEMOTED: {"filter": decision.demoted}}}


_WHERE = names("indices_boost min_score pit runtime_mappings slice timeout")
_DEMOTED = "demoted"


def _having(key: _Key, value: Any) -> Query:
    field, options = key
    if value is None:
        return {"bool": {"must_not": [{"exists": {"field": field}}]}}
    form = {name: as_object(options)[name] for name in ("format",) if name in as_object(options)}
    return {"range": {field: {"gte": value, "lte": value, **form}}}


def with_tier(body: Json, holders: Json) -> Json | None:
    """The body with its tier in front of the cursor; None where no document has the values.

    Args:
        body: see ``lacks_tier``.
        holders: the response to ``holders_request``.

    Raises:
        UnsafeRequest: both shown and demoted documents have them, or the engine cannot tell.
    """
    if "error" in holders or holders["timed_out"] or holders["_shards"]["failed"]:
        raise UnsafeRequest(
            "search_after", f"which documents have these values cannot be told: {_UNCHANGED}"
        )
    count = holders["hits"]["total"]["value"]
    demoted = holders["aggregations"][_DEMOTED]["doc_count"]
    if 0 < demoted < count:
        raise UnsafeRequest(
            "search_after",
            "both shown and demoted documents have these values: put a field that tells them "
            f"apart last in the sort, or {_UNCHANGED}",
        )
    tier = DEMOTED_TIER if demoted else SHOWN_TIER
    return {**body, "search_after": [tier, *as_list(body["search_after"])]} if count else None
