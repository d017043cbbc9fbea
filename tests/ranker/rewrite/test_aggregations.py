from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.aggregations import WRAPPER, safe_aggregations, unwrap
from saferank.ranker.rewrite.query import without_hidden

MATCH = {"match": {"title": "cat"}}
LOOKUP = {"terms": {"tag": {"index": "x", "id": "1", "path": "tags"}}}
KNN = {"knn": {"field": "v", "query_vector": [1], "k": 1}}
WORDS = {"terms": {"field": "word"}}


def everything(decision: Decision) -> dict[str, Any]:
    return without_hidden({"match_all": {}}, decision)


@pytest.mark.parametrize("kind", ["global", "children", "parent"])
@pytest.mark.parametrize("block", ["aggs", "aggregations"])
def test_what_leaves_the_query_is_brought_back(hiding: Decision, kind: str, block: str) -> None:
    given = {"all": {kind: {}, block: {"words": WORDS}, "meta": {"a": 1}}}
    wrapped = {"filter": everything(hiding), block: {"words": WORDS}}
    expected = {"all": {kind: {}, "aggs": {WRAPPER: wrapped}, "meta": {"a": 1}}}
    assert safe_aggregations(given, "aggs", hiding) == expected


def test_also_without_sub_aggregations_because_of_the_count(hiding: Decision) -> None:
    expected = {"all": {"global": {}, "aggs": {WRAPPER: {"filter": everything(hiding)}}}}
    assert safe_aggregations({"all": {"global": {}}}, "aggs", hiding) == expected


def test_nothing_to_hide_changes_nothing(open_level: Decision) -> None:
    given = {
        "all": {"global": {}, "aggs": {"s": {"significant_terms": {"field": "word"}}}},
        "sorted": {"terms": {"field": "x", "order": {"all": "desc"}}},
    }
    assert safe_aggregations(given, "aggs", open_level) == given


@pytest.mark.parametrize("kind", ["significant_terms", "significant_text"])
def test_the_background_is_what_is_visible(hiding: Decision, kind: str) -> None:
    for given, background in (({}, everything(hiding)), ({"background_filter": MATCH}, None)):
        found = safe_aggregations({"s": {kind: {"field": "word", **given}}}, "aggs", hiding)
        expected = background or without_hidden(MATCH, hiding)
        assert found == {"s": {kind: {"field": "word", "background_filter": expected}}}


def test_what_needs_no_change_is_passed_as_it_is(hiding: Decision) -> None:
    given = {
        "top": {"top_hits": {"size": 3, "highlight": {"fields": {"title": {}}}}},
        "f": {"filter": MATCH, "meta": {"a": 1}, "aggs": {"words": WORDS}},
        "w": {"terms": {"field": "w", "min_doc_count": 2}, "aggs": {"n": {"max": {"field": "n"}}}},
        "h": {"histogram": {"field": "n", "interval": 2, "min_doc_count": 0}, "meta": {"b": 2}},
    }
    assert safe_aggregations(given, "aggs", hiding) == given
    with pytest.raises(UnsafeRequest) as caught:
        safe_aggregations([], "aggs", hiding)
    assert caught.value.key == "aggs"


def test_queries_in_aggregations_are_made_safe(hiding: Decision) -> None:
    safe = {"knn": {**KNN["knn"], "filter": [everything(hiding)]}}
    for given, expected in (
        ({"filter": KNN}, {"filter": safe}),
        ({"filters": {"filters": [MATCH, KNN]}}, {"filters": {"filters": [MATCH, safe]}}),
        (
            {"filters": {"filters": {"a": KNN}, "other_bucket": True}},
            {"filters": {"filters": {"a": safe}, "other_bucket": True}},
        ),
        (
            {"adjacency_matrix": {"filters": {"a": KNN}}},
            {"adjacency_matrix": {"filters": {"a": safe}}},
        ),
        ({"terms": {"field": "x"}, "aggs": {"f": {"filter": KNN}}}, None),
    ):
        found = safe_aggregations({"a": given}, "aggs", hiding)["a"]
        assert found == (expected or {"terms": {"field": "x"}, "aggs": {"f": {"filter": safe}}})


