"""Retriever trees: every leaf finds visible documents only, and the scores are demoted once."""

from __future__ import annotations

from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import DEFAULT_SIZE, MATCH_ALL, as_list, as_object, names
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.neighbours import RETRIEVER, whole
from saferank.ranker.rewrite.query import (
    check_vector_builder,
    safe_knn,
    safe_queries,
    safe_query,
    without_hidden,
)
from saferank.ranker.rewrite.ranking import (
    multiplying,
    order_of,
    ranked,
    safe_collapse,
    safe_rescore,
    widest,
)

_STANDARD = names(
    """
    query filter search_after terminate_after sort min_score collapse _name
    """
)
_SEARCH = _STANDARD - names("_name")
_RESCORER = names("retriever rescore filter min_score _name")
_DIVERSIFY = names(
    """
    type field retriever rank_window_size size lambda query_vector query_vector_builder filter
    min_score _name
    """
)
# Kind -> keys. They combine lists of other retrievers by rank or by another score.
_FUSIONS = {
    "rrf": names("retrievers filter rank_constant rank_window_size min_score _name"),
    "linear": names("retrievers filter rank_window_size normalizer min_score _name"),
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
    if kind == "diversify":
        check_vector_builder(body, here)
        safe = {kind: _fusion(body, here, decision, _DIVERSIFY)}
        return _multiplied(safe, most_different(body), here, decision) if demote else safe
    if kind == "rescorer":
        return {kind: _rescorer(body, here, decision, demote=demote)}
    if kind in _FUSIONS:
        if demote:
            raise UnsafeRequest(here, "this level demotes, which the scores it makes cannot carry")
        return {kind: _fusion(body, here, decision, _FUSIONS[kind])}
    raise UnsafeRequest(here, "this kind of retriever is not known to be safe")


def _multiplied(
    retriever: dict[str, Any], window: int, key: str, decision: Decision
) -> dict[str, Any]:
    """A retriever that gives few hits, with their relevance as scores: these times the factor."""
    return {"rescorer": {"retriever": retriever, "rescore": multiplying([], decision, window, key)}}


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


def _rescorer(
    body: dict[str, Any], key: str, decision: Decision, *, demote: bool
) -> dict[str, Any]:
    """It returns no more than its window, so that a last rescorer reaches every document."""
    _known(body, _RESCORER, key)
    rescorers = safe_rescore(body.get("rescore"), f"{key}.rescore", decision, demote=False)
    if demote:
        if "min_score" in body:
            raise UnsafeRequest(f"{key}.min_score", "it would see demoted scores")
        # As far as any of the others looks, so that no document is left with its own score.
        rescorers = multiplying(rescorers, decision, widest(rescorers), f"{key}.rescore")
    result = {
        **body,
        "retriever": safe_retriever(
            body.get("retriever"), f"{key}.retriever", decision, demote=False
        ),
        "rescore": rescorers,
    }
    if "filter" in body:
        result["filter"] = _filter(body, key, decision)
    return result


def _fusion(
    body: dict[str, Any], key: str, decision: Decision, known: frozenset[str]
) -> dict[str, Any]:
    """What is made of the hits of other retrievers."""
    _known(body, known, key)
    result = dict(body)
    if "filter" in body:
        result["filter"] = _filter(body, key, decision)
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
