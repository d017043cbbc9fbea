from __future__ import annotations

from typing import Any

import pytest

from saferank.ranker.level.level import Demotion
from saferank.ranker.rewrite.relevance import (
    LEAST,
    floored,
    may_be_zero,
    never_zero,
    with_zeros,
)

MATCH: dict[str, Any] = {"match": {"title": "cat"}}
FILTERED = {"bool": {"filter": [MATCH]}}


@pytest.mark.parametrize(
    "query",
    [
        MATCH,
        {"match": {"title": {"query": "cat", "operator": "and"}}},
        {"match_all": {}},
        {"term": {"tag": {"value": "boost"}}},
        {"terms": {"tag": ["a", "b"]}},
        {"range": {"price": {"gte": 3}}},
        {"constant_score": {"filter": FILTERED}},
        {"multi_match": {"query": "cat", "fields": ["title^3", "text"]}},
        {"multi_match": {"query": "cat"}},
        {"bool": {"must": MATCH, "filter": [MATCH]}},
        {"bool": {"must": [FILTERED, MATCH]}},
        {"bool": {"should": [MATCH, {"match_all": {}}], "must_not": [MATCH]}},
    ],
)
def test_what_always_has_a_relevance_is_left_alone(query: dict[str, Any]) -> None:
    assert not may_be_zero(query)
    assert never_zero(query) is query


@pytest.mark.parametrize(
    "query",
    [
        FILTERED,
        {"bool": {}},
        {"bool": {"must_not": [MATCH]}},
        {"bool": {"should": [MATCH], "filter": [MATCH]}},
        {"bool": {"should": [MATCH], "minimum_should_match": 0}},
        {"bool": {"should": [MATCH, FILTERED]}},
        {"bool": {"must": [FILTERED]}},
        {"bool": {"must": MATCH, "boost": 0}},
        {"match_all": {"boost": 0}},
        {"match": {"title": {"query": "cat", "boost": 0}}},
        {"constant_score": {"filter": MATCH, "boost": 0}},
        {"multi_match": {"query": "cat", "fields": ["title^0"]}},
        {"multi_match": {"query": "cat", "fields": "title", "boost": 0}},
        {"function_score": {"query": MATCH, "weight": 0}},
        {"boosting": {"positive": MATCH, "negative": MATCH, "negative_boost": 0}},
        {"query_string": {"query": "cat^0"}},
        {"knn": {"field": "v", "query_vector": [1], "boost": 0}},
    ],
)
def test_what_may_have_none_gets_the_least_there_is(query: dict[str, Any]) -> None:
    assert may_be_zero(query)
    assert never_zero(query) == floored(query)


def test_the_least_relevance_and_the_smallest_factor_have_a_product() -> None:
    smallest_normal_float32 = 2.0**-126
    floor = 1e-6
    assert Demotion(floor=floor)
    with pytest.raises(ValueError, match="floor"):
        Demotion(floor=floor / 10)
    assert LEAST * floor >= smallest_normal_float32
    assert LEAST * floor < 2 * smallest_normal_float32


def found(*scores: float | None) -> dict[str, Any]:
    hits = [{"_id": str(number), "_score": score} for number, score in enumerate(scores)]
    return {"total": 3, "max_score": scores[0], "hits": hits}


def test_a_relevance_of_zero_is_reported_as_zero() -> None:
    response = found(0.5, LEAST, LEAST * 1e-6)
    assert with_zeros(response, in_order=True) == found(0.5, 0.0, 0.0)
    assert with_zeros(found(LEAST)) == found(0.0)
    assert response == found(0.5, LEAST, LEAST * 1e-6)


@pytest.mark.parametrize("scores", [(2.0, 0.5), (1.4e-45,), (None, None), (0.0,)])
def test_other_scores_stay_as_they_are(scores: tuple[Any, ...]) -> None:
    assert with_zeros(found(*scores)) == found(*scores)
    hits = found(*scores)
    assert with_zeros(hits, in_order=True) is hits


def test_zeros_in_groups_are_reported_as_zero() -> None:
    group = {"inner_hits": {"rest": {"hits": found(LEAST, None, LEAST)}}}
    response = {"hits": [{"_id": "1", "_score": None, **group}]}
    assert with_zeros(response, in_order=True) == {
        "hits": [
            {"_id": "1", "_score": None, "inner_hits": {"rest": {"hits": found(0.0, None, 0.0)}}}
        ]
    }


def test_a_page_behind_the_last_hit_has_the_highest_score_of_all() -> None:
    response = {"hits": [], "max_score": LEAST}
    assert with_zeros(response, in_order=True) == {"hits": [], "max_score": 0.0}


@pytest.mark.parametrize("nothing", [{}, {"hits": []}, {"total": 3}])
def test_where_there_are_no_hits_there_is_nothing_to_report(nothing: dict[str, Any]) -> None:
    assert with_zeros(nothing, in_order=True) is nothing