@pytest.mark.parametrize(
    ("aggregation", "key"),
    [
        ({"unknown": {}}, "aggs.a.unknown"),
        ({"terms": {}, "max": {}}, "aggs.a"),
        ({"meta": {}}, "aggs.a"),
        ([], "aggs.a"),
        (3, "aggs.a"),
        ({"terms": {"field": "w"}, "aggs": 3}, "aggs.a.aggs"),
        ({"terms": {"field": "w", "min_doc_count": 0}}, "aggs.a.terms.min_doc_count"),
        ({"terms": {"field": "w", "min_doc_count": "0"}}, "aggs.a.terms.min_doc_count"),
        ({"multi_terms": {"min_doc_count": 0}}, "aggs.a.multi_terms.min_doc_count"),
        ({"significant_terms": {"min_doc_count": 0}}, "aggs.a.significant_terms.min_doc_count"),
        ({"significant_text": {"min_doc_count": 0}}, "aggs.a.significant_text.min_doc_count"),
        (
            {"significant_text": {"background_filter": LOOKUP}},
            "aggs.a.significant_text.background_filter.terms.tag",
        ),
        ({"filter": LOOKUP}, "aggs.a.filter.terms.tag"),
        ({"filters": {"filters": {"x": LOOKUP}}}, "aggs.a.filters.filters.x.terms.tag"),
        ({"filters": {"filters": [MATCH, LOOKUP]}}, "aggs.a.filters.filters.1.terms.tag"),
        ({"filters": {"filters": "x"}}, "aggs.a.filters.filters"),
        ({"filters": []}, "aggs.a.filters.filters"),
        (
            {"top_hits": {"highlight": {"highlight_query": LOOKUP}}},
            "aggs.a.top_hits.highlight.highlight_query.terms.tag",
        ),
        (
            {"top_hits": {"sort": ({"a": {"nested": {"path": "p", "filter": LOOKUP}}},)}},
            "aggs.a.top_hits.sort.a.filter.terms.tag",
        ),
        ({"top_hits": {"explain": True}}, "aggs.a.top_hits.explain"),
        ({"terms": {"field": "w"}, "aggs": {"b": {"unknown": {}}}}, "aggs.a.aggs.b.unknown"),
        ({"terms": {"field": "w"}, "aggs": {WRAPPER: WORDS}}, f"aggs.a.aggs.{WRAPPER}"),
        (
            {"nested": {"path": "p"}, "aggs": {"s": {"significant_terms": {"field": "p.w"}}}},
            "aggs.a.aggs.s.significant_terms",
        ),
        (
            {
                "nested": {"path": "p"},
                "aggs": {"t": {**WORDS, "aggs": {"s": {"significant_terms": {"field": "p.w"}}}}},
            },
            "aggs.a.aggs.t.aggs.s.significant_terms",
        ),
    ],
)
def test_what_is_refused(hiding: Decision, aggregation: Any, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        safe_aggregations({"a": aggregation}, "aggs", hiding)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "aggregation",
    [
        {"terms": {"field": "w", "min_doc_count": 0}},
        {"multi_terms": {"terms": [{"field": "w"}], "min_doc_count": "0"}},
        {"significant_terms": {"field": "w", "min_doc_count": 0}},
        {"nested": {"path": "p"}, "aggs": {"s": {"significant_terms": {"field": "p.w"}}}},
    ],
)
def test_what_would_show_hidden_words_is_fine_where_nothing_is_hidden(
    open_level: Decision, aggregation: Any
) -> None:
    assert safe_aggregations({"a": aggregation}, "aggs", open_level) == {"a": aggregation}


