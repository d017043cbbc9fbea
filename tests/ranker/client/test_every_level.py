from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ConnectionError as Unreachable
from elasticsearch import Elasticsearch

from saferank.errors import UnsafeRequest
from saferank.ranker.client.client import SafeSearch
from saferank.ranker.client.every_level import check_request
from saferank.ranker.policy.file import PolicyFile
from saferank.ranker.policy.load import load_policy

POLICY = load_policy("""\
version: 1
levels:
  open:     {blocked: show}
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: off}]
""")
MATCH = {"match": {"title": "cat"}}
KNN = {"field": "v", "query_vector": [1], "k": 3, "num_candidates": 5}
BY_ID = {"more_like_this": {"like": {"_id": "1"}, "fields": ["title"]}}
COMPLETION = {"s": {"prefix": "cat", "completion": {"field": "c"}}}
RESCORER = {
    "rescorer": {
        "retriever": {"standard": {"query": MATCH}},
        "rescore": {"query": {"rescore_query": MATCH}},
    }
}
LATE_SCORE = {"query": MATCH, "sort": ["price", "_score"]}
IN_GROUPS = {**LATE_SCORE, "collapse": {"field": "shop"}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": MATCH, "from_": 3, "sort": ("price",)},
        {"query": {"bool": {"must": [BY_ID]}}},
        {"suggest": COMPLETION},
        {"query": MATCH, "explain": True, "profile": True},
        {"knn": KNN, "query": MATCH, "sort": ["price"]},
        LATE_SCORE,
        {"query": MATCH, "sort": ["price"], "search_after": [3]},
    ],
    ids=[
        "nothing",
        "sorted",
        "by_id",
        "completion",
        "explained",
        "neighbours",
        "late_score",
        "own_cursor",
    ],
)
def test_what_every_level_takes(body: dict[str, Any]) -> None:
    assert check_request(body, POLICY) == {}


def test_the_levels_of_a_file_are_those_that_hold_now(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        "version: 1\nlevels: {late: {demote_from: 0.2, unscored: hide}}\n"
        "contexts: [{level: late}]\n"
    )
    assert check_request(IN_GROUPS, PolicyFile(path)).keys() == {"late"}


@pytest.mark.parametrize(
    ("body", "key", "levels"),
    [
        (IN_GROUPS, "sort", ["moderate"]),
        ({"query": {"unknown": {}}}, "query.unknown", ["open", "off", "moderate", "strict"]),
        (
            {"suggest": {"a": {"text": "cut", "term": {"field": "t", "lowercase": True}}}},
            "suggest.a.term.lowercase",
            ["off", "moderate", "strict"],
        ),
        (
            {"query": {"bool": {"must": [BY_ID, {"unknown": {}}]}}},
            "query.bool.must.1.unknown",
            ["open", "off", "moderate", "strict"],
        ),
        (
            {"query": {"fuzzy": {"title": "cat"}}, "explain": True},
            "explain",
            ["off", "moderate", "strict"],
        ),
    ],
)
def test_which_levels_refuse_and_why(body: dict[str, Any], key: str, levels: list[str]) -> None:
    refused = check_request(body, POLICY)
    assert list(refused) == levels
    assert {error.key for error in refused.values()} == {key}


def test_a_scroll_is_tried_as_one() -> None:
    body = {"retriever": RESCORER}
    assert check_request(body, POLICY) == {}
    assert list(check_request(body, POLICY, scroll=True)) == ["moderate"]


@pytest.fixture
def client() -> Elasticsearch:
    return Elasticsearch("http://127.0.0.1:9", max_retries=0)


@pytest.mark.parametrize("level", ["off", "moderate", "strict"])
def test_a_client_can_refuse_at_every_level_what_any_refuses(
    client: Elasticsearch, level: str
) -> None:
    safe = SafeSearch(client, POLICY, check_all_levels=True).at_level(level)
    for call in (
        lambda: safe.search(index="a", body=IN_GROUPS),
        lambda: safe.search(index="a", **IN_GROUPS),
        lambda: safe.msearch(index="a", searches=[{}, {}, {}, IN_GROUPS]),
        lambda: safe.search(index="a", retriever=RESCORER, scroll="1m"),
    ):
        with pytest.raises(UnsafeRequest, match="at level 'moderate'; this client tries every"):
            call()
    with pytest.raises(UnsafeRequest, match="at level 'open'"):
        safe.count(index="a", query={"unknown": {}})
    with pytest.raises(Unreachable):
        safe.search(index="a", query=MATCH)
    with pytest.raises(Unreachable):
        safe.bind({}).count(index="a", q="cat")


def test_a_client_that_is_not_asked_tries_its_own_level(client: Elasticsearch) -> None:
    with pytest.raises(Unreachable):
        SafeSearch(client, POLICY).search(index="a", body=IN_GROUPS)
