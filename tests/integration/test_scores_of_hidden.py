"""A query that chooses documents by their scores computes none of a hidden document.

Where a function cannot have what a document says, the engine fails, and cites it. Two indices are
equal but for their hidden documents; what is answered about one must be answered about the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch

from saferank.errors import UnsafeRequest
from saferank.mappings import add_to_index
from saferank.ranker import SafeSearch, load_policy

Json = dict[str, Any]
WITH, WITHOUT = "test-scores-with", "test-scores-without"
CANARY = 77702
POLICY = load_policy("""\
version: 1
levels:
  off:      {blocked: show}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: strict}]
""")
ALL: Json = {"match_all": {}}
COMMON = {"match": {"title": "common"}}
VECTOR = {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"}


def failing(field: str) -> Json:
    """No function may be negative."""
    large = {"range": {field: {"gte": CANARY}}}
    return {"filter": large, "field_value_factor": {"field": field, "factor": -1}}


BOUNDED: Json = {"function_score": {"functions": [failing("number")], "min_score": 0.5}}
INNER: Json = {
    "function_score": {
        "query": {"function_score": {"query": COMMON, "functions": [failing("number")]}},
        "min_score": 0.001,
    }
}
FAILING_PARTS: Json = {
    "nested": {
        "path": "parts",
        "score_mode": "max",
        "query": {"function_score": {"functions": [failing("parts.number")]}},
    }
}
AROUND_NESTED: Json = {"function_score": {"query": FAILING_PARTS, "min_score": 0.5}}
NESTED: Json = {
    "nested": {
        "path": "parts",
        "query": {"function_score": {"functions": [failing("parts.number")], "min_score": 0.5}},
    }
}


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties: Json = {
        "title": {"type": "text"},
        "number": {"type": "long"},
        "vector": VECTOR,
        "parts": {"type": "nested", "properties": {"number": {"type": "long"}}},
    }
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.delete(index=f"{WITH},{WITHOUT}", ignore_unavailable=True)
        for index in (WITH, WITHOUT):
            client.indices.create(
                index=index,
                settings={"number_of_shards": 1},
                mappings={"properties": properties},
            )
            add_to_index(client, index)
            for number in range(8):
                hidden = number % 3 == 2
                if hidden and index == WITHOUT:
                    continue
                value = CANARY + number if hidden else number
                document = {
                    "title": "common red" if number % 2 else "common",
                    "number": value,
                    "vector": [value / CANARY, 1],
                    "parts": [{"number": value}, {"number": 1}],
                    "safety": {"probability": 0.9 if hidden else 0.1, "status": "scored"},
                }
                client.index(index=index, id=str(number), document=document)
            client.indices.refresh(index=index)
        yield client
        client.indices.delete(index=f"{WITH},{WITHOUT}")


@pytest.fixture(params=["moderate", "strict"])
def safe(request: pytest.FixtureRequest, node: Elasticsearch) -> SafeSearch:
    return SafeSearch(node, POLICY, level=request.param)


def answer(call: Callable[..., Any], index: str, **arguments: Any) -> Json:
    """How many are found and which, or the error."""
    try:
        found = call(index=index, **arguments)
    except ApiError as error:
        return {"error": str(error)}
    return {
        "count": found.get("count"),
        "ids": sorted(hit["_id"] for hit in found.get("hits", {}).get("hits", [])),
        "buckets": [
            value["doc_count"]
            for value in found.get("aggregations", {"none": {"doc_count": 0}}).values()
        ],
    }


def not_(query: Json) -> Json:
    return {"bool": {"must_not": query}}


def bodies(query: Json) -> dict[str, Json]:
    """Places in which a query is run on documents that another clause leaves out."""
    two_of = {"should": [COMMON, query, {"match": {"title": "red"}}], "minimum_should_match": 2}
    neighbours = {"field": "vector", "query_vector": [1, 1], "k": 3, "num_candidates": 9}
    background = {"field": "number", "min_doc_count": 1, "background_filter": not_(query)}
    return {
        "must_not": {"query": not_(query)},
        "beside must": {"query": {"bool": {"must": COMMON, "must_not": query}}},
        "two of": {"query": {"bool": two_of}},
        "filter of a function": {
            "query": not_(
                {
                    "function_score": {
                        "query": COMMON,
                        "functions": [{"filter": query, "weight": 2}],
                        "min_score": 0.001,
                    }
                }
            )
        },
        "sort": {"query": not_(query), "sort": ["number"]},
        "retriever": {"retriever": {"standard": {"query": COMMON, "filter": not_(query)}}},
        "post_filter": {"query": COMMON, "post_filter": not_(query)},
        "rescore": {
            "query": COMMON,
            "rescore": {"window_size": 9, "query": {"rescore_query": not_(query)}},
        },
        "knn": {"knn": {**neighbours, "filter": not_(query)}},
        "aggregation": {"aggs": {"a": {"filter": not_(query)}}},
        "background": {"query": COMMON, "aggs": {"a": {"significant_terms": background}}},
    }


@pytest.mark.parametrize("query", [BOUNDED, INNER, AROUND_NESTED])
@pytest.mark.parametrize("place", list(bodies(ALL)))
def test_no_hidden_document_is_scored(safe: SafeSearch, query: Json, place: str) -> None:
    body = bodies(query)[place]
    found = answer(safe.search, WITH, **body)
    assert found == answer(safe.search, WITHOUT, **body)
    assert str(CANARY)[:4] not in json.dumps(found)
    query = not_(query)
    assert answer(safe.count, WITH, query=query) == answer(safe.count, WITHOUT, query=query)


def test_without_a_policy_the_error_cites_the_document(node: Elasticsearch) -> None:
    cited = f"field value: [{CANARY + 2}.0]"
    assert cited in answer(node.search, WITH, query=not_(BOUNDED))["error"]
    open_level = SafeSearch(node, POLICY, level="off")
    assert cited in answer(open_level.search, WITH, query=not_(BOUNDED))["error"]


def test_a_bound_finds_what_it_should(safe: SafeSearch) -> None:
    score = {"query": COMMON, "field_value_factor": {"field": "number"}, "boost_mode": "replace"}
    query = {"function_score": {**score, "min_score": 4}}
    assert answer(safe.search, WITH, query=query)["ids"] == ["4", "6", "7"]
    assert answer(safe.search, WITH, query=not_(query))["ids"] == ["0", "1", "3"]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"query": NESTED}, "query.nested.query.function_score.min_score"),
        ({"query": not_(NESTED)}, "query.bool.must_not.nested.query.function_score.min_score"),
        (
            {
                "sort": [
                    {
                        "parts.number": {
                            "nested": {"path": "parts", "filter": NESTED["nested"]["query"]}
                        }
                    }
                ]
            },
            "sort.parts.number.nested.filter.function_score.min_score",
        ),
        (
            {
                "aggs": {
                    "n": {
                        "nested": {"path": "parts"},
                        "aggs": {"f": {"filter": NESTED["nested"]["query"]}},
                    }
                }
            },
            "aggs.n.aggs.f.filter.function_score.min_score",
        ),
    ],
)
def test_nested_objects_are_not_chosen_by_scores(safe: SafeSearch, body: Json, key: str) -> None:
    with pytest.raises(UnsafeRequest, match="put it around") as refused:
        safe.search(index=WITH, **body)
    assert refused.value.key == key
