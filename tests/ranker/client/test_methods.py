"""What an asynchronous client may put into an address; nothing listens where these calls go."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from elastic_transport import ConnectionError as NothingListens
from elasticsearch import AsyncElasticsearch, Elasticsearch
from opensearchpy import AsyncOpenSearch

from saferank.errors import UnsafeRequest
from saferank.ranker.client.client import AsyncSafeSearch, SafeSearch
from saferank.ranker.policy.load import load_policy

POLICY = load_policy("version: 1\nlevels: {off: {}}\ncontexts: [{level: off}]\n")
NOWHERE = "http://localhost:1"
CALLS: dict[str, tuple[str, Callable[[AsyncSafeSearch], Awaitable[Any]]]] = {
    "delete": ("id", lambda safe: safe.delete(index="wares", id="..")),
    "index": ("id", lambda safe: safe.index(index="wares", id=".", document={})),
    "get": ("index", lambda safe: safe.get(index="..", id="1")),
    "update": ("id", lambda safe: safe.update(index="wares", id="..", doc={})),
    "count": ("index", lambda safe: safe.count(index="..")),
    "search in a list": ("index", lambda safe: safe.search(index=[".."])),
    "alias": ("name", lambda safe: safe.indices.delete_alias(index="wares", name="..")),
    "left out": ("index", lambda safe: safe.cluster.state(metric="_all", index="..")),
}


async def asked(
    client: Any, call: Callable[[AsyncSafeSearch], Awaitable[Any]]
) -> BaseException | None:
    """The error that a call ends in."""
    async with AsyncSafeSearch(client, POLICY) as safe:
        try:
            await call(safe)
        except Exception as error:
            return error
    return None


@pytest.mark.parametrize("name", CALLS)
def test_dots_are_no_part_of_an_address(name: str) -> None:
    part, call = CALLS[name]
    error = asyncio.run(asked(AsyncElasticsearch(NOWHERE), call))
    assert isinstance(error, UnsafeRequest)
    assert error.key == part
    assert "step in the path" in error.reason


def test_dots_are_no_part_of_an_address_of_opensearch() -> None:
    client: Any = AsyncOpenSearch(NOWHERE)
    error = asyncio.run(asked(client, CALLS["delete"][1]))
    assert isinstance(error, UnsafeRequest)


@pytest.mark.parametrize("id", ["...", "..a", "a/..", "%2E%2E"])
def test_other_ids_with_dots_are_sent(id: str) -> None:
    error = asyncio.run(
        asked(AsyncElasticsearch(NOWHERE), lambda safe: safe.delete(index="wares", id=id))
    )
    assert isinstance(error, NothingListens)


def test_the_plain_client_takes_any_id() -> None:
    with pytest.raises(NothingListens), SafeSearch(Elasticsearch(NOWHERE), POLICY) as safe:
        safe.delete(index="wares", id="..")


def test_a_call_that_is_handed_on_keeps_its_signature() -> None:
    client = AsyncElasticsearch(NOWHERE)
    safe = AsyncSafeSearch(client, POLICY)
    assert inspect.signature(safe.delete) == inspect.signature(client.delete)
    assert inspect.iscoroutinefunction(safe.delete)
