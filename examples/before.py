"""A search page as many applications have it."""

from __future__ import annotations

from typing import Any

from elasticsearch import Elasticsearch


def connect(url: str) -> Elasticsearch:
    return Elasticsearch(url)


def search_page(client: Elasticsearch, words: str, page: int = 1) -> dict[str, Any]:
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


def detail_page(client: Elasticsearch, photo: str) -> dict[str, Any]:
    return dict(client.get(index="photos", id=photo)["_source"])


def _buckets(response: Any) -> list[dict[str, Any]]:
    return list(response["aggregations"]["tags"]["buckets"])
