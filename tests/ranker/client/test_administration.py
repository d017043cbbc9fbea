"""Every call of the groups is decided about: one that a new client brings fails these tests."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch

from saferank.errors import UnsafeRequest
from saferank.ranker.client import administration
from saferank.ranker.client.client import AsyncSafeSearch, SafeSearch
from saferank.ranker.policy.load import load_policy

POLICY = load_policy("version: 1\nlevels: {off: {}}\ncontexts: [{level: off}]\n")
SAFE = SafeSearch(Elasticsearch("http://localhost:1"), POLICY)
REFUSED = {
    "cluster": {"allocation_explain", "info", "stats"},
    "indices": {
        "data_streams_stats",
        "disk_usage",
        "field_usage_stats",
        "get_migrate_reindex_status",
        "recovery",
        "rollover",
        "segments",
        "stats",
        "validate_query",
    },
    "ingest": {"simulate"},
}
PASSED = {
    "cluster": administration.CLUSTER,
    "indices": administration.INDICES,
    "ingest": administration.INGEST,
}


@pytest.mark.parametrize("group", PASSED)
def test_every_call_is_handed_on_or_refused(group: str) -> None:
    passed = PASSED[group]
    client = type(getattr(SAFE.client, group))
    calls = {name for name, _ in inspect.getmembers(client) if not name.startswith("_")}
    older = {"unfreeze"} & passed
    assert passed - older == calls - REFUSED[group] - {"perform_request", "transport"}
    assert set(dir(getattr(SAFE, group))) == passed


@pytest.mark.parametrize(
    "call", [f"{group}.{name}" for group, names in REFUSED.items() for name in sorted(names)]
)
def test_what_tells_of_documents_is_refused_with_the_way_out(call: str) -> None:
    group, name = call.split(".")
    with pytest.raises(UnsafeRequest, match=rf"use '\.client\.{call}'") as caught:
        getattr(getattr(SAFE, group), name)
    assert caught.value.key == call


@pytest.mark.parametrize("name", ["perform_request", "transport"])
@pytest.mark.parametrize("group", PASSED)
def test_nothing_sends_a_request_past_the_client(group: str, name: str) -> None:
    with pytest.raises(UnsafeRequest):
        getattr(getattr(SAFE, group), name)


@pytest.mark.parametrize("name", ["_client_", "no_such_call"])
def test_a_call_that_is_none_is_said_to_be_none(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(SAFE.indices, name)


class Recorder:
    """Stands for a group of the Elasticsearch client."""

    def state(self, **arguments: Any) -> dict[str, Any]:
        return arguments

    def health(self, **arguments: Any) -> dict[str, Any]:
        return arguments


@pytest.mark.parametrize(
    ("asked", "sent"), [(None, []), ("metadata", ["metadata"]), (["a", "b"], ["a", "b"])]
)
def test_dates_and_sizes_of_documents_are_left_out(asked: Any, sent: list[str]) -> None:
    safe = SafeSearch(Elasticsearch("http://localhost:1"), POLICY)
    safe.client.cluster = Recorder()  # type: ignore[assignment]
    arguments = {} if asked is None else {"filter_path": asked}
    left_out = ["-" + part for part in administration.CLUSTER_LEFT_OUT["state"]]
    found: Any = safe.cluster.state(index="a", **arguments)
    assert found == {"index": "a", "filter_path": [*sent, *left_out]}
    assert safe.cluster.health(index="a") == {"index": "a"}


async def test_the_asynchronous_client_has_the_same_calls() -> None:
    safe = AsyncSafeSearch(AsyncElasticsearch("http://localhost:1"), POLICY)
    assert inspect.iscoroutinefunction(inspect.unwrap(safe.indices.exists))
    with pytest.raises(UnsafeRequest):
        safe.indices.stats  # noqa: B018
    await safe.client.close()
