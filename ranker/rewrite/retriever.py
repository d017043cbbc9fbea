"""Retriever trees: every leaf finds visible documents only, and the scores are demoted once."""

from __future__ import annotations

from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import DEFAULT_SIZE, MATCH_ALL, as_list, as_object, names
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite import pinned
from saferank.ranker.rewrite.neighbours import RETRIEVER, whole
from saferank.ranker.rewrite.query import (
    check_vector_builder,
    safe_knn,
    safe_queries,
    safe_query,
    without_hidden,
)
from saferank.ranker.rewrite.ranking import (
    check_weights,
    multiplying,
    narrowest,
    order_of,
    ranked,
    safe_collapse,
    safe_rescore,
)

_STANDARD = names(
    """
    query filter search_after terminate_after sort min_score collapse _name
    """
)
_SEARCH = _STANDARD - names("_name")
_RESCORER = names("retriever rescore filter min_score _name")
# Kind -> keys. They make one list, as long as their window at most, of what others find.
_COMPOUNDS = {
    "diversify": names(
        """
        type field retriever rank_window_size size lambda query_vector query_vector_builder filter
        min_score _name
        """
    ),
    "linear": names("retrievers query fields filter rank_window_size normalizer min_score _name"),
    "rrf": names("retrievers query fields filter rank_constant rank_window_size min_score _name"),
    "text_similarity_reranker": names(
        """
        retriever filter field inference_id inference_text rank_window_size min_score
        chunk_rescorer allow_rerank_failures _name
        """
    ),
}


def as_search(body: dict[str, Any]) -> dict[str, Any]:
    """The body with its ``standard`` retriever as the search that it is; itself without one."""
    retriever = as_object(body.get("retriever"))
    standard = as_object(retriever.get("standard"))
    if not standard or len(retriever) > 1 or standard.keys() - _SEARCH or standard.keys() & body:
        return body
    search = {**body, **standard}
    del search["retriever"]
    if filters := as_list(search.pop("filter", None)):
        search["query"] = {"bool": {"must": [search.get("query", MATCH_ALL)], "filter": filters}}
    return search


def safe_retriever(retriever: Any, key: str, decision: Decision, *, demote: bool) -> dict[str, Any]:
    """The retriever with filters in every leaf, and with demoted scores if asked for.

    Raises:
        UnsafeRequest: a retriever or a part of one that is not understood, or whose scores
            cannot be demoted.
    """
    if not isinstance(retriever, dict) or len(retriever) != 1:
        raise UnsafeRequest(key, "a retriever is an object with one key, its kind")
    ((kind, body),) = retriever.items()
    here = f"{key}.{kind}"
    if not isinstance(body, dict):
        raise UnsafeRequest(here, "an object is expected")
    demote = demote and bool(decision.functions)
    if kind == "standard":
        return {kind: _standard(body, here, decision, demote=demote)}
    if kind == "knn":
        _known(body, RETRIEVER, here)
        safe = {kind: safe_knn(body, here, decision)}
        return _multiplied(safe, whole(body.get("k")), here, decision) if demote else safe
    if kind == "rescorer":
        rescored = _rescorer(body, here, decision)
        if not demote:
            return {kind: rescored}
        check_weights(rescored["rescore"], f"{here}.rescore")
        return _multiplied({kind: rescored}, narrowest(rescored["rescore"]), here, decision)
    if kind in _COMPOUNDS:
        check_vector_builder(body, here)
        safe = {kind: _compound(body, here, decision, _COMPOUNDS[kind])}
        return _multiplied(safe, _window(kind, body), here, decision) if demote else safe
    if kind in pinned.KEYS:
        safe = _in_front(kind, body, here, decision)
        return _multiplied(safe, _window(kind, body), here, decision) if demote else safe
    raise UnsafeRequest(here, "this kind of retriever is not known to be safe")


def _in_front(kind: str, body: dict[str, Any], key: str, decision: Decision) -> dict[str, Any]:
    """A retriever that puts documents in front, none of them hidden."""
    _known(body, pinned.KEYS[kind], key)
    if not decision.hidden or isinstance(body.get("docs"), pinned.Visible):
        return {kind: _compound(body, key, decision, pinned.KEYS[kind])}
    if pinned.of_a_query(body):
        return pinned.as_query(kind, body, key, decision)
    raise UnsafeRequest(key, _IN_FRONT[kind])


