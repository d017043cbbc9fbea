"""A relevance of 0: where it can occur, what it counts as, and that it is reported as 0.

The engine gives 0 to a document that only passes a filter, as on a page of a category, and a
factor does nothing to 0. Where documents are demoted, 0 therefore counts as ``LEAST``: then the
demoted ones come behind the others, by their factors, and all of them behind every document with
a relevance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saferank.ranker.bodies import Json, Query, as_list, names

LEAST = 2.0**-106
"""Times the smallest factor, 1e-6, it is the smallest number that float32 holds in full."""

NEXT_TO_NOTHING = 2.0**-149
"""The smallest float32: a boost that leaves less than ``LEAST`` of every relevance. A boost of 0
would take the factor away, too."""

LEAST_RESCORED = 2.0**10 * LEAST
"""The same after rescorers, above everything that their weights are likely to make of ``LEAST``."""

_OURS = (1e-38, 2 * LEAST_RESCORED)  # Where the scores lie that the two make.

# Kinds whose every match has a relevance, unless a boost takes it away.
_NEVER_ZERO = names(
    """
    constant_score exists fuzzy ids match match_all match_bool_prefix match_phrase
    match_phrase_prefix prefix range regexp term terms wildcard
    """
)


def never_zero(query: Query) -> Query:
    """The query with a relevance of at least ``LEAST``; itself if it has that, by its shape.

    What is certain to have a relevance is not wrapped: that would cost the engine some time for
    each document.
    """
    return floored(query) if may_be_zero(query) else query


def floored(query: Query) -> Query:
    """The query with a relevance of at least ``LEAST``, whatever the boost of the index."""
    return {"function_score": {"query": query, "weight": LEAST, "boost_mode": "max"}}


def may_be_zero(query: Query) -> bool:
    """Whether a document can match with a relevance of 0; where the shape does not tell, it can."""
    ((kind, body),) = query.items()
    if kind in _NEVER_ZERO:
        return _is_boosted(body)
    if kind == "multi_match":
        return _is_boosted(body) or "^0" in " ".join(map(str, as_list(body.get("fields"))))
    if kind != "bool" or "boost" in body:
        return True
    if must := as_list(body.get("must")):
        return all(map(may_be_zero, must))
    should = as_list(body.get("should"))
    if not should or body.get("filter") or "minimum_should_match" in body:
        return True
    return any(map(may_be_zero, should))


def _is_boosted(body: Any) -> bool:
    """Whether a leaf has a boost, for itself or for its field."""
    if not isinstance(body, dict):
        return True
    for options in body.values():
        if isinstance(options, dict) and "boost" in options:
            return True
    return "boost" in body


def with_zeros(found: Json, *, in_order: bool = False) -> Json:
    """The ``hits`` of a response with a score of 0 where the relevance is; itself without any.

    Args:
        found: hits and what is around them.
        in_order: the lowest score is the last, so that no other has to be looked at.
    """
    hits = found.get("hits")
    lowest = hits[-1].get("_score") if hits else found.get("max_score")
    if in_order and not _is_ours(lowest) and not (hits and "inner_hits" in hits[0]):
        return found
    result = {**found, "hits": [_hit_with_zeros(hit) for hit in hits]} if hits else dict(found)
    if _is_ours(found.get("max_score")):
        result["max_score"] = 0.0
    return result


def _hit_with_zeros(hit: Json) -> Json:
    result = {**hit, "_score": 0.0} if _is_ours(hit.get("_score")) else dict(hit)
    if "inner_hits" in hit:
        result["inner_hits"] = {
            name: {**group, "hits": with_zeros(group["hits"])}
            for name, group in hit["inner_hits"].items()
        }
    return result


def finds_all(body: Mapping[str, Any]) -> bool:
    """Whether a search names nothing to find, so that its groups are found by a filter alone."""
    return all(body.get(key) is None for key in ("query", "knn", "retriever"))


def with_zeros_in_groups(found: Json) -> None:
    """Give the groups in the ``hits`` of such a search the score of 0 that the engine gives."""
    inner = [hit.get("inner_hits", {}).values() for hit in found["hits"]]
    groups = [group["hits"] for by_name in inner for group in by_name]
    for scored in [*groups, *(hit for group in groups for hit in group["hits"])]:
        for key in ("_score", "max_score"):
            if scored.get(key) is not None:
                scored[key] = 0.0


def _is_ours(score: float | str | None) -> bool:
    # The engine writes a score that is beyond numbers as a text.
    return isinstance(score, int | float) and _OURS[0] < score < _OURS[1]
