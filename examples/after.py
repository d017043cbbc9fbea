"""The same search page, made safe: the client is another one, and nothing else changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from saferank import SafeSearch, load_policy

POLICY = Path(__file__).with_name("policy.yaml")


def connect(url: str) -> SafeSearch:
    return SafeSearch(Elasticsearch(url), load_policy(POLICY))


def search_page(client: SafeSearch, words: str, page: int = 1) -> dict[str, Any]:
    response = client.search(
        index="photos",
        query={"match": {"title": words}},
        from_=(page - 1) * 20,
        size=20,
        aggs={"tags": {"terms": {"field": "tag"}}},
    )
    return {
        "total": response["hits"]["total"]["value"],
        "titles": [hit["_source"]["title"] for hit in response["hits"]["hits"]],
        "tags": {bucket["key"]: bucket["doc_count"] for bucket in _buckets(response)},
    }


def detail_page(client: SafeSearch, photo: str) -> dict[str, Any]:
    return dict(client.get(index="photos", id=photo)["_source"])


def _buckets(response: Any) -> list[dict[str, Any]]:
    return list(response["aggregations"]["tags"]["buckets"])
