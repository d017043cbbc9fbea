from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.cursors import Cursor
from saferank.ranker.rewrite.query import without_hidden
from saferank.ranker.rewrite.tiers import (
    demoted_request,
    joined,
    searched_in_tiers,
    shown_request,
)

MATCH = {"match": {"title": "cat"}}
SORT = [{"price": "asc"}, "_score"]
Json = dict[str, Any]


def answer(total: Any, hits: int = 0, **rest: Any) -> Json:
    found: Json = {"hits": [{"_id": str(number), "sort": [number]} for number in range(hits)]}
    if total is not None:
        found["total"] = total
    return {"took": 2, "timed_out": False, "_shards": {"failed": 0}, "hits": found, **rest}


def exactly(value: int) -> Json:
    return {"value": value, "relation": "eq"}


def at_least(value: int) -> Json:
    return {"value": value, "relation": "gte"}


def request(body: Json, decision: Decision, shown: Json | None = None) -> Json:
    """The first search of a body, or the second where the answer to the first is given."""
    cursor = Cursor.of(body)
    if shown is None:
        return shown_request(body, cursor, decision)
    return demoted_request(body, cursor, shown, decision)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"sort": SORT}, True),
        ({"sort": ({"_score": "asc"},)}, True),
        ({"sort": "price"}, False),
        ({"sort": ["_score", "price"]}, False),
        ({"sort": ["_doc", "_score"]}, False),
        ({}, False),
        ({"sort": SORT, "collapse": {"field": "a"}}, False),
        ({"sort": SORT, "terminate_after": 3}, False),
        ({"sort": SORT, "profile": True}, False),
    ],
    ids=str,
)
def test_which_bodies_are_searched_in_tiers(
    hiding: Decision, demoting: Decision, body: Json, expected: bool
) -> None:
    assert searched_in_tiers(body, demoting, scroll=False) == expected
    assert not searched_in_tiers(body, demoting, scroll=True)
    assert not searched_in_tiers(body, hiding, scroll=False)


def test_both_searches_hide_and_only_one_has_aggregations(demoting: Decision) -> None:
    aggs = {"n": {"max": {"field": "n"}}}
    body = {"query": MATCH, "sort": SORT, "post_filter": MATCH, "aggs": aggs, "size": 5, "from": 8}
    common = {"query": without_hidden(MATCH, demoting), "sort": SORT}
    shown = {"bool": {"must_not": [demoting.demoted]}}
    assert request(body, demoting) == {
        **common,
        "post_filter": {"bool": {"filter": [MATCH, shown]}},
        "aggs": aggs,
        "size": 5,
        "from": 8,
        "track_total_hits": True,
    }
    demoted = {**common, "post_filter": {"bool": {"filter": [MATCH, demoting.demoted]}}}
    for first, place in (
        (answer(exactly(20), hits=5), {"size": 0}),
        (answer(exactly(11), hits=3), {"size": 2, "from": 0}),
        (answer(exactly(6)), {"size": 5, "from": 2}),
        (answer(6), {"size": 5, "from": 2}),
    ):
        assert request(body, demoting, first) == {**demoted, **place}


def test_a_cursor_begins_in_its_tier(demoting: Decision) -> None:
    body = {"sort": SORT, "size": 5}
    in_shown, in_demoted = {"search_after": [1.0, 7, 2]}, {"search_after": [0.5, 7, 2]}
    first = request({**body, **in_shown}, demoting)
    assert first["search_after"] == [7, 2]
    following = request({**body, **in_shown}, demoting, answer(exactly(9), hits=2))
    assert following["size"] == 3
    assert "search_after" not in following
    nothing = request({**body, **in_demoted}, demoting)
    assert nothing["size"] == 0
    assert "search_after" not in nothing
    following = request({**body, **in_demoted}, demoting, answer(exactly(9)))
    assert (following["size"], following["search_after"]) == (5, [7, 2])


@pytest.mark.parametrize("cursor", [[7, 2], [1.0, 7], [1.0, 7, 2, 9], [0.9, 7, 2], ["a", 7, 2], []])
def test_a_cursor_of_something_else_is_refused(demoting: Decision, cursor: list[Any]) -> None:
    with pytest.raises(UnsafeRequest, match="the tier first"):
        request({"sort": SORT, "search_after": cursor}, demoting)


def test_a_cursor_in_a_point_in_time_may_have_its_tie_break(demoting: Decision) -> None:
    body = {"sort": SORT, "search_after": [1.0, 7, 2, 9], "pit": {"id": "x"}}
    assert request(body, demoting)["search_after"] == [7, 2, 9]


@pytest.mark.parametrize(
    ("tracked", "shown", "demoted", "total"),
    [
        ({}, exactly(7), exactly(5), exactly(12)),
        ({}, exactly(9_999), exactly(1), exactly(10_000)),
        ({}, exactly(9_999), exactly(2), at_least(10_000)),
        ({}, at_least(10_000), exactly(2), at_least(10_000)),
        ({}, exactly(2), at_least(10_000), at_least(10_000)),
        ({"track_total_hits": True}, exactly(9_999), exactly(2), exactly(10_001)),
        ({"track_total_hits": "true"}, exactly(9_999), exactly(2), exactly(10_001)),
        ({"track_total_hits": 1}, exactly(1), exactly(1), at_least(1)),
        ({"track_total_hits": 2}, exactly(1), exactly(1), exactly(2)),
        ({"track_total_hits": 3}, exactly(50), at_least(3), at_least(3)),
        ({"track_total_hits": False}, exactly(50), None, None),
        ({}, 7, 5, 12),
    ],
)
def test_the_total_of_both_is_counted_as_far_as_asked_for(
    tracked: Json, shown: Any, demoted: Any, total: Any
) -> None:
    found = joined({"sort": SORT, **tracked}, answer(shown), answer(demoted))
    assert found["hits"].get("total") == total


def test_what_failed_in_either_search_is_said() -> None:
    failed = {"failed": 1}
    for shown, demoted in (({"_shards": failed}, {}), ({}, {"_shards": failed})):
        found = joined({}, answer(exactly(1), **shown), answer(exactly(1), **demoted))
        assert found["_shards"] == failed
    late = joined({}, answer(exactly(1), 1), answer(exactly(1), 1, timed_out=True))
    assert late["timed_out"]
    assert late["took"] == 4
    assert [hit["sort"] for hit in late["hits"]["hits"]] == [[1.0, 0], [0.5, 0]]


def test_that_the_second_search_needed_no_hits_is_not_said() -> None:
    without_hits = answer(exactly(1), terminated_early=False)
    assert "terminated_early" not in joined({"sort": SORT}, answer(exactly(1), 1), without_hits)
    told = joined({"sort": SORT, "size": 0}, without_hits, without_hits)
    assert told["terminated_early"] is False
