"""Aggregations: those that leave the query's documents are brought back to the visible ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import LISTS, MATCH_ALL, an_object, as_list, names
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.query import (
    check_inner_hits,
    check_unbounded,
    safe_queries,
    safe_query,
    without_hidden,
)
from saferank.ranker.rewrite.relevance import with_zeros

WRAPPER = "saferank-visible"
"""Name of the filter that is put into an aggregation; ``unwrap`` takes it out of the response."""

# Kinds that only look at the documents that their parent hands them.
_PLAIN = names(
    """
    auto_date_histogram avg avg_bucket boxplot bucket_count_ks_test bucket_correlation
    bucket_script bucket_selector bucket_sort cardinality cartesian_bounds cartesian_centroid
    categorize_text change_point composite cumulative_cardinality cumulative_sum date_histogram
    date_range derivative diversified_sampler extended_stats extended_stats_bucket geo_bounds
    geo_centroid geo_distance geo_line geohash_grid geohex_grid geotile_grid histogram ip_prefix
    ip_range matrix_stats max max_bucket median_absolute_deviation min min_bucket missing
    moving_fn moving_percentiles nested normalize percentile_ranks percentiles percentiles_bucket
    random_sampler range rare_terms rate reverse_nested sampler scripted_metric serial_diff stats
    stats_bucket string_stats sum sum_bucket time_series top_metrics value_count
    variable_width_histogram weighted_avg
    """
)

_SUB = ("aggs", "aggregations")


def safe_aggregations(aggregations: Any, key: str, decision: Decision) -> dict[str, Any]:
    """The aggregations with every part of them safe.

    Args:
        aggregations: name -> aggregation.
        key: their place in the request, for errors.
        decision: whose documents to hide.

    Raises:
        UnsafeRequest: a kind that is not understood, or that shows words or counts of hidden
            documents.
    """
    result = _aggregations(aggregations, key, decision, nested=False)
    if decision.hidden:
        _check_paths(aggregations, key)
    return result


def _aggregations(value: Any, key: str, decision: Decision, *, nested: bool) -> dict[str, Any]:
    """As ``safe_aggregations``; ``nested``: the buckets hold nested objects, not documents."""
    if not isinstance(value, dict):
        raise UnsafeRequest(key, "an object is expected")
    return {
        name: _aggregation(body, f"{key}.{name}", decision, nested) for name, body in value.items()
    }


def _aggregation(body: Any, key: str, decision: Decision, nested: bool) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise UnsafeRequest(key, "an object is expected")
    if key.rpartition(".")[2] == WRAPPER:
        raise UnsafeRequest(key, f"the name {WRAPPER!r} is taken")
    kinds = [name for name in body if name not in (*_SUB, "meta")]
    if len(kinds) != 1:
        raise UnsafeRequest(key, "an aggregation has one kind")
    kind = kinds[0]
    here = f"{key}.{kind}"
    if kind in _SPECIAL:
        result = {**body, kind: _SPECIAL[kind](body[kind], here, decision, nested)}
    elif kind in _PLAIN or kind in _LEAVING:
        result = dict(body)
    else:
        raise UnsafeRequest(here, "this kind of aggregation is not known to be safe")
    nested = kind == "nested" or (nested and kind != "reverse_nested")
    subs = {
        name: _aggregations(body[name], f"{key}.{name}", decision, nested=nested)
        for name in _SUB
        if name in body
    }
    result.update(subs)
    if kind in _LEAVING and decision.hidden:
        for name in subs:
            del result[name]
        visible = {"filter": without_hidden(MATCH_ALL, decision), **subs}
        result["aggs"] = {WRAPPER: visible}
    return result


# Kinds that bring in documents which the query did not match.
_LEAVING = frozenset({"global", "children", "parent"})


def unwrap(aggregations: dict[str, Any]) -> dict[str, Any]:
    """A response's aggregations as the request asked for them, without the filters put in.

    Args:
        aggregations: ``aggregations`` of a response, with or without ``typed_keys``.
    """
    return {name: _unwrap(value) for name, value in aggregations.items()}


def _unwrap(value: Any) -> Any:
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _is_hits(value):
        return {**value, "hits": with_zeros(value["hits"])}
    result = {}
    for name, item in value.items():
        if name in (WRAPPER, f"filter#{WRAPPER}"):
            result.update(_unwrap(item))
        else:
            result[name] = _unwrap(item)
    return result


def _is_hits(value: dict[str, Any]) -> bool:
    """Whether this is what ``top_hits`` gives: documents, in which nothing is ours."""
    hits = value.get("hits")
    return isinstance(hits, dict) and isinstance(hits.get("hits"), list)


def _check_paths(aggregations: dict[str, Any], key: str) -> None:
    """Refuse paths that lead through an aggregation in which a filter was put."""
    everything = list(_walk(aggregations, key))
    leaving = {here.rpartition(".")[2] for here, kind, _ in everything if kind in _LEAVING}
    if not leaving:
        return
    for here, kind, body in everything:
        for path in _paths(body):
            for step in path.replace(".", ">").split(">"):
                if step.partition("[")[0] in leaving:
                    raise UnsafeRequest(
                        f"{here}.{kind}",
                        f"its path {path!r} leads into {step!r}, which needs a filter of its own",
                    )


def _walk(aggregations: dict[str, Any], key: str) -> Iterator[tuple[str, str, Any]]:
    """Place, kind and body of each aggregation, of checked ones."""
    for name, body in aggregations.items():
        for part, value in body.items():
            if part in _SUB:
                yield from _walk(value, f"{key}.{name}.{part}")
            elif part != "meta":
                yield f"{key}.{name}", part, value


def _paths(body: Any) -> Iterator[str]:
    if not isinstance(body, dict):
        return
    paths = body.get("buckets_path")
    yield from map(str, paths.values() if isinstance(paths, dict) else as_list(paths))
    for key in ("order", "sort"):
        for order in as_list(body.get(key)):
            yield from map(str, order if isinstance(order, dict) else ())


def _filter(body: Any, key: str, decision: Decision, nested: bool) -> Any:
    if nested:
        check_unbounded(body, key, decision)
    return safe_query(body, key, decision)


def _filters(body: Any, key: str, decision: Decision, nested: bool) -> Any:
    if nested:
        check_unbounded(body, key, decision)
    filters = body.get("filters") if isinstance(body, dict) else None
    here = f"{key}.filters"
    if isinstance(filters, dict):
        safe: Any = {name: safe_query(q, f"{here}.{name}", decision) for name, q in filters.items()}
    elif isinstance(filters, LISTS):
        safe = safe_queries(filters, here, decision)
    else:
        raise UnsafeRequest(here, "an object or a list of queries is expected")
    return {**body, "filters": safe}


def _terms(body: Any, key: str, decision: Decision, _nested: bool) -> Any:
    least = body.get("min_doc_count", 1) if isinstance(body, dict) else None
    if decision.hidden and (not isinstance(least, int) or least < 1):
        raise UnsafeRequest(f"{key}.min_doc_count", "it must be 1 or more: 0 lists hidden words")
    return body


def _significant(body: Any, key: str, decision: Decision, nested: bool) -> Any:
    """Compare with the visible documents, not with all."""
    body = an_object(_terms(body, key, decision, nested), key)
    background = body.get("background_filter", MATCH_ALL)
    background = safe_query(background, f"{key}.background_filter", decision)
    if not decision.hidden:
        return body
    if nested:
        raise UnsafeRequest(key, "below a nested aggregation it counts hidden documents")
    return {**body, "background_filter": without_hidden(background, decision)}


def _top_hits(body: Any, key: str, decision: Decision, _nested: bool) -> Any:
    check_inner_hits(body, key, decision)
    return body


_SPECIAL: dict[str, Callable[[Any, str, Decision, bool], Any]] = {
    "adjacency_matrix": _filters,
    "filter": _filter,
    "filters": _filters,
    "multi_terms": _terms,
    "significant_terms": _significant,
    "significant_text": _significant,
    "terms": _terms,
    "top_hits": _top_hits,
}
