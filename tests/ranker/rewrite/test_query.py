from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.query import (
    ReadsDocument,
    check_highlight,
    safe_knn,
    safe_query,
    without_hidden,
)

MATCH = {"match": {"title": "cat"}}
LOOKUP = {"terms": {"tag": {"index": "x", "id": "1", "path": "tags"}}}
SORT_BY_LOOKUP = [{"a": {"order": "asc", "nested": {"path": "p", "filter": LOOKUP}}}]
KNN = {"field": "v", "query_vector": [1], "k": 1}


def visible(decision: Decision) -> dict[str, Any]:
    return {"bool": {"must": [{"match_all": {}}], **decision.visible}}


def test_hidden_documents_are_excluded_beside_the_query(hiding: Decision) -> None:
    assert without_hidden(MATCH, hiding) == {
        "bool": {
            "must": [MATCH],
            # Two branches: a filter that only negates would cost as much as ``must_not``.
            "filter": [
                {
                    "bool": {
                        "should": [
                            {
                                "bool": {
                                    "must_not": [
                                        {"range": {"safety.probability": {"gte": 0.5}}},
                                        {"range": {"safety.probability": {"lt": -0.0}}},
                                        {"exists": {"field": "safety.override"}},
                                        {"exists": {"field": "safety.matched"}},
                                    ]
                                }
                            },
                            {"term": {"safety.override": "allow"}},
                            {
                                "bool": {
                                    "filter": [{"term": {"safety.matched": "allow"}}],
                                    "must_not": [
                                        {"term": {"safety.matched": "block"}},
                                        {"exists": {"field": "safety.override"}},
                                    ],
                                }
                            },
                        ],
                    }
                }
            ],
            "must_not": [
                {"term": {"safety.override": "block"}},
                *hiding.unmapped_fails,
            ],
        }
    }


def test_nothing_to_hide_changes_nothing(open_level: Decision) -> None:
    assert without_hidden(MATCH, open_level) is MATCH
    assert safe_knn(KNN, "knn", open_level) is KNN


@pytest.mark.parametrize(
    "query",
    [
        {"bool": {"must": [MATCH], "should": MATCH, "minimum_should_match": 1, "boost": 2}},
        {"boosting": {"positive": MATCH, "negative": MATCH, "negative_boost": 0.1}},
        {"dis_max": {"queries": [MATCH, MATCH]}},
        {"function_score": {"query": MATCH, "functions": [{"filter": MATCH, "weight": 2}]}},
        {"function_score": {"query": MATCH, "exp": {"when": {"scale": "1d"}}, "max_boost": 2}},
        {"function_score": {"functions": [{"random_score": {}}, {"weight": 3, "filter": MATCH}]}},
        {"rule": {"organic": MATCH, "match_criteria": {"q": "cat"}, "ruleset_ids": ["a"]}},
        {"bool": {"must": None}},
        {"script_score": {"query": MATCH, "script": {"source": "1"}}},
        {"terms": {"tag": ["a", "b"], "boost": 2}},
        {"geo_shape": {"place": {"shape": {"type": "point"}}, "ignore_unmapped": True}},
        {"more_like_this": {"like": ["text", {"doc": {"title": "x"}}], "fields": ["title"]}},
        {"percolate": {"field": "query", "document": {"title": "x"}}},
        {"nested": {"path": "parts", "query": MATCH, "inner_hits": {"size": 3}}},
        {"pinned": {"ids": ["1"], "organic": MATCH}},
    ],
)
def test_what_needs_no_change_is_passed_as_it_is(query: dict[str, Any], hiding: Decision) -> None:
    assert safe_query(query, "query", hiding) is query


def test_nearest_neighbours_are_looked_for_among_the_visible(hiding: Decision) -> None:
    for given, filters in (
        (KNN, []),
        ({**KNN, "filter": None}, []),
        ({**KNN, "filter": MATCH}, [MATCH]),
        ({**KNN, "filter": [MATCH, MATCH]}, [MATCH, MATCH]),
    ):
        expected = {**KNN, "filter": [*filters, visible(hiding)]}
        assert safe_query({"knn": given}, "query", hiding) == {"knn": expected}


NEAR: dict[str, Any] = {"vector": [1, 2], "k": 5}


