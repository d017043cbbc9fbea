"""Hits that differ from each other: chosen as without a policy, and demoted in their order."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy

INDEX = "test-diversify"
POLICY = load_policy("""\
version: 1
levels:
  moderate: {demote_from: 0.2, unscored: demote}
  strict:   {hide_from: 0.5, unscored: hide}
contexts: [{level: moderate}]
""")
Json = dict[str, Any]
COUNT = 60
FACTOR = 0.1 ** ((0.6 - 0.2) / 0.8)


@pytest.fixture(scope="module", params=[1, 3])
def node(request: pytest.FixtureRequest, elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    vector = {"type": "dense_vector", "dims": 3, "similarity": "l2_norm"}
    vector["index_options"] = {"type": "flat"}
    mappings = {"properties": {**properties, "title": {"type": "text"}, "vector": vector}}
    layout = {"number_of_shards": request.param, "number_of_replicas": 0}
    draw = Random(5)
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(index=INDEX, settings=layout, mappings=mappings)
        operations: list[Json] = []
        for number in range(COUNT):
            document = {
                "title": "cat" + " word" * number,
                "vector": [draw.random() for _ in range(3)],
                "safety": {"probability": 0.1 if number % 3 else 0.6, "status": "scored"},
            }
            operations += [{"index": {"_id": str(number)}}, document]
        client.bulk(index=INDEX, operations=operations, refresh=True)
        yield client
        client.indices.delete(index=INDEX)


MMR: Json = {"type": "mmr", "field": "vector", "lambda": 0.3, "query_vector": [1, 0, 0]}
LEAVES: dict[str, Json] = {
    "standard": {"standard": {"query": {"match": {"title": "cat"}}}},
    "filtered": {"standard": {"query": {"bool": {"filter": {"match": {"title": "cat"}}}}}},
    "knn": {
        "knn": {"field": "vector", "query_vector": [1, 0, 0], "k": 40, "num_candidates": COUNT}
    },
}


@pytest.mark.parametrize(
    "options", [{}, {"size": 5}, {"size": 30, "rank_window_size": 40}], ids=str
)
@pytest.mark.parametrize("leaf", LEAVES)
def test_the_same_hits_by_relevance_times_factor(
    node: Elasticsearch, leaf: str, options: Json
) -> None:
    mmr = {**MMR, **options}
    retriever = {"diversify": {"retriever": LEAVES[leaf], **mmr}}
    plain = node.search(index=INDEX, retriever=retriever, size=COUNT)
    found = SafeSearch(node, POLICY).search(index=INDEX, retriever=retriever, size=COUNT)
    factors = {
        hit["_id"]: FACTOR if hit["_source"]["safety"]["probability"] > 0.2 else 1
        for hit in plain["hits"]["hits"]
    }
    expected = {hit["_id"]: hit["_score"] * factors[hit["_id"]] for hit in plain["hits"]["hits"]}
    scores = {hit["_id"]: hit["_score"] for hit in found["hits"]["hits"]}
    assert scores == pytest.approx(expected, rel=1e-5)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    if leaf == "filtered":
        order = [factors[identifier] for identifier in scores]
        assert order == sorted(order, reverse=True)
    assert found["hits"]["total"] == plain["hits"]["total"]


def test_hidden_documents_leave_no_gap(node: Elasticsearch) -> None:
    mmr = {**MMR, "rank_window_size": 30, "size": 20}
    retriever = {"diversify": {"retriever": LEAVES["knn"], **mmr}}
    found = SafeSearch(node, POLICY, level="strict").search(
        index=INDEX, retriever=retriever, size=COUNT
    )
    hits = found["hits"]["hits"]
    assert len(hits) == 20
    assert {hit["_source"]["safety"]["probability"] for hit in hits} == {0.1}


def test_pages_are_cut_from_one_list(node: Elasticsearch) -> None:
    mmr = {**MMR, "rank_window_size": 30, "size": 20}
    retriever = {"diversify": {"retriever": LEAVES["standard"], **mmr}}
    safe = SafeSearch(node, POLICY)

    def page(start: int, size: int) -> list[str]:
        response = safe.search(index=INDEX, retriever=retriever, from_=start, size=size)
        return [hit["_id"] for hit in response["hits"]["hits"]]

    whole = page(0, 20)
    assert len(whole) == 20
    assert [name for start in range(0, 25, 5) for name in page(start, 5)] == whole
