from __future__ import annotations

from typing import Any

import pytest

from saferank.ranker.decision import Decision
from saferank.ranker.levels import Level
from saferank.ranker.planner import MAX_FETCH, MAX_WINDOW, Experience, Page, Way, choose
from saferank.ranker.requests import Request

MODERATE = Decision(level="moderate", rules=Level(demote_from=0.2, unscored="demote"))
STRICT = Decision(level="strict", rules=Level(hide_from=0.2, unscored="hide"))
QUERY: dict[str, Any] = {"query": {"match": {"title": "cat"}}}


def way(body: dict[str, Any], decision: Decision = MODERATE, **parameters: Any) -> Way:
    return choose(Request(body, parameters), decision, Experience())


def test_without_demotion_there_is_nothing_to_choose() -> None:
    assert way(QUERY, STRICT) is Way.NONE


@pytest.mark.parametrize(
    "part",
    [
        {"sort": ["price"]},
        {"aggs": {}},
        {"search_after": [1]},
        {"pit": {"id": "x"}},
        {"rescore": []},
        {"collapse": {"field": "x"}},
        {"min_score": 1},
        {"knn": {}},
        {"retriever": {}},
        {"explain": True},
        {"profile": True},
        {"terminate_after": 10},
        {"indices_boost": []},
        {"slice": {}},
        {"post_filter": {}},
        {"size": 0},
        {"query": {"bool": {"should": [{"knn": {"field": "v", "query_vector": [1]}}]}}},
        {"query": {"function_score": {"functions": [{"random_score": {}}]}}},
    ],
)
def test_what_needs_all_scores_is_done_in_the_query(part: dict[str, Any]) -> None:
    assert way(QUERY) is Way.WINDOW
    assert way({**QUERY, **part}) is Way.IN_QUERY


def test_parameters_that_need_it_are_done_in_the_query() -> None:
    assert way(QUERY, routing="x") is Way.WINDOW
    assert way(QUERY, scroll="1m") is Way.IN_QUERY
    assert way(QUERY, filter_path="hits.hits._id") is Way.IN_QUERY


def test_the_number_of_shards_decides_who_demotes() -> None:
    experience, request = Experience(), Request(QUERY, {"index": "a"})
    experience.saw_shards("a", 3)
    assert choose(request, MODERATE, experience) is Way.FETCH
    assert choose(Request(QUERY, {"index": "b"}), MODERATE, experience) is Way.WINDOW
    experience.saw_shards("a", 1)
    assert choose(request, MODERATE, experience) is Way.WINDOW


def test_deep_pages_are_done_in_the_query() -> None:
    assert way({**QUERY, "from": MAX_WINDOW // 2}) is Way.WINDOW
    assert way({**QUERY, "from": MAX_WINDOW}) is Way.IN_QUERY
    experience = Experience()
    experience.saw_shards(None, 2)
    deep = Request({**QUERY, "from": MAX_FETCH}, {})
    assert choose(deep, MODERATE, experience) is Way.IN_QUERY


def test_after_three_failures_it_is_tried_only_now_and_then() -> None:
    experience, request = Experience(), Request(QUERY, {"index": "a"})
    for _ in range(3):
        assert choose(request, MODERATE, experience) is Way.WINDOW
        experience.proved("a", "moderate", exact=False)
    ways = [choose(request, MODERATE, experience) for _ in range(100)]
    assert ways[:20] == [Way.IN_QUERY] * 20
    assert ways.count(Way.WINDOW) == 2
    experience.proved("a", "moderate", exact=True)
    assert choose(request, MODERATE, experience) is Way.WINDOW


@pytest.mark.parametrize(
    ("body", "start", "end"),
    [({}, 0, 10), ({"size": 0}, 0, 0), ({"from": 5}, 5, 15), ({"from": 5, "size": 2}, 5, 7)],
)
def test_the_page_of_a_body(body: dict[str, Any], start: int, end: int) -> None:
    assert Page.of(body) == Page(start, end)
