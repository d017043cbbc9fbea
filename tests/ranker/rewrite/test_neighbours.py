from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.limits import Limits
from saferank.ranker.rewrite.neighbours import (
    as_section,
    carry_over,
    nearest_request,
    neighbours_query,
)
from saferank.ranker.rewrite.query import safe_knn

KNN: dict[str, Any] = {"field": "v", "query_vector": [1], "k": 3, "num_candidates": 5}
MATCH = {"match": {"title": "cat"}}
SORTED = {"knn": KNN, "sort": ["price"]}


def hit(name: str, score: float | None = 1.0, index: str = "i", **parts: Any) -> dict[str, Any]:
    return {"_index": index, "_id": name, "_score": score, **parts}


def one(index: str, *names: str) -> dict[str, Any]:
    return {"bool": {"filter": [{"term": {"_index": index}}, {"terms": {"_id": list(names)}}]}}


def test_the_neighbours_are_searched_for_among_the_visible_documents(demoting: Decision) -> None:
    shared = {"runtime_mappings": {"x": {"type": "keyword"}}, "timeout": "1s", "pit": {"id": "p"}}
    rest = {"size": 50, "aggs": {}, "post_filter": MATCH, "min_score": 1, "query": MATCH}
    assert nearest_request({**SORTED, **shared, **rest}, demoting) == {
        **shared,
        "knn": [safe_knn(KNN, "knn", demoting)],
        "size": 3,
        "_source": False,
        "track_total_hits": False,
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": MATCH},
        {"knn": None},
        {"knn": KNN},
        {"knn": [KNN, KNN], "aggs": {}},
        {"knn": KNN, "sort": [{"_score": "desc"}]},
        {"retriever": {"knn": KNN}},
        {"retriever": {"standard": {}}},
        {"retriever": "x"},
    ],
)
def test_most_requests_need_no_search_before(demoting: Decision, body: dict[str, Any]) -> None:
    assert nearest_request(body, demoting) is None


def test_where_nothing_is_demoted_only_groups_need_one(
    hiding: Decision, open_level: Decision
) -> None:
    groups = {"knn": KNN, "collapse": {"field": "g", "inner_hits": {"name": "a"}}}
    assert nearest_request(SORTED, hiding) is None
    assert nearest_request({**groups, "query": MATCH}, hiding) is None
    assert nearest_request(groups, hiding) is not None
    assert nearest_request(groups, open_level) is None


def test_a_number_left_out_is_that_of_the_page(demoting: Decision) -> None:
    bare = {"field": "v", "query_vector": [1]}
    for size, number in (({}, 10), ({"size": 4}, 4), ({"size": 4, "from": 8}, 4)):
        request = nearest_request({"knn": [bare, KNN], "sort": ["price"], **size}, demoting)
        assert request is not None
        assert [search["k"] for search in request["knn"]] == [number, 3]
        assert request["size"] == number + 3


def test_more_than_a_page_holds_are_found_page_by_page(demoting: Decision) -> None:
    limits = Limits(result_window=2)
    first = nearest_request(SORTED, demoting, limits=limits)
    assert first is not None
    assert first["size"] == 2
    found = [hit("a"), hit("b")]
    second = nearest_request(SORTED, demoting, limits=limits, found=found)
    exclusion = {"bool": {"must_not": [{"bool": {"should": [one("i", "a", "b")]}}]}}
    assert second == {**first, "size": 1, "post_filter": exclusion}
    found = [*found, hit("c")]
    assert nearest_request(SORTED, demoting, limits=limits, found=found) is None


def test_what_cannot_be_made_safe_is_refused_before(demoting: Decision) -> None:
    wrapper = {"wrapper": {"query": "e30="}}
    for body, key in (
        ({"knn": {**KNN, "filter": wrapper}, "sort": ["x"]}, "knn.filter.0.wrapper"),
        ({"retriever": {"knn": {**KNN, "filter": wrapper}}}, "retriever.knn.filter.0.wrapper"),
    ):
        with pytest.raises(UnsafeRequest) as caught:
            nearest_request(body, demoting, scroll=True)
        assert caught.value.key == key


def test_the_query_gives_each_document_the_score_it_had() -> None:
    nearest = [hit("a", 0.75), hit("a", 0.5, index="j"), hit("b", None)]
    clauses = [
        {"constant_score": {"filter": one("i", "a"), "boost": 0.75}},
        {"constant_score": {"filter": one("j", "a"), "boost": 0.5}},
    ]
    assert neighbours_query(nearest) == {"bool": {"should": clauses}}
    assert neighbours_query(nearest, MATCH) == {"bool": {"should": [*clauses, MATCH]}}
    assert neighbours_query([], MATCH) == {"bool": {"should": [MATCH]}}
    assert neighbours_query([]) == {"match_none": {}}


def test_a_retriever_of_neighbours_is_a_section() -> None:
    body = {"retriever": {"knn": {**KNN, "min_score": 3}}, "size": 5}
    assert as_section(body) == {"knn": KNN, "size": 5}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"knn": KNN},
        {"retriever": {"standard": {}}},
        {"retriever": {"knn": {**KNN, "unknown": 1}}},
        {"retriever": {"knn": KNN}, "sort": ["price"]},
        {"retriever": {"knn": KNN}, "query": MATCH},
        {"retriever": []},
    ],
)
def test_other_retrievers_stay_as_they_are(body: dict[str, Any]) -> None:
    assert as_section(body) is body


def test_what_was_said_of_a_neighbour_is_said_of_the_hit() -> None:
    parts = {"parts": {"hits": {}}}
    nearest = [
        hit("a", inner_hits=parts, matched_queries=["near"]),
        hit("b", matched_queries={"near": 0.5}),
        hit("c"),
    ]
    hits = [
        hit("b", matched_queries={"cat": 2.0}),
        hit("a", inner_hits={"group": {}}, matched_queries=["cat"]),
        hit("a", index="other"),
        hit("c"),
    ]
    carry_over(hits, nearest)
    assert hits == [
        hit("b", matched_queries={"near": 0.5, "cat": 2.0}),
        hit("a", inner_hits={**parts, "group": {}}, matched_queries=["cat", "near"]),
        hit("a", index="other"),
        hit("c"),
    ]
