"""Rewriting of request bodies, so that what comes back obeys the policy.

Body in, body out: nothing is sent, and the body given is never changed. The result shares
parts with it and with the decision, so it is to be sent, not to be edited.

A body is understood key by key. What is not understood is refused, never passed on.
``docs/reference/requests.md`` lists what happens to each key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import (
    MATCH_ALL,
    Json,
    Page,
    Query,
    an_object,
    as_object,
    names,
)
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.aggregations import safe_aggregations, unwrap
from saferank.ranker.rewrite.highlights import by_the_query_given
from saferank.ranker.rewrite.limits import DEFAULT_LIMITS, Limits
from saferank.ranker.rewrite.neighbours import (
    as_section,
    count_of,
    finding_nothing,
    key_of,
    neighbours_query,
    safe_searches,
    stays_section,
)
from saferank.ranker.rewrite.query import (
    check_highlight,
    safe_query,
    without_hidden,
)
from saferank.ranker.rewrite.ranking import (
    multiplying,
    order_of,
    paged,
    paged_demoted,
    ranked,
    safe_collapse,
    safe_rescore,
)
from saferank.ranker.rewrite.relevance import with_zeros
from saferank.ranker.rewrite.retriever import most_different, safe_retriever
from saferank.ranker.rewrite.suggest import check_suggestions
from saferank.ranker.rewrite.traces import check_explained, without_traces

__all__ = ["restore_response", "rewrite_count", "rewrite_search"]

# Keys that cannot bring in a document, change its score, or put a value in a safety field's place.
_PASSED = names(
    """
    _source docvalue_fields explain fields from indices_boost min_score pit profile search_after
    seq_no_primary_term size slice stats stored_fields terminate_after timeout track_scores
    track_total_hits version
    """
)
# Keys that decide the ranking, handled together afterwards.
_RANKING = names("query knn retriever rescore sort")
_UNCHECKED = _PASSED | _RANKING


def rewrite_search(
    body: Mapping[str, Any] | None,
    decision: Decision,
    *,
    demote: bool = True,
    scroll: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    nearest: Sequence[Json] | None = None,
) -> dict[str, Any]:
    """The body of a search that finds no hidden document and demotes as the level says.

    Args:
        body: of ``_search``, also of ``_async_search`` and of one search in ``_msearch``.
        decision: what to hide and how to demote.
        demote: False hides only, for callers that demote the hits themselves.
        scroll: whether the request begins a scroll, in which there are no rescorers.
        limits: of the indices, where they are not Elasticsearch's own.
        nearest: hits of the search that ``nearest_request`` gives for this one, if it gives one.

    Returns:
        The body to send. Give its response to ``restore_response``.

    Raises:
        UnsafeRequest: a part that cannot be made safe; it names the key.
    """
    given = dict(body or {})
    result = as_section(given) if "retriever" in given else given
    for key, value in result.items():
        if key in _UNCHECKED:
            continue
        if key not in _CHECKED:
            raise UnsafeRequest(key, "this key is not known to be safe")
        result[key] = _CHECKED[key](value, key, decision)
    if result.get("explain"):
        check_explained(result, "explain", decision)
    demote = demote and bool(decision.functions)
    if demote or decision.hidden:
        result = by_the_query_given(result, bounded=demote)
    if "retriever" in result:
        return _with_retriever(result, decision, demote=demote, scroll=scroll, limits=limits)
    if result.get("knn"):
        searches = safe_searches(result, key_of(given), decision)
        count = count_of(searches)
        if stays_section(result, count, decision, demote=demote, scroll=scroll, limits=limits):
            return _with_section(result, searches, count, decision, demote=demote, limits=limits)
        result = _with_nearest(result, searches, decision, nearest, demote=demote, limits=limits)
        if nearest is None:
            raise UnsafeRequest(key_of(given), _FOUND_FIRST)
        return result
    query = safe_query(result.get("query", MATCH_ALL), "query", decision)
    return _with_query(result, query, decision, demote=demote, limits=limits)


_FOUND_FIRST = (
    "beside this query, sort, collapse, search_after or scroll the neighbours are found first: "
    "send the body that 'nearest_request' gives, and give its hits as 'nearest'"
)


def rewrite_count(body: Mapping[str, Any] | None, decision: Decision) -> dict[str, Any]:
    """The body of a ``_count`` that counts no hidden document.

    Raises:
        UnsafeRequest: a part that cannot be made safe; it names the key.
    """
    body = body or {}
    for key in body:
        if key != "query":
            raise UnsafeRequest(key, "a count takes only 'query'")
    query = safe_query(body.get("query", MATCH_ALL), "query", decision)
    return {"query": without_hidden(query, decision)}


def restore_response(
    response: Mapping[str, Any], decision: Decision | None = None
) -> dict[str, Any]:
    """A response in the shape that the original request would have had.

    Args:
        response: whole, to a body that ``rewrite_search`` gave. A ``filter_path`` could have cut
            off what it needs.
        decision: the one for which the body was rewritten. Without it the profile has times only,
            as at every level that hides anything.
    """
    result = without_traces(dict(response), decision)
    if isinstance(aggregations := result.get("aggregations"), dict):
        result["aggregations"] = unwrap(aggregations)
    if "hits" in result:
        result["hits"] = with_zeros(result["hits"], in_order=True)
    return result


def _with_query(
    body: Json, query: Query, decision: Decision, *, demote: bool, limits: Limits
) -> Json:
    if demote:
        result = ranked(body, query, decision)
    else:
        if "sort" in body:
            order_of(body["sort"], "sort", decision)
        result = {**body, "query": without_hidden(query, decision)}
    if "rescore" in body:
        depth = limits.rescore_window
        rescorers = safe_rescore(body["rescore"], "rescore", decision, demote=demote)
        result["rescore"] = (
            paged_demoted(rescorers, decision, Page.of(body).end, depth, "rescore")
            if demote
            else paged(rescorers, depth)
        )
    return result


def _with_section(
    body: Json,
    searches: list[Json],
    count: int,
    decision: Decision,
    *,
    demote: bool,
    limits: Limits,
) -> Json:
    """Nearest neighbours, ``count`` of them, as the section that they are."""
    result = {**body, "knn": searches}
    if demote:
        rescorers = safe_rescore(body.get("rescore"), "rescore", decision, demote=False)
        return {**result, "rescore": multiplying(rescorers, decision, max(1, count), "rescore")}
    if "sort" in body:
        order_of(body["sort"], "sort", decision)
    if body.get("query") is not None:
        result["query"] = without_hidden(safe_query(body["query"], "query", decision), decision)
    if "rescore" in body:
        rescorers = safe_rescore(body["rescore"], "rescore", decision, demote=False)
        result["rescore"] = paged(rescorers, limits.rescore_window)
    return result


def _with_nearest(
    body: Json,
    searches: list[Json],
    decision: Decision,
    nearest: Sequence[Json] | None,
    *,
    demote: bool,
    limits: Limits,
) -> Json:
    """Nearest neighbours that were found first, named in the query."""
    rest = {key: value for key, value in body.items() if key != "knn"}
    others = []
    if body.get("query") is not None:
        if any("inner_hits" in search for search in searches):
            raise UnsafeRequest("knn.inner_hits", "not together with a query at this level")
        others = [safe_query(body["query"], "query", decision)]
        rest["knn"] = finding_nothing(searches[0])
    query = neighbours_query(nearest or (), *others)
    return _with_query(rest, query, decision, demote=demote, limits=limits)


def _with_retriever(
    body: Json, decision: Decision, *, demote: bool, scroll: bool, limits: Limits
) -> Json:
    if demote and body.get("min_score") is not None:
        raise UnsafeRequest("min_score", "it would see demoted scores; put it into the retriever")
    retriever = body["retriever"]
    if demote and scroll and "standard" not in as_object(retriever):
        raise UnsafeRequest(
            "retriever",
            "in a scroll only 'standard' can be demoted; give nearest neighbours as 'knn'",
        )
    if demote and "indices_boost" in body and _has_min_score(retriever):
        raise UnsafeRequest(
            "indices_boost", "with a 'min_score' it cannot be told apart from demotion"
        )
    # Inner hits are found by a query, which this kind does not have, so it shows all of the group.
    if body.get("collapse", {}).get("inner_hits") and "knn" in as_object(retriever):
        raise UnsafeRequest(
            "collapse.inner_hits",
            "here they would be all of the group; give the retriever as a 'knn' section",
        )
    safe = safe_retriever(retriever, "retriever", decision, demote=demote)
    if demote and "rescorer" in safe:
        _check_window(safe["rescorer"]["rescore"], limits)
    if demote and "diversify" in retriever:
        # The engine wants a page of no more hits than are scored again.
        size = min(Page.of(body).size, most_different(retriever["diversify"]))
        return {**body, "retriever": safe, "size": size}
    return {**body, "retriever": safe}


def _check_window(rescorers: list[Json], limits: Limits) -> None:
    window, most = rescorers[-1]["window_size"], limits.rescore_window
    if window > most:
        raise UnsafeRequest(
            "retriever",
            f"this level demotes the hits of its window by a rescorer, and {window} are more than "
            f"an index takes; use a smaller window, or raise 'index.max_rescore_window' ({most})",
        )


def _has_min_score(retriever: Any) -> bool:
    """Whether a retriever, or one inside it, bounds its scores."""
    return any(
        "min_score" in as_object(options) or _has_min_score(as_object(options).get("retriever"))
        for options in as_object(retriever).values()
    )


def _checked_highlight(value: Any, key: str, decision: Decision) -> Any:
    check_highlight(value, key, decision)
    return value


def _suggest(value: Any, key: str, decision: Decision) -> Any:
    if decision.hidden:
        check_suggestions(value, key, decision)
        raise UnsafeRequest(
            key,
            "no query filters suggestions; the search of a safe client takes them, and looks at "
            "the documents behind each",
        )
    return value


def _runtime_mappings(value: Any, key: str, decision: Decision) -> Any:
    for name, field in an_object(value, key).items():
        here = f"{key}.{name}"
        if an_object(field, here).get("type") == "lookup":
            raise UnsafeRequest(here, "it reads other documents")
        _check_name(name, here, decision)
    return value


def _script_fields(value: Any, key: str, decision: Decision) -> Any:
    for name in an_object(value, key):
        _check_name(name, f"{key}.{name}", decision)
    return value


def _check_name(name: Any, key: str, decision: Decision) -> None:
    """Refuse a field that could be taken for one of the safety fields."""
    name = str(name)
    for own in decision.fields.deciding:
        if own == name or own.startswith(f"{name}.") or name.startswith(f"{own}."):
            raise UnsafeRequest(key, f"it would take the place of the field {own!r}")


_CHECKED: dict[str, Callable[[Any, str, Decision], Any]] = {
    "aggregations": safe_aggregations,
    "aggs": safe_aggregations,
    "collapse": safe_collapse,
    "highlight": _checked_highlight,
    "post_filter": safe_query,
    "runtime_mappings": _runtime_mappings,
    "script_fields": _script_fields,
    "suggest": _suggest,
}