def test_those_of_opensearchs_plug_in_too(hiding: Decision, open_level: Decision) -> None:
    for given, filters in ((NEAR, []), ({**NEAR, "filter": MATCH}, [MATCH])):
        expected = {**NEAR, "filter": {"bool": {"filter": [*filters, visible(hiding)]}}}
        query = {"knn": {"place": given}}
        assert safe_query(query, "query", hiding) == {"knn": {"place": expected}}
    assert safe_query({"knn": {"place": NEAR}}, "q", open_level) == {"knn": {"place": NEAR}}


HOLDERS = [
    (lambda q: {"bool": {"must": q}}, "bool.must"),
    (lambda q: {"bool": {"filter": [MATCH, q], "boost": 2}}, "bool.filter.1"),
    (lambda q: {"bool": {"should": [q], "must": [MATCH]}}, "bool.should.0"),
    (lambda q: {"bool": {"must_not": [q]}}, "bool.must_not.0"),
    (lambda q: {"boosting": {"positive": q, "negative": MATCH}}, "boosting.positive"),
    (lambda q: {"boosting": {"positive": MATCH, "negative": q}}, "boosting.negative"),
    (lambda q: {"constant_score": {"filter": q}}, "constant_score.filter"),
    (lambda q: {"dis_max": {"queries": [q]}}, "dis_max.queries.0"),
    (lambda q: {"nested": {"path": "p", "query": q}}, "nested.query"),
    (lambda q: {"script_score": {"query": q}}, "script_score.query"),
    (lambda q: {"pinned": {"organic": q}}, "pinned.organic"),
    (lambda q: {"rule": {"organic": q}}, "rule.organic"),
    (lambda q: {"function_score": {"query": q, "max_boost": 2}}, "function_score.query"),
    (
        lambda q: {"function_score": {"functions": [{}, {"filter": q}], "query": MATCH}},
        "function_score.functions.1.filter",
    ),
]
CHOOSERS = [
    (lambda q: {"has_child": {"type": "c", "query": q}}, "has_child.query"),
    (lambda q: {"has_parent": {"parent_type": "p", "query": q}}, "has_parent.query"),
    (lambda q: {"knn": {**KNN, "filter": [q]}}, "knn.filter.0"),
    (lambda q: {"knn": {"place": {**NEAR, "filter": q}}}, "knn.place.filter"),
]


@pytest.mark.parametrize(("wrap", "path"), [*HOLDERS, *CHOOSERS])
def test_queries_in_queries_are_checked(wrap: Any, path: str, hiding: Decision) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        safe_query(wrap({"unknown": {}}), "query", hiding)
    assert caught.value.key == f"query.{path}.unknown"


@pytest.mark.parametrize("wrap", [wrap for wrap, _ in HOLDERS])
def test_queries_in_queries_are_changed(wrap: Any, hiding: Decision) -> None:
    safe = {"knn": {**KNN, "filter": [visible(hiding)]}}
    assert safe_query(wrap({"knn": KNN}), "query", hiding) == wrap(safe)


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ({}, "q"),
        ({"match": {}, "term": {}}, "q"),
        ("cat", "q"),
        ({"wrapper": {"query": "e30="}}, "q.wrapper"),
        ({"template": {}}, "q.template"),
        (LOOKUP, "q.terms.tag"),
        (
            {"geo_shape": {"place": {"indexed_shape": {"id": "1"}}}},
            "q.geo_shape.place.indexed_shape",
        ),
        ({"shape": {"place": {"indexed_shape": {"id": "1"}}}}, "q.shape.place.indexed_shape"),
        ({"more_like_this": {"like": {"_id": "1"}}}, "q.more_like_this.like"),
        ({"more_like_this": {"like": "x", "unlike": [{"_id": "1"}]}}, "q.more_like_this.unlike"),
        ({"more_like_this": {"like": [1]}}, "q.more_like_this.like"),
        ({"percolate": {"field": "query", "index": "x", "id": "1"}}, "q.percolate.id"),
        ({"knn": {"query_vector_builder": {"lookup": {}}}}, "q.knn.query_vector_builder"),
        ({"knn": []}, "q.knn"),
        ({"knn": {"place": {**NEAR, "inner_hits": {}}}}, "q.knn.place.inner_hits"),
        ({"bool": []}, "q.bool"),
        ({"bool": {"must": [None]}}, "q.bool.must.0"),
        ({"function_score": {"functions": [1]}}, "q.function_score.functions.0"),
        ({"function_score": {"functions": [{"other": {}}]}}, "q.function_score.functions.0.other"),
        ({"function_score": {"other": {}}}, "q.function_score.other"),
        ({"function_score": 1}, "q.function_score"),
        ({"bool": {"mustNot": [MATCH]}}, "q.bool.mustNot"),
        ({"nested": {"path": "p", "other": {}}}, "q.nested.other"),
        (
            {"nested": {"query": MATCH, "inner_hits": {"highlight": {"highlight_query": LOOKUP}}}},
            "q.nested.inner_hits.highlight.highlight_query.terms.tag",
        ),
        (
            {"knn": {**KNN, "inner_hits": {"highlight": {"highlight_query": LOOKUP}}}},
            "q.knn.inner_hits.highlight.highlight_query.terms.tag",
        ),
        (
            {"nested": {"query": MATCH, "inner_hits": {"sort": SORT_BY_LOOKUP}}},
            "q.nested.inner_hits.sort.a.filter.terms.tag",
        ),
        (
            {"nested": {"query": MATCH, "inner_hits": {"explain": True}}},
            "q.nested.inner_hits.explain",
        ),
    ],
)
def test_what_is_refused(query: Any, key: str, hiding: Decision) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        safe_query(query, "q", hiding)
    assert caught.value.key == key


