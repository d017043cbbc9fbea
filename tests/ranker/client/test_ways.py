from __future__ import annotations

import math
from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import Page
from saferank.ranker.client.arguments import parse_request
from saferank.ranker.client.ways import (
    MAX_FETCH,
    MAX_WINDOW,
    Experience,
    Way,
    choose,
    depth_for,
)
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Level

MODERATE = Decision.of(level_name="moderate", level=Level(demote_from=0.2, unscored="demote"))
STRICT = Decision.of(level_name="strict", level=Level(hide_from=0.2, unscored="hide"))
QUERY: dict[str, Any] = {"query": {"match": {"title": "cat"}}}
USUAL = [Way.WINDOW, Way.WINDOW, Way.IN_QUERY]


def ways(
    body: dict[str, Any],
    decision: Decision = MODERATE,
    experience: Experience | None = None,
    **parameters: Any,
) -> list[Way]:
    attempts = choose(
        parse_request({"body": body, **parameters}), decision, experience or Experience()
    )
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
        {"knn": {}, "query": None},
        {"knn": {"field": "v", "inner_hits": {}}},
        {"knn": [{}, {"inner_hits": {}}]},
        {"retriever": {}},
        {"explain": True},
        {"profile": True},
        {"terminate_after": 10},
        {"indices_boost": []},
        {"slice": {}},
        {"post_filter": {}},
        {"size": 0},
        {"size": "0"},
        {"size": -1},
        {"from": -20, "size": 10},
        {"query": {"bool": {"should": [{"knn": {"field": "v", "query_vector": [1]}}]}}},
        {"query": {"function_score": {"functions": [{"random_score": {}}]}}},
    ],
)
def test_what_needs_all_scores_is_done_in_the_query(part: dict[str, Any]) -> None:
    assert ways(QUERY) == USUAL
    assert ways({**QUERY, **part}) == [Way.IN_QUERY]


def test_neighbours_beside_a_query_are_looked_at_once_from_above() -> None:
    body = {**QUERY, "knn": {"field": "v"}}
    assert ways(body) == [Way.FETCH, Way.IN_QUERY]
    assert ways({**body, "from": MAX_FETCH}) == [Way.IN_QUERY]
    assert ways({**body, "sort": ["price"]}) == [Way.IN_QUERY]


def test_parameters_that_need_it_are_done_in_the_query() -> None:
    assert ways(QUERY, routing="x") == USUAL
    assert ways(QUERY, scroll="1m") == [Way.IN_QUERY]


def test_several_shards_cannot_demote_the_best_of_all() -> None:
    experience = Experience()
    experience.saw_shards("a", 3)
    attempts = list(choose(parse_request({"body": QUERY, "index": "a"}), MODERATE, experience))
    assert attempts == [
        (Way.FETCH, 20, 1, 0),
        (Way.FETCH, 40, 4, 1),
        (Way.IN_QUERY, 0, 0, 0),
    ]
    assert ways(QUERY, experience=experience, index="b") == USUAL
    experience.saw_shards("a", 1)
    assert ways(QUERY, experience=experience, index="a") == USUAL


def test_shards_that_the_first_attempt_found_are_known_to_the_second() -> None:
    experience = Experience()
    attempts = choose(parse_request({"body": QUERY, "index": "a"}), MODERATE, experience)
    assert next(attempts).way is Way.WINDOW
    experience.saw_shards("a", 2)
    assert [attempt.way for attempt in attempts] == [Way.FETCH, Way.IN_QUERY]


def test_deep_pages_are_done_in_the_query() -> None:
    assert ways({**QUERY, "from": MAX_WINDOW // 2}) == [Way.WINDOW, Way.IN_QUERY]
    assert ways({**QUERY, "from": MAX_WINDOW // 3}) == [Way.WINDOW, Way.WINDOW, Way.IN_QUERY]
    assert ways({**QUERY, "from": MAX_WINDOW // 10}) == USUAL
    assert ways({**QUERY, "from": MAX_WINDOW}) == [Way.IN_QUERY]
    experience = Experience()
    experience.saw_shards(None, 2)
    assert ways({**QUERY, "from": MAX_FETCH // 2}, experience=experience) == [
        Way.FETCH,
        Way.IN_QUERY,
    ]
    assert ways({**QUERY, "from": MAX_FETCH}, experience=experience) == [Way.IN_QUERY]


def depths(experience: Experience) -> list[int]:
    request = parse_request({"body": QUERY, "index": "a"})
    return [attempt.depth for attempt in choose(request, MODERATE, experience)]


def test_after_three_failures_a_step_is_tried_only_now_and_then() -> None:
    experience = Experience()
    near, further, furthest = 20, 40, 80
    for _ in range(3):
        assert depths(experience) == [near, further, 0]
        experience.proved("a", "moderate", 0, exact=False)
    later = [depths(experience) for _ in range(100)]
    assert later[:20] == [[further, furthest, 0]] * 20
    assert later.count([near, further, 0]) == 2
    for _ in range(3):
        experience.proved("a", "moderate", 1, exact=False)
    assert depths(experience) == [furthest, 0]
    for _ in range(3):
        experience.proved("a", "moderate", 2, exact=False)
    assert depths(experience) == [0]
    assert ways(QUERY, experience=experience, index="b") == USUAL
    experience.proved("a", "moderate", 0, exact=True)
    assert depths(experience) == [near, 0]


@pytest.mark.parametrize(
    ("page", "expected"),
    [(Page(0, 1), 4), (Page(0, 20), 36), (Page(80, 100), 154)],
)
def test_how_far_to_look_for_a_page(page: Page, expected: int) -> None:
    assert depth_for(page) == expected


@pytest.mark.parametrize(
    ("body", "start", "end"),
    [({}, 0, 10), ({"size": 0}, 0, 0), ({"from": 5}, 5, 15), ({"from": 5, "size": 2}, 5, 7)],
)
def test_the_page_of_a_body(body: dict[str, Any], start: int, end: int) -> None:
    assert Page.of(body) == Page(start, end)


@pytest.mark.parametrize("odd", [math.nan, math.inf, 10**400, 2**31, "many", [], {}, b"x"])
@pytest.mark.parametrize("key", ["from", "size"])
def test_a_page_of_whole_numbers_only(key: str, odd: Any) -> None:
    with pytest.raises(UnsafeRequest) as refused:
        Page.of({key: odd})
    assert refused.value.key == key
