"""A search for each tier, where a sort by fields looks at the score, too.

At a level that demotes, the score is the tier in a sort by fields, and ``[{"created": "desc"},
"_score"]`` wants it for relevance. Then the shown documents are searched, and the demoted ones
after them; both hide only, both are sorted as the request says, and one list goes behind the
other. The tier stands in front of each hit's ``sort``, as in any sort by fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saferank.ranker.bodies import Json, Page, as_incomplete, as_list, names
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.cursors import Cursor
from saferank.ranker.rewrite.limits import DEFAULT_LIMITS, Limits
from saferank.ranker.rewrite.ranking import DEMOTED_TIER, SHOWN_TIER, looks_at_score_later
from saferank.ranker.rewrite.search import rewrite_search

# What makes one answer of all documents found, which two answers do not add up to.
_OF_ALL = names("collapse profile rescore retriever terminate_after")
_AGGREGATIONS = names("aggs aggregations")
_TRACKED = 10_000  # How far hits are counted when nothing is said.


def searched_in_tiers(body: Mapping[str, Any], decision: Decision, *, scroll: bool) -> bool:
    """Whether a body is to be searched tier by tier.

    Raises:
        UnsafeRequest: not a sort, or an unsafe query in it.
    """
    if not decision.functions or scroll or "sort" not in body or not _OF_ALL.isdisjoint(body):
        return False
    return looks_at_score_later(body["sort"], "sort", decision)


def shown_request(
    body: Json, cursor: Cursor, decision: Decision, limits: Limits = DEFAULT_LIMITS
) -> Json:
    """The body of the first search: for shown documents, and for all aggregations.

    Args:
        body: see ``searched_in_tiers``.
        cursor: where its page begins.
        decision: what to hide and demote.
        limits: of the indices.

    Raises:
        UnsafeRequest: a part that cannot be made safe; it names the key.
    """
    changed = {key: value for key, value in body.items() if key != "search_after"}
    if cursor.shown is None:
        changed |= {"size": 0, "from": 0}
    elif cursor.shown:
        changed["search_after"] = cursor.shown
    elif Page.of(body).start:
        changed["track_total_hits"] = True  # Says where in the other list the page goes on.
    shown = {"bool": {"must_not": [decision.demoted]}}
    return _among(shown, changed, decision, limits)


def demoted_request(
    body: Json, cursor: Cursor, shown: Json, decision: Decision, limits: Limits = DEFAULT_LIMITS
) -> Json:
    """The body of the second search: for the demoted documents that the page has room for.

    Args:
        body, cursor, decision, limits: as for ``shown_request``.
        shown: the response to the first search.
    """
    page, found = Page.of(body), shown["hits"]
    left_out = _AGGREGATIONS | {"search_after", "from"}
    changed = {key: value for key, value in body.items() if key not in left_out}
    changed["size"] = page.size - len(found["hits"])
    if cursor.demoted:
        changed["search_after"] = cursor.demoted
    elif page.start > 0 and changed["size"]:
        changed["from"] = max(0, page.start - _count(found["total"]))
    return _among(decision.demoted, changed, decision, limits)


def _among(documents: Json, body: Json, decision: Decision, limits: Limits) -> Json:
    result = rewrite_search(body, decision, demote=False, limits=limits)
    filters = [*as_list(result.get("post_filter")), documents]
    return {**result, "post_filter": {"bool": {"filter": filters}}}


def joined(body: Json, shown: Json, demoted: Json) -> Json:
    """The response to a body, made of those to its two searches; hits of both are changed."""
    for tier, answer in ((SHOWN_TIER, shown), (DEMOTED_TIER, demoted)):
        for hit in answer["hits"]["hits"]:
            hit["sort"] = [tier, *hit["sort"]]
    hits = [*shown["hits"]["hits"], *demoted["hits"]["hits"]]
    if Page.of(body).size:
        # The engine says this of a search without hits, which the second one can be.
        demoted = {key: part for key, part in demoted.items() if key != "terminated_early"}
    return {
        **demoted,
        **as_incomplete(shown, demoted),
        "took": shown["took"] + demoted["took"],
        "hits": {**demoted["hits"], **_total(body, shown["hits"], demoted["hits"]), "hits": hits},
    }


def _total(body: Json, shown: Json, demoted: Json) -> Json:
    """The ``total`` of both together, counted as far as the request says; none if it says so."""
    tracked = str(body.get("track_total_hits", _TRACKED)).lower()
    if tracked == "false":
        return {}
    count = _count(shown["total"]) + _count(demoted["total"])
    if not isinstance(demoted["total"], dict):
        return {"total": count}
    bounded = "gte" in (shown["total"]["relation"], demoted["total"]["relation"])
    if tracked != "true" and (bounded or count > int(tracked)):
        return {"total": {"value": int(tracked), "relation": "gte"}}
    return {"total": {"value": count, "relation": "eq"}}


def _count(total: Any) -> int:
    return int(total["value"] if isinstance(total, dict) else total)
