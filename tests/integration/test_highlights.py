"""Highlights of hits, of groups and in aggregations: as the plain request gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy

INDEX = "test-highlights"
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.9, unscored: demote}
  strict:   {hide_from: 0.9, unscored: hide}
contexts: [{level: moderate}]
""")
Json = dict[str, Any]

MATCH: Json = {"match": {"title": "cat"}}
RED: Json = {"match": {"note": "red"}}
NESTED: Json = {"nested": {"path": "parts", "query": {"match": {"parts.title": "cat"}}}}
FIELDS: Json = {"title": {}, "note": {}, "parts.title": {}}
SECTION: Json = {"field": "vector", "query_vector": [1, 1], "k": 4, "num_candidates": 8}
HIGHLIGHT: Json = {"highlight": {"fields": FIELDS}}
GROUPS: Json = {"field": "group", "inner_hits": {"name": "all", "sort": ["group"], **HIGHLIGHT}}
TOP: Json = {"top": {"top_hits": {"size": 8, **HIGHLIGHT}}}
GROUPED: Json = {"groups": {"terms": {"field": "group"}, "aggs": TOP}}


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    vector = {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"}
    mappings = {
        "properties": {
            **properties,
            "title": {"type": "text"},
            "note": {"type": "text"},
            "group": {"type": "keyword"},
            "vector": {**vector, "index_options": {"type": "flat"}},
            "parts": {"type": "nested", "properties": {"title": {"type": "text"}}},
        }
    }
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(index=INDEX, mappings=mappings)
        operations: list[Json] = []
        for number in range(8):
            document = {
                "title": "a cat and a dog" + " more" * number,
                "note": "red cat",
                "group": "ab"[number % 2],
                "vector": [number, 1],
                "parts": [{"title": "cat"}, {"title": "dog"}],
                "safety": {"probability": number / 10, "status": "scored"},
            }
            operations += [{"index": {"_id": str(number)}}, document]
        client.bulk(index=INDEX, operations=operations, refresh=True)
        yield client
        client.indices.delete(index=INDEX)


def highlights(value: Any, path: str = "") -> dict[str, Json]:
    """Each highlight in a response, by the place and the document that it is of."""
    found: dict[str, Json] = {}
    if isinstance(value, list):
        for item in value:
            found |= highlights(item, path)
    elif isinstance(value, dict):
        path += f"{value.get('key', '')}{value.get('_id', '')}"
        for key, item in value.items():
            found |= {path: item} if key == "highlight" else highlights(item, f"{path}.{key}")
    return found


@pytest.mark.parametrize("query", [MATCH, NESTED, {"bool": {"must": [MATCH], "filter": [RED]}}])
@pytest.mark.parametrize("bound", [{}, {"min_score": 0.001}], ids=["free", "bounded"])
@pytest.mark.parametrize("shown", [HIGHLIGHT, {"collapse": GROUPS}, {"aggs": GROUPED}], ids=str)
@pytest.mark.parametrize("level", POLICY.levels)
def test_highlights_are_those_of_the_plain_request(
    node: Elasticsearch, query: Json, bound: Json, shown: Json, level: str
) -> None:
    safe = SafeSearch(node, POLICY, level=level)
    standard = {"query": query, "filter": [{"match": {"note": "cat"}}], **bound}
    requests: list[Json] = [
        {"query": query, **bound, **shown},
        {"query": query, **bound, **shown, "sort": ["group"]},
        {"query": query, "knn": SECTION, **bound, **shown},
        {"retriever": {"standard": standard}, **shown},
    ]
    if "collapse" in shown:
        requests.append({"retriever": {"standard": {**standard, **shown}}})
    for request in requests:
        plain = highlights(node.search(index=INDEX, body=request).body)
        assert plain
        assert highlights(safe.search(index=INDEX, body=request).body) == plain
