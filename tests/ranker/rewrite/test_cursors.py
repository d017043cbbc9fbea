from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.cursors import Cursor, holders_request, lacks_tier, with_tier
from saferank.ranker.rewrite.query import without_hidden

MATCH = {"match": {"title": "cat"}}
Json = dict[str, Any]


@pytest.mark.parametrize(
    ("sort", "cursor", "expected"),
    [
        (["price"], [3], True),
        ("price", 3, True),
        (["price", {"day": "desc"}], [3, None], True),
        ([{"price": "asc", "day": {"order": "desc", "missing": "_first"}}], [3, 4], True),
        (["price"], [1.0, 3], False),
        (["price", "day"], [3], False),
        (["price", "_score"], [3, 1], False),
        (["price", "_shard_doc"], [3, 1], False),
        ([{"_geo_distance": {"place": [1, 2]}}], [3], False),
        ([{"price": {"nested": {"path": "p"}}}], [3], False),
        ([{"price": {"mode": "max"}}], [3], False),
        ([{"price": {"missing": 7}}], [3], False),
        (["_score"], [3], False),
        (["_doc"], [3], False),
        (["price"], None, False),
    ],
    ids=str,
)
def test_which_cursors_are_plain_values_of_fields(
    hiding: Decision, demoting: Decision, sort: Any, cursor: Any, expected: bool
) -> None:
    body = {"sort": sort, "search_after": cursor}
    assert lacks_tier(body, demoting) == expected
    assert not lacks_tier(body, hiding)
    assert not lacks_tier({**body, "collapse": {"field": "a"}}, demoting)


def test_the_documents_that_have_the_values_are_asked_for(demoting: Decision) -> None:
    day = {"day": {"order": "asc", "format": "yyyy"}}
    body = {
        "query": MATCH,
        "sort": ["price", day, "shelf"],
        "search_after": [3, "2024", None],
        "post_filter": MATCH,
        "min_score": 1,
        "size": 7,
        "highlight": {},
    }
    filters = [
        MATCH,
        {"range": {"price": {"gte": 3, "lte": 3}}},
        {"range": {"day": {"gte": "2024", "lte": "2024", "format": "yyyy"}}},
        {"bool": {"must_not": [{"exists": {"field": "shelf"}}]}},
    ]
    query = {"bool": {"must": [MATCH], "filter": filters}}
    assert holders_request(body, demoting) == {
        "query": without_hidden(query, demoting),
        "min_score": 1,
        "size": 0,
        "track_total_hits": True,
        "aggs": {"demoted": {"filter": demoting.demoted}},
    }


def answer(count: int, demoted: int, **rest: Any) -> Json:
    return {
        "timed_out": False,
        "_shards": {"failed": 0},
        "hits": {"total": {"value": count}},
        "aggregations": {"demoted": {"doc_count": demoted}},
        **rest,
    }


def test_who_has_the_values_tells_the_tier() -> None:
    body = {"sort": ["price"], "search_after": [3], "size": 5}
    assert with_tier(body, answer(1, 0)) == {**body, "search_after": [1.0, 3]}
    assert with_tier(body, answer(2, 2)) == {**body, "search_after": [0.5, 3]}
    assert with_tier(body, answer(0, 0)) is None
    for unsure in (
        answer(2, 1),
        answer(1, 0, timed_out=True),
        answer(1, 0, _shards={"failed": 1}),
        {"error": {"reason": "no date"}},
    ):
        with pytest.raises(UnsafeRequest, match="give the last hit's 'sort'") as caught:
            with_tier(body, unsure)
        assert caught.value.key == "search_after"


def test_a_cursor_of_a_hit_has_its_tier() -> None:
    sort = {"sort": [{"price": "asc", "day": "desc"}]}
    assert Cursor.of(sort) == Cursor([], [])
    assert Cursor.of({**sort, "search_after": [1, 3, 4]}) == Cursor([3, 4], [])
    assert Cursor.of({**sort, "search_after": (0.5, 3, 4)}) == Cursor(None, [3, 4])
