"""One client for the application, a context for each request, in plain and asynchronous code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elasticsearch.dsl import Search

from saferank import AsyncSafeSearch, SafeSearch, protect


def context_of(headers: Mapping[str, str], *, child: bool) -> dict[str, str]:
    """What the policy may know of a request."""
    context = {"audience": "child" if child else "adult"}
    if chosen := headers.get("x-safe-search"):
        context["requested"] = chosen
    return context


def search(client: SafeSearch, words: str, context: Mapping[str, str]) -> list[dict[str, Any]]:
    response = client.search(index="photos", query={"match": {"title": words}}, context=context)
    return [
        {"title": hit["_source"]["title"], "blurred": hit["saferank"]["blur"]}
        for hit in response["hits"]["hits"]
    ]


async def search_async(
    client: AsyncSafeSearch, words: str, context: Mapping[str, str]
) -> list[str]:
    response = await client.search(
        index="photos", query={"match": {"title": words}}, context=context
    )
    return [hit["_source"]["title"] for hit in response["hits"]["hits"]]


def search_dsl(client: SafeSearch, words: str, context: Mapping[str, str]) -> list[str]:
    query = Search(index="photos").query("match", title=words)
    return [hit.title for hit in protect(query, client, context)]


def page_key(client: SafeSearch, words: str, context: Mapping[str, str]) -> str:
    """The key of a cached page: requests that may see different things never share one."""
    return f"search/{client.cache_key(context)}/{words}"