def test_a_query_whose_scores_a_pipeline_makes_is_refused_with_another_way(
    hiding: Decision,
) -> None:
    with pytest.raises(UnsafeRequest, match="pipelines are switched off; search each of its"):
        safe_query({"hybrid": {"queries": [{"match_all": {}}]}}, "query", hiding)


def test_a_vector_made_from_text_is_known(hiding: Decision) -> None:
    knn = {"field": "v", "query_vector_builder": {"text_embedding": {"model_text": "cat"}}}
    assert safe_query({"knn": knn}, "query", hiding)["knn"]["query_vector_builder"]


def test_hidden_relatives_do_not_count(hiding: Decision) -> None:
    for kind in ("has_child", "has_parent"):
        changed = safe_query({kind: {"type": "c", "query": MATCH}}, "query", hiding)
        assert changed == {kind: {"type": "c", "query": without_hidden(MATCH, hiding)}}


def test_highlight_queries_are_checked_wherever_they_are(hiding: Decision) -> None:
    fine = {"fields": {"title": {"highlight_query": MATCH}}, "highlight_query": MATCH}
    check_highlight(fine, "highlight", hiding)
    for bad, key in (
        ({"highlight_query": LOOKUP}, "h.highlight_query.terms.tag"),
        ({"fields": [{"a": {"highlight_query": LOOKUP}}]}, "h.fields.a.highlight_query.terms.tag"),
        ({"fields": ({"a": {"highlight_query": LOOKUP}},)}, "h.fields.a.highlight_query.terms.tag"),
    ):
        with pytest.raises(UnsafeRequest) as caught:
            check_highlight(bad, "h", hiding)
        assert caught.value.key == key


def test_a_document_by_id_can_be_read_by_who_asks(hiding: Decision) -> None:
    with pytest.raises(ReadsDocument, match="search with a safe client, which reads it"):
        safe_query({"bool": {"must": {"more_like_this": {"like": {"_id": "1"}}}}}, "q", hiding)


def test_where_nothing_is_hidden_inner_hits_are_explained(open_level: Decision) -> None:
    query = {"nested": {"path": "p", "query": MATCH, "inner_hits": {"explain": True}}}
    assert safe_query(query, "q", open_level) is query


def test_a_query_that_is_far_in_stands_in_a_wrapper_once(hiding: Decision) -> None:
    query: dict[str, Any] = MATCH
    for _ in range(60):
        query = {"bool": {"must": query}}
    depths = [0]
    safe = safe_query(query, "query", hiding)
    while safe != MATCH:
        if "wrapper" in safe:
            safe = json.loads(b64decode(safe["wrapper"]["query"]))
            depths.append(0)
        else:
            safe = safe["bool"]["must"]
            depths[-1] += 1
    assert sum(depths) == 60
    assert len(depths) == 2
    assert depths[0] <= 24


def test_what_is_refused_far_in_is_named(hiding: Decision) -> None:
    query: dict[str, Any] = {"unknown": {}}
    for _ in range(40):
        query = {"bool": {"must": query}}
    with pytest.raises(UnsafeRequest, match=r"'query\.bool\.must.*….*\.bool\.must\.unknown'"):
        safe_query(query, "query", hiding)