_IN_FRONT = {
    "pinned": (
        "it finds its documents behind every filter; search with a safe client, which looks which "
        "of them are visible, or put a 'pinned' query into a 'standard' retriever"
    ),
    "rule": (
        "rules can pin hidden documents, behind every filter; give it a 'standard' retriever with "
        "nothing but 'query', 'filter' and 'min_score', or put a 'rule' query into the 'standard' "
        "retrievers inside of it"
    ),
}


def _multiplied(
    retriever: dict[str, Any], window: int, key: str, decision: Decision
) -> dict[str, Any]:
    """A retriever that gives few hits, with their relevance as scores: these times the factor."""
    return {"rescorer": {"retriever": retriever, "rescore": multiplying([], decision, window, key)}}


def _window(kind: str, body: dict[str, Any]) -> int:
    """How many hits a retriever of this kind can give."""
    if kind == "diversify":
        return most_different(body)
    return whole(body.get("rank_window_size", DEFAULT_SIZE))


def most_different(body: dict[str, Any]) -> int:
    """How many hits a ``diversify`` retriever can give."""
    return min(whole(body.get(name, DEFAULT_SIZE)) for name in ("size", "rank_window_size"))


def _standard(
    body: dict[str, Any], key: str, decision: Decision, *, demote: bool
) -> dict[str, Any]:
    _known(body, _STANDARD, key)
    query = safe_query(body.get("query", MATCH_ALL), f"{key}.query", decision)
    if filters := as_list(_filter(body, key, decision)):
        query = {"bool": {"must": [query], "filter": filters}}
    rest = {name: value for name, value in body.items() if name != "filter"}
    if "collapse" in body:
        rest["collapse"] = safe_collapse(body["collapse"], f"{key}.collapse", decision)
    if demote:
        return ranked(rest, query, decision, f"{key}.")
    order_of(body.get("sort"), f"{key}.sort", decision)
    return {**rest, "query": without_hidden(query, decision)}


def _rescorer(body: dict[str, Any], key: str, decision: Decision) -> dict[str, Any]:
    _known(body, _RESCORER, key)
    result = {
        **body,
        "retriever": safe_retriever(
            body.get("retriever"), f"{key}.retriever", decision, demote=False
        ),
        "rescore": safe_rescore(body.get("rescore"), f"{key}.rescore", decision, demote=False),
    }
    if "filter" in body:
        result["filter"] = _filter(body, key, decision)
    return result


def _compound(
    body: dict[str, Any], key: str, decision: Decision, known: frozenset[str]
) -> dict[str, Any]:
    """What is made of the hits of other retrievers, whose ranks count visible documents only."""
    _known(body, known, key)
    result = dict(body)
    if "filter" in body:
        result["filter"] = _filter(body, key, decision)
    if "query" in body and decision.hidden:
        # The engine makes the retrievers for the fields, and gives each of them the filters.
        result["filter"] = [*as_list(result.get("filter")), without_hidden(MATCH_ALL, decision)]
    if "retriever" in body:
        result["retriever"] = safe_retriever(
            body["retriever"], f"{key}.retriever", decision, demote=False
        )
    if "retrievers" in body:
        result["retrievers"] = [
            _child(item, f"{key}.retrievers.{number}", decision)
            for number, item in enumerate(as_list(body["retrievers"]))
        ]
    return result


def _child(item: Any, key: str, decision: Decision) -> dict[str, Any]:
    """A retriever in a list, which may carry a weight beside it."""
    if isinstance(item, dict) and "retriever" in item:
        _known(item, frozenset(("retriever", "weight", "normalizer")), key)
        inner = safe_retriever(item["retriever"], f"{key}.retriever", decision, demote=False)
        return {**item, "retriever": inner}
    return safe_retriever(item, key, decision, demote=False)


def _filter(body: dict[str, Any], key: str, decision: Decision) -> Any:
    if body.get("filter") is None:
        return None
    return safe_queries(body["filter"], f"{key}.filter", decision)


def _known(body: dict[str, Any], known: frozenset[str], key: str) -> None:
    for name in body:
        if name not in known:
            raise UnsafeRequest(f"{key}.{name}", "this key is not known to be safe")
