from __future__ import annotations

from typing import Any

import pytest

from saferank.ranker.decision import Decision
from saferank.ranker.levels import Level
from saferank.ranker.planner import (
    MAX_FETCH,
    MAX_WINDOW,
    Experience,
    Page,
    Way,
    choose,
    likely_depth,
)
from saferank.ranker.requests import Request

MODERATE = Decision(level="moderate", rules=Level(demote_from=0.2, unscored="demote"))
STRICT = Decision(level="strict", rules=Level(hide_from=0.2, unscored="hide"))
QUERY: dict[str, Any] = {"query": {"match": {"title": "cat"}}}
USUAL = [Way.FETCH, Way.WINDOW, Way.IN_QUERY]


def ways(
    body: dict[str, Any],
    decision: Decision = MODERATE,
    experience: Experience | None = None,
    **parameters: Any,
) -> list[Way]:
    attempts = choose(Request(body, parameters), decision, experience or Experience())
    return [attempt.way for attempt in attempts]


def test_without_demotion_there_is_nothing_to_choose() -> None:
    assert ways(QUERY, STRICT) == [Way.NONE]


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
    assert ways(QUERY) == USUAL
    assert ways({**QUERY, **part}) == [Way.IN_QUERY]


def test_parameters_that_need_it_are_done_in_the_query() -> None:
    assert ways(QUERY, routing="x") == USUAL
    assert ways(QUERY, scroll="1m") == [Way.IN_QUERY]
    assert ways(QUERY, filter_path="hits.hits._id") == [Way.IN_QUERY]


@pytest.mark.parametrize(
    "part",
    [
        {"_source": ["title"]},
        {"_source": False},
        {"stored_fields": ["title"]},
        {"highlight": {"fields": {"title": {}}}},
        {"docvalue_fields": ["price"]},
        {"from": 40},
        {"size": 100},
    ],
)
def test_where_hits_are_costly_the_shard_demotes(part: dict[str, Any]) -> None:
    assert ways({**QUERY, **part}) == [Way.WINDOW, Way.IN_QUERY]


def test_several_shards_cannot_demote_the_best_of_all() -> None:
    experience = Experience()
    experience.saw_shards("a", 3)
    near, deeper, last = choose(Request(QUERY, {"index": "a"}), MODERATE, experience)
    assert (near.way, deeper.way, last.way) == (Way.FETCH, Way.FETCH, Way.IN_QUERY)
    assert deeper.depth == 2 * near.depth
    assert ways(QUERY, experience=experience, index="b") == USUAL
    experience.saw_shards("a", 1)
    assert ways(QUERY, experience=experience, index="a") == USUAL


def test_deep_pages_are_done_in_the_query() -> None:
    assert ways({**QUERY, "from": MAX_WINDOW // 2}) == [Way.WINDOW, Way.IN_QUERY]
    assert ways({**QUERY, "from": MAX_WINDOW}) == [Way.IN_QUERY]
    experience = Experience()
    experience.saw_shards(None, 2)
    assert ways({**QUERY, "from": MAX_FETCH // 2}, experience=experience) == [
        Way.FETCH,
        Way.IN_QUERY,
    ]
    assert ways({**QUERY, "from": MAX_FETCH}, experience=experience) == [Way.IN_QUERY]


def test_after_three_failures_it_is_tried_only_now_and_then() -> None:
    experience = Experience()
    for _ in range(3):
        assert ways(QUERY, experience=experience, index="a") == USUAL
        experience.proved("a", "moderate", exact=False)
    later = [ways(QUERY, experience=experience, index="a") for _ in range(100)]
    assert later[:20] == [[Way.IN_QUERY]] * 20
    assert later.count(USUAL) == 2
    experience.proved("a", "moderate", exact=True)
    assert ways(QUERY, experience=experience, index="a") == USUAL


@pytest.mark.parametrize(
    ("size", "share", "depth"), [(20, 0, 20), (20, 0.2, 30), (20, 0.5, 53), (10, 0.2, 17)]
)
def test_how_far_a_page_reaches(size: int, share: float, depth: int) -> None:
    assert likely_depth(Page(0, size), share) == depth


def test_where_nearly_all_are_demoted_the_depth_is_bounded() -> None:
    assert likely_depth(Page(0, 20), 1.0) < 4000


def test_the_share_of_demoted_hits_is_learned() -> None:
    experience, request = Experience(), Request(QUERY, {"index": "a"})
    guessed = choose(request, MODERATE, experience)[0].depth
    for _ in range(50):
        experience.saw_share("a", "moderate", 0.05)
    assert experience.share("a", "moderate") == pytest.approx(0.05, abs=0.01)
    assert experience.share("a", "strict") == experience.share("b", "moderate") == 0.25
    assert choose(request, MODERATE, experience)[0].depth < guessed
    for _ in range(50):
        experience.saw_share("a", "moderate", 0.8)
    assert ways(QUERY, experience=experience, index="a") == [Way.WINDOW, Way.IN_QUERY]


@pytest.mark.parametrize(
    ("body", "start", "end"),
    [({}, 0, 10), ({"size": 0}, 0, 0), ({"from": 5}, 5, 15), ({"from": 5, "size": 2}, 5, 7)],
)
def test_the_page_of_a_body(body: dict[str, Any], start: int, end: int) -> None:
    assert Page.of(body) == Page(start, end)