def test_back_at_the_documents_significance_is_fine(hiding: Decision) -> None:
    inner = {"s": {"significant_terms": {"field": "w"}}}
    given = {
        "p": {"nested": {"path": "p"}, "aggs": {"back": {"reverse_nested": {}, "aggs": inner}}}
    }
    found = safe_aggregations(given, "aggs", hiding)["p"]["aggs"]["back"]["aggs"]["s"]
    assert found["significant_terms"]["background_filter"] == everything(hiding)


@pytest.mark.parametrize(
    "path",
    [
        {"max_bucket": {"buckets_path": "kids>n"}},
        {"bucket_script": {"buckets_path": {"a": "kids._count"}, "script": "params.a"}},
        {"cumulative_sum": {"buckets_path": "other>kids[x]>n"}},
        {"bucket_correlation": {"buckets_path": ["kids"]}},
    ],
)
def test_paths_must_not_lead_through_a_wrapped_aggregation(
    hiding: Decision, path: dict[str, Any]
) -> None:
    kids = {"kids": {"children": {"type": "kid"}, "aggs": {"n": {"max": {"field": "n"}}}}}
    given = {"t": {**WORDS, "aggs": kids}, "p": path}
    with pytest.raises(UnsafeRequest, match="kids"):
        safe_aggregations(given, "aggs", hiding)
    for kind in (list, tuple):
        by_path = kind([{"_key": "asc"}, {"kids>n": "desc"}])
        order = {"terms": {"field": "w", "order": by_path}, "aggs": kids}
        with pytest.raises(UnsafeRequest) as caught:
            safe_aggregations({"t": order}, "aggs", hiding)
        assert caught.value.key == "aggs.t.terms"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ({"bucket_sort": {"sort": [{"kids>n": "desc"}]}}, "bucket_sort"),
        ({"bucket_sort": {"sort": {"kids>n": "desc"}}}, "bucket_sort"),
        ({"terms": {"field": "w", "order": {"kids.n": "desc"}}}, "terms"),
    ],
)
def test_the_place_of_a_refused_path(hiding: Decision, path: dict[str, Any], kind: str) -> None:
    kids = {"kids": {"children": {"type": "kid"}}, "p": path}
    with pytest.raises(UnsafeRequest) as caught:
        safe_aggregations({"t": {**WORDS, "aggs": kids}}, "aggs", hiding)
    assert caught.value.key == f"aggs.t.aggs.p.{kind}"


def test_other_paths_are_fine(hiding: Decision) -> None:
    given = {
        "t": {"terms": {"field": "w", "order": {"n": "desc"}}, "aggs": {"n": {"max": {}}}},
        "p": {"max_bucket": {"buckets_path": "t>n"}},
        "kids": {"children": {"type": "kid"}, "meta": {"buckets_path": "kids"}},
    }
    assert safe_aggregations(given, "aggs", hiding)["p"] == given["p"]


@pytest.mark.parametrize("name", [WRAPPER, f"filter#{WRAPPER}"])
def test_a_response_is_unwrapped(name: str) -> None:
    kids = {"doc_count": 9, name: {"doc_count": 2, "n": {"value": 1}}, "meta": {"a": 1}}
    response = {
        "all": {"doc_count": 100, name: {"doc_count": 3, "words": {"buckets": [{"kids": kids}]}}},
        "plain": {"buckets": {"x": {"doc_count": 1}}},
    }
    assert unwrap(response) == {
        "all": {
            "doc_count": 3,
            "words": {"buckets": [{"kids": {"doc_count": 2, "n": {"value": 1}, "meta": {"a": 1}}}]},
        },
        "plain": {"buckets": {"x": {"doc_count": 1}}},
    }


def test_documents_in_a_response_are_left_alone() -> None:
    top = {"hits": {"total": 1, "hits": [{"_source": {WRAPPER: {"a": 1}}}]}}
    assert unwrap({"top": top}) == {"top": top}
    named_hits = {"hits": {"doc_count": 9, WRAPPER: {"doc_count": 1}}}
    assert unwrap({"x": named_hits}) == {"x": {"hits": {"doc_count": 1}}}
