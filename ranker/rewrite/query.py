"""Queries: which kinds are understood, and filters where a query picks documents on its own."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

from elasticsearch.serializer import JsonSerializer

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import (
    LISTS,
    MATCH_ALL,
    Json,
    Query,
    an_object,
    as_list,
    as_object,
    names,
)
from saferank.ranker.level.decision import Decision

# Kinds that look at one document at a time and at no other document.
_LEAVES = names(
    """
    match_all match_none match match_phrase match_phrase_prefix match_bool_prefix multi_match
    combined_fields query_string simple_query_string intervals term terms_set range exists prefix
    wildcard regexp fuzzy ids script distance_feature rank_feature geo_bounding_box geo_distance
    geo_grid geo_polygon parent_id sparse_vector semantic text_expansion weighted_tokens span_term
    span_near span_or span_not span_first span_containing span_within span_multi
    span_field_masking field_masking_span
    """
)

# Kind -> keys that hold queries, and keys of other things. Plain values are passed on.
_COMPOUNDS = {
    "bool": (names("must filter should must_not"), names("")),
    "boosting": (names("positive negative"), names("")),
    "constant_score": (names("filter"), names("")),
    "dis_max": (names("queries"), names("")),
    "pinned": (names("organic"), names("ids docs")),
    "rule": (names("organic"), names("match_criteria ruleset_ids")),
}
_FUNCTIONS = names("script_score random_score field_value_factor gauss exp linear")


# The engine takes 30 queries, one inside the other, and some stand around one that was made safe.
# So what is far in goes into a wrapper, once; the length of its place tells.
_FAR_IN = 200
_LEFT_OUT = "…"


_READS = (
    "it looks into another document; give what it says there, or search with a safe client, which "
    "reads it"
)


_REFUSED = {
    "hybrid": (
        "a search pipeline would make its scores, and pipelines are switched off; search each of "
        "its queries by itself and fuse the hits, or put the queries into one 'bool'"
    ),
}


class ReadsDocument(UnsafeRequest):
    """A query looks into a document by its id, which is safe where the document is read first."""


def without_hidden(query: Query, decision: Decision) -> Query:
    """The query without the documents that the level hides; its scores stay as they are."""
    if not decision.visible:
        return query
    return {"bool": {"must": [query], **decision.visible}}


def safe_query(query: Any, key: str, decision: Decision) -> Query:
    """The query with every part of it safe; itself unless something had to change.

    Which documents it matches as a whole is for the caller to filter. Here are filtered the parts
    that choose documents on their own: nearest neighbours, children and parents.

    Args:
        query: one clause.
        key: its place in the request, for errors.
        decision: whose documents to hide.

    Raises:
        UnsafeRequest: a kind of query that is not understood, or that reads other documents.
    """
    if not isinstance(query, dict) or len(query) != 1:
        raise UnsafeRequest(key, "a query is an object with one key, its kind")
    if len(key) > _FAR_IN and _LEFT_OUT not in key:
        return _wrapped(safe_query(query, f"{key[:50]}{_LEFT_OUT}{key[-50:]}", decision))
    ((kind, body),) = query.items()
    if kind in _LEAVES:
        return query
    here = f"{key}.{kind}"
    if kind in _SPECIAL:
        changed = _SPECIAL[kind](body, here, decision)
    elif kind in _COMPOUNDS:
        changed = _with_queries(body, *_COMPOUNDS[kind], here, decision)
    else:
        raise UnsafeRequest(here, _REFUSED.get(kind, "this kind of query is not known to be safe"))
    return query if changed is body else {kind: changed}


def _wrapped(query: Query) -> Query:
    """The same query; inside a wrapper the engine counts anew how far in a query is."""
    return {"wrapper": {"query": b64encode(_JSON.dumps(query)).decode()}}


_JSON = JsonSerializer()


def safe_queries(value: Any, key: str, decision: Decision) -> Any:
    """As ``safe_query`` for one clause or a list of clauses."""
    if not isinstance(value, LISTS):
        return safe_query(value, key, decision)
    changed = [safe_query(item, f"{key}.{n}", decision) for n, item in enumerate(value)]
    same = all(new is old for new, old in zip(changed, value, strict=True))
    return value if same else changed


def safe_knn(body: Any, key: str, decision: Decision) -> dict[str, Any]:
    """A nearest neighbour search whose candidates are all visible, so that it finds its ``k``.

    Raises:
        UnsafeRequest: the vector is taken from another document, or see ``safe_query``.
    """
    body = an_object(body, key)
    check_vector_builder(body, key)
    check_inner_hits(body.get("inner_hits"), f"{key}.inner_hits", decision)
    filters = as_list(safe_queries(as_list(body.get("filter")), f"{key}.filter", decision))
    if decision.hidden:
        filters.append(without_hidden(MATCH_ALL, decision))
    return {**body, "filter": filters} if filters else body


def _knn(body: Any, key: str, decision: Decision) -> Any:
    """``knn`` as a query: Elasticsearch's, or that of OpenSearch's plug-in, which names a field."""
    values = list(an_object(body, key).values())
    if len(values) != 1 or "vector" not in as_object(values[0]):
        return safe_knn(body, key, decision)
    ((field, search),) = body.items()
    for name in search.keys() - _OF_A_FIELD:
        raise UnsafeRequest(f"{key}.{field}.{name}", "this key is not known to be safe")
    filters = []
    if search.get("filter") is not None:
        filters.append(safe_query(search["filter"], f"{key}.{field}.filter", decision))
    if decision.hidden:
        filters.append(without_hidden(MATCH_ALL, decision))
    if not filters:
        return body
    return {field: {**search, "filter": {"bool": {"filter": filters}}}}


_OF_A_FIELD = names(
    """
    vector k filter max_distance min_score method_parameters rescore expand_nested_docs
    ignore_unmapped boost _name
    """
)


def check_vector_builder(body: dict[str, Any], key: str) -> None:
    """Check where a nearest neighbour search, or anything like one, has its vector from.

    Raises:
        UnsafeRequest: it is taken from another document.
    """
    builder = body.get("query_vector_builder")
    if builder is not None and set(an_object(builder, key)) != {"text_embedding"}:
        raise UnsafeRequest(f"{key}.query_vector_builder", "only 'text_embedding' is known")


def check_highlight(value: Any, key: str, decision: Decision) -> None:
    """Check the queries under ``highlight``, in a search body or anything like one.

    Raises:
        UnsafeRequest: see ``safe_query``.
    """
    if isinstance(value, LISTS):
        for item in value:
            check_highlight(item, key, decision)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "highlight_query":
                safe_query(item, f"{key}.{name}", decision)
            else:
                check_highlight(item, f"{key}.{name}", decision)


def check_nested_sort(nested: Any, key: str, decision: Decision) -> None:
    """Check the queries under ``nested`` of a sort key.

    Raises:
        UnsafeRequest: see ``safe_query``.
    """
    if isinstance(nested, dict):
        if (condition := nested.get("filter")) is not None:
            check_unbounded(condition, f"{key}.filter", decision)
            safe_query(condition, f"{key}.filter", decision)
        check_nested_sort(nested.get("nested"), f"{key}.nested", decision)


def check_inner_hits(value: Any, key: str, decision: Decision) -> None:
    """Check the options of hits inside a hit, a group or a bucket.

    Raises:
        UnsafeRequest: they ask for explanations where documents are hidden, or see ``safe_query``.
    """
    check_highlight(value, key, decision)
    for item in as_list(as_object(value).get("sort")):
        for field, options in as_object(item).items():
            check_nested_sort(as_object(options).get("nested"), f"{key}.sort.{field}", decision)
    if decision.hidden and as_object(value).get("explain"):
        raise UnsafeRequest(
            f"{key}.explain", "it can list words of hidden documents; ask for it beside the query"
        )


def _with_queries(
    body: Any, queries: frozenset[str], others: frozenset[str], key: str, decision: Decision
) -> dict[str, Any]:
    """The body with the queries under some keys made safe; itself unless one changed."""
    changed = body = an_object(body, key)
    for name, old in body.items():
        if name in queries:
            if old is not None:
                new = safe_queries(old, f"{key}.{name}", decision)
                changed = changed if new is old else {**changed, name: new}
        elif isinstance(old, (dict, *LISTS)) and name not in others:
            raise UnsafeRequest(f"{key}.{name}", "this key is not known to be safe")
    return changed


def _function_score(body: Any, key: str, decision: Decision) -> Any:
    body = _with_queries(body, _ONE_QUERY, _FUNCTIONS | {"functions"}, key, decision)
    functions = as_list(body.get("functions"))
    changed = [
        _with_queries(item, _ONE_FILTER, _FUNCTIONS, f"{key}.functions.{n}", decision)
        for n, item in enumerate(functions)
    ]
    same = all(new is old for new, old in zip(changed, functions, strict=True))
    return _bounded(body if same else {**body, "functions": changed}, decision)


def _script_score(body: Any, key: str, decision: Decision) -> Any:
    return _bounded(_with_queries(body, _ONE_QUERY, names("script"), key, decision), decision)


def _bounded(body: Json, decision: Decision) -> Json:
    """The body of scores that are computed for visible documents only, where they choose any.

    With a bound on scores the engine computes them to find out what matches, which under
    ``must_not`` is before it looks at the exclusion around the query. Where a function cannot
    have what a document says, such as a negative number, the error cites it.
    """
    if body.get("min_score") is None or not decision.hidden:
        return body
    query = body.get("query")
    return {**body, "query": without_hidden(MATCH_ALL if query is None else query, decision)}


def check_unbounded(query: Any, key: str, decision: Decision) -> None:
    """Check that no query for nested objects chooses by scores; see ``_bounded``.

    A nested object does not say whether its document is hidden.

    Raises:
        UnsafeRequest: one does, where documents are hidden.
    """
    if not decision.hidden:
        return
    if isinstance(query, LISTS):
        for item in query:
            check_unbounded(item, key, decision)
    elif isinstance(query, dict):
        for name, part in query.items():
            if name in _SCORING and as_object(part).get("min_score") is not None:
                raise UnsafeRequest(
                    f"{key}.{name}.min_score",
                    "below a nested object it is tried on hidden documents, too, whose values an "
                    "error would cite; put it around the 'nested' query",
                )
            check_unbounded(part, key, decision)


_SCORING = names("function_score script_score")
_ONE_QUERY = names("query")
_ONE_FILTER = names("filter")


def _nested(body: Any, key: str, decision: Decision) -> Any:
    check_unbounded(as_object(body).get("query"), f"{key}.query", decision)
    return _with_inner_hits(body, key, decision)


def _with_inner_hits(body: Any, key: str, decision: Decision) -> Any:
    body = _with_queries(body, _ONE_QUERY, names("inner_hits"), key, decision)
    check_inner_hits(body.get("inner_hits"), f"{key}.inner_hits", decision)
    return body


def _relative(body: Any, key: str, decision: Decision) -> Any:
    """``has_child`` and ``has_parent``: a hidden relative does not count, nor come as inner hit."""
    body = _with_inner_hits(body, key, decision)
    return {**body, "query": without_hidden(body.get("query", MATCH_ALL), decision)}


def _terms(body: Any, key: str, _decision: Decision) -> Any:
    for field, value in an_object(body, key).items():
        if isinstance(value, dict):
            raise ReadsDocument(f"{key}.{field}", _READS)
    return body


def _shape(body: Any, key: str, _decision: Decision) -> Any:
    for field, value in an_object(body, key).items():
        if isinstance(value, dict) and "indexed_shape" in value:
            raise ReadsDocument(f"{key}.{field}.indexed_shape", _READS)
    return body


def _more_like_this(body: Any, key: str, _decision: Decision) -> Any:
    for name in ("like", "unlike"):
        for item in as_list(an_object(body, key).get(name)):
            if is_by_id(item, f"{key}.{name}"):
                raise ReadsDocument(f"{key}.{name}", _READS)
    return body


def is_by_id(item: Any, key: str = "more_like_this") -> bool:
    """Whether this item of ``more_like_this`` is a document to be read: no text, and not given."""
    return not isinstance(item, str) and "doc" not in an_object(item, key)


def _percolate(body: Any, key: str, _decision: Decision) -> Any:
    if "id" in an_object(body, key):
        raise ReadsDocument(f"{key}.id", _READS)
    return body


_SPECIAL: dict[str, Callable[[Any, str, Decision], Any]] = {
    "function_score": _function_score,
    "geo_shape": _shape,
    "has_child": _relative,
    "has_parent": _relative,
    "knn": _knn,
    "more_like_this": _more_like_this,
    "nested": _nested,
    "percolate": _percolate,
    "script_score": _script_score,
    "shape": _shape,
    "terms": _terms,
}
