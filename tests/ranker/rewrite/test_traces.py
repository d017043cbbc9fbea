from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.traces import asking_all_shards, check_explained, without_traces

QUERY = {
    "type": "BooleanQuery",
    "description": "title:word",
    "time_in_nanos": 7,
    "breakdown": {"next_doc_count": 6},
    "children": [{"type": "TermQuery", "description": "title:word", "time_in_nanos": 5}],
}
SEARCH = {
    "query": [QUERY, QUERY],
    "rewrite_time": 3,
    "collector": [{"name": "Top", "reason": "search_top_hits", "time_in_nanos": 2}],
}
COUNTED = {
    "type": "GlobalAggregator",
    "description": "all",
    "time_in_nanos": 9,
    "breakdown": {"collect_count": 26},
    "debug": {"total_buckets": 3},
    "children": [{"type": "Filter", "description": "inner", "time_in_nanos": 4}],
}
SHARD = {
    "id": "[node][index][0]",
    "shard_id": 0,
    "dfs": {
        "statistics": {"type": "statistics", "time_in_nanos": 1, "breakdown": {}},
        "knn": [{**SEARCH, "vector_operations_count": 12}],
    },
    "searches": [SEARCH],
    "aggregations": [COUNTED],
    "fetch": {"type": "fetch", "time_in_nanos": 8, "debug": {}},
    "new": {"word": 1},
}
TIMES = {"query": [{"time_in_nanos": 14}], "rewrite_time": 3, "collector": [{"time_in_nanos": 2}]}


def answer(**more: Any) -> dict[str, Any]:
    return {"_shards": {"total": 2, "skipped": 1}, "profile": {"shards": [SHARD]}, **more}


@pytest.mark.parametrize("known", [True, False])
def test_of_a_profile_times_are_left(hiding: Decision, known: bool) -> None:
    given = answer(hits={})
    found = without_traces(given, hiding if known else None)
    assert found == {
        "_shards": {"total": 2, "skipped": 0},
        "hits": {},
        "profile": {
            "shards": [
                {
                    "id": "[node][index][0]",
                    "shard_id": 0,
                    "dfs": {"statistics": {"time_in_nanos": 1}, "knn": [TIMES]},
                    "searches": [TIMES],
                    "aggregations": [
                        {
                            "description": "all",
                            "time_in_nanos": 9,
                            "children": [{"description": "inner", "time_in_nanos": 4}],
                        }
                    ],
                    "fetch": {"time_in_nanos": 8},
                }
            ]
        },
    }
    assert given == answer(hits={})


def test_a_shard_that_found_nothing_has_less_to_tell(hiding: Decision) -> None:
    found = without_traces({"profile": {"shards": [{"id": "a"}]}}, hiding)
    assert found == {"profile": {"shards": [{"id": "a", "searches": [], "aggregations": []}]}}


def test_where_nothing_is_hidden_an_answer_stays_as_it_is(open_level: Decision) -> None:
    given = answer()
    assert without_traces(given, open_level) is given


def test_an_answer_without_traces_stays_as_it_is(hiding: Decision) -> None:
    given = {"_shards": {"skipped": 0}, "hits": {}}
    assert without_traces(given, hiding) is given


def test_a_profile_is_of_all_shards(hiding: Decision, open_level: Decision) -> None:
    assert asking_all_shards({"profile": True}, hiding) == {"pre_filter_shard_size": 2**31 - 1}
    assert asking_all_shards({"profile": False}, hiding) == {}
    assert asking_all_shards({"profile": True}, open_level) == {}


EXPANDED: list[tuple[str, Any]] = [
    ("fuzzy", {"fuzzy": {"title": "cat"}}),
    ("fuzziness", {"bool": {"must": ({"match": {"title": {"query": "c", "fuzziness": 1}}},)}}),
    ("rewrite", {"prefix": {"title": {"value": "c", "rewrite": "scoring_boolean"}}}),
    ("phrase_prefix", {"multi_match": {"query": "c", "type": "phrase_prefix"}}),
    ("query_string", {"query_string": {"query": "cat~"}}),
    ("query_string", {"query_string": {"query": "title:c* OR [a TO b]"}}),
    ("query_string", {"query_string": {"query": "when:>2020"}}),
    ("query_string", {"query_string": {"query": "_exists_:when"}}),
    ("query_string", {"query_string": {"query": "when: *"}}),
    ("simple_query_string", [{"simple_query_string": {"query": "cat~1"}}]),
    ("range", {"bool": {"filter": [{"range": {"when": {"gte": 1}}}]}}),
    ("exists", {"exists": {"field": "when"}}),
]


@pytest.mark.parametrize(("what", "query"), EXPANDED)
def test_what_expands_is_not_explained(
    hiding: Decision, open_level: Decision, what: str, query: Any
) -> None:
    with pytest.raises(UnsafeRequest, match=f"with '{what}' it tells words or values of hidden"):
        check_explained({"query": query}, "explain", hiding)
    check_explained({"query": query}, "explain", open_level)


def test_what_stays_as_it_is_written_is_explained(hiding: Decision) -> None:
    for query in (
        {"match": {"title": "~ rewrite"}},
        {"prefix": {"title": "c"}},
        {"query_string": {"query": "title:c* OR *:*"}},
        {"multi_match": {"query": "c", "type": "bool_prefix"}},
    ):
        check_explained({"query": query, "size": 3}, "explain", hiding)
