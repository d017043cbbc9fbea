"""Queries as deep as the engine takes them: what is put around them takes nothing away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch

from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy

INDEX = "test-deep-queries"
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: moderate}]
""")
Json = dict[str, Any]
DEEPEST = 30
COUNT = 20

LEAF: Json = {"terms": {"n": list(range(2, COUNT))}}
AROUND: dict[str, Callable[[Json], Json]] = {
    "must": lambda query: {"bool": {"must": query}},
    "filter": lambda query: {"bool": {"filter": [query]}},
    "should": lambda query: {"bool": {"should": [LEAF, query], "minimum_should_match": 2}},
    "dis_max": lambda query: {"dis_max": {"queries": [query]}},
    "constant_score": lambda query: {"constant_score": {"filter": query}},
    "function_score": lambda query: {"function_score": {"query": query}},
    "functions": lambda query: {"function_score": {"functions": [{"filter": query, "weight": 2}]}},
    "boosting": lambda query: {
        "boosting": {"positive": query, "negative": {"match_none": {}}, "negative_boost": 0.5}
    },
}


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    mappings = {"properties": {**properties, "when": {"type": "date"}, "n": {"type": "integer"}}}
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(index=INDEX, mappings=mappings)
        operations: list[Json] = []
        for number in range(COUNT):
            safety = {"probability": number / COUNT, "status": "scored"}
            document = {"when": date(2024, 1, 1 + number), "n": number, "safety": safety}
            operations += [{"index": {"_id": str(number)}}, document]
        client.bulk(index=INDEX, operations=operations, refresh=True)
        yield client
        client.indices.delete(index=INDEX)


def nested(kind: str, depth: int) -> Json:
    query = LEAF
    for _ in range(depth - 1):
        query = AROUND[kind](query)
    return query


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"min_score": 0},
        {"sort": ["n"]},
        {"sort": ["n"], "min_score": 0},
        {"sort": ["_doc"]},
        {"explain": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("level", POLICY.levels)
@pytest.mark.parametrize("kind", AROUND)
def test_a_query_may_be_as_deep_as_without_a_policy(
    node: Elasticsearch, kind: str, level: str, more: Json
) -> None:
    safe = SafeSearch(node, POLICY, level=level)
    query = nested(kind, DEEPEST)
    plain = node.search(index=INDEX, query=query, size=COUNT, **more)
    hidden_from = {"off": 2, "moderate": 0.8, "strict": 0.2}[level]
    expected = {
        hit["_id"]
        for hit in plain["hits"]["hits"]
        if hit["_source"]["safety"]["probability"] < hidden_from
    }
    assert expected
    found = safe.search(index=INDEX, query=query, size=COUNT, **more)
    assert {hit["_id"] for hit in found["hits"]["hits"]} == expected
    assert safe.count(index=INDEX, query=query)["count"] == len(expected)


@pytest.mark.parametrize("level", POLICY.levels)
def test_one_that_is_far_too_deep_is_the_engine_s_to_refuse(
    node: Elasticsearch, level: str
) -> None:
    safe = SafeSearch(node, POLICY, level=level)
    for search, depth in ((node.search, DEEPEST + 1), (safe.search, 2 * DEEPEST)):
        with pytest.raises(BadRequestError) as caught:
            search(index=INDEX, query=nested("dis_max", depth))
        assert "nested depth" in str(caught.value.body)


def test_what_a_deep_query_says_of_its_hits_is_kept(node: Elasticsearch) -> None:
    query: Json = {"range": {"n": {"gte": 5, "_name": "deep"}}}
    for _ in range(DEEPEST - 1):
        query = {"bool": {"must": [query]}}
    found = SafeSearch(node, POLICY).search(index=INDEX, query=query, size=COUNT)
    assert {tuple(hit["matched_queries"]) for hit in found["hits"]["hits"]} == {("deep",)}
