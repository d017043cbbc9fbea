"""Indices in which nothing could be hidden are told from others, whatever is known of them.

A client looks at the indices once in a while. Here they change in between, are named by nobody, or
are reached by roundabout ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch, NotFoundError

from saferank.errors import MappingError
from saferank.mappings import template
from saferank.ranker import AsyncSafeSearch, Policy, SafeSearch, load_policy

POLICY = """\
version: 1
levels:
  off:      {}
  lax:      {hide_from: 0.8, unscored: show}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: moderate}]
"""
LEVELS = ("off", "lax", "moderate", "strict")
Json = dict[str, Any]
PROPERTIES = {
    **template.component_template()["template"]["mappings"]["properties"],
    "title": {"type": "text"},
    "v": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"},
    "c": {"type": "completion"},
}
MAPPED: Json = {"properties": PROPERTIES}
UNSAFE = {name: PROPERTIES[name] for name in ("title", "v", "c")}
WITHOUT: Json = {"dynamic": False, "properties": UNSAFE}
NESTED: Json = {"properties": {**WITHOUT["properties"], "safety": {"type": "nested"}}}
NESTED["properties"]["safety"] |= {"properties": PROPERTIES["safety"]["properties"]}
DOUBLE: Json = {"properties": {**PROPERTIES, "safety": {"properties": {}}}}
DOUBLE["properties"]["safety"]["properties"] = {
    **PROPERTIES["safety"]["properties"],
    "probability": {"type": "double"},
}
DOCUMENTS: dict[str, Json] = {
    "plain": {"probability": 0.01},
    "high": {"probability": 0.95},
    "blocked": {"override": "block"},
    "unscored": {},
}


@pytest.fixture
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        yield client


@pytest.fixture
def policy() -> Policy:
    return load_policy(POLICY)


@pytest.fixture
def make(node: Elasticsearch, index_name: str) -> Iterator[Callable[..., str]]:
    """Makes an index with the documents; its name has the one of the test before a suffix."""
    made = []

    def make(mappings: Json, suffix: str = "", **settings: Any) -> str:
        name = f"{index_name}{suffix}"
        made.append(name)
        node.options(ignore_status=404).indices.delete(index=name)
        node.indices.create(index=name, mappings=mappings, settings=settings)
        for number, (key, safety) in enumerate(DOCUMENTS.items()):
            document = {"title": "cat", "c": "cat", "v": [number, 1], "safety": safety}
            node.index(index=name, id=key, document=document)
        node.indices.refresh(index=name)
        return name

    yield make
    node.indices.delete(index=made, ignore_unavailable=True)


@pytest.fixture(params=["plain", "async"])
def client_of(
    request: pytest.FixtureRequest, node: Elasticsearch, elasticsearch_url: str, policy: Policy
) -> Iterator[Callable[[str], Any]]:
    """A safe client at a level, which keeps what it knows; the asynchronous one is waited for."""
    if request.param == "plain":
        yield lambda level: SafeSearch(node, policy, level=level)
        return
    with asyncio.Runner() as runner:
        plain = AsyncElasticsearch(elasticsearch_url)
        yield lambda level: Awaited(AsyncSafeSearch(plain, policy, level=level), runner)
        runner.run(plain.close())


class Awaited:
    """Calls of an asynchronous client as if it were the plain one."""

    def __init__(self, client: AsyncSafeSearch, runner: asyncio.Runner) -> None:
        self._client, self._runner = client, runner

    def __getattr__(self, name: str) -> Any:
        async def call(arguments: Json) -> Any:
            return await getattr(self._client, name)(**arguments)

        return lambda **arguments: self._runner.run(call(arguments))


QUERY: Json = {"match": {"title": "cat"}}
COMPLETION: Json = {"s": {"prefix": "cat", "completion": {"field": "c"}}}
CALLS: dict[str, Callable[[Any, str], Any]] = {
    "search": lambda client, index: client.search(index=index, query=QUERY),
    "without_source": lambda client, index: client.search(index=index, source=False),
    "filtered": lambda client, index: client.search(index=index, filter_path="hits.hits._id"),
    "aggregated": lambda client, index: client.search(
        index=index, size=0, aggs={"g": {"global": {}, "aggs": {"t": {"top_hits": {}}}}}
    ),
    "sorted": lambda client, index: client.search(index=index, sort=["_doc"]),
    "completed": lambda client, index: client.search(index=index, suggest=COMPLETION),
    "knn": lambda client, index: client.search(
        index=index, knn={"field": "v", "query_vector": [1, 1], "k": 9, "num_candidates": 9}
    ),
    "scroll": lambda client, index: client.search(index=index, scroll="1s", size=1),
    "count": lambda client, index: client.count(index=index, query=QUERY),
    "msearch": lambda client, index: client.msearch(
        searches=[{"index": index}, {"query": QUERY}, {"index": index}, {"size": 0}]
    ),
    "get": lambda client, index: client.get(index=index, id="high"),
    "mget": lambda client, index: client.mget(index=index, ids=["plain", "high"]),
    "termvectors": lambda client, index: client.termvectors(index=index, id="high"),
    "explain": lambda client, index: client.explain(index=index, id="high", query=QUERY),
}


def know(client_of: Callable[[str], Any], index: str) -> dict[str, Any]:
    """A client at each level for each call, every one of which has looked at an index."""
    clients = {f"{call} {level}": client_of(level) for call in CALLS for level in LEVELS}
    for client in clients.values():
        assert client.count(index=index)["count"] >= 1
    return clients


def refuse(clients: dict[str, Any], index: str, named: str) -> None:
    """Every call of every client says which index lacks the fields, and what to do."""
    for name, client in clients.items():
        for _ in range(2):
            with pytest.raises(MappingError, match=f"saferank mapping install {named}"):
                CALLS[name.split()[0]](client, index)


def test_an_alias_that_moves_to_an_index_without_the_fields(
    node: Elasticsearch, make: Callable[..., str], client_of: Any
) -> None:
    old, new = make(MAPPED, "-old"), make(WITHOUT, "-new")
    alias = f"{old}-alias"
    node.indices.put_alias(index=old, name=alias)
    clients = know(client_of, alias)
    remove, add = {"index": old, "alias": alias}, {"index": new, "alias": alias}
    node.indices.update_aliases(actions=[{"remove": remove}, {"add": add}])
    refuse(clients, alias, new)


def test_an_index_that_is_made_anew_without_the_fields(
    make: Callable[..., str], client_of: Any
) -> None:
    index = make(MAPPED)
    clients = know(client_of, index)
    make(WITHOUT)
    refuse(clients, index, index)


@pytest.mark.parametrize("mappings", [WITHOUT, NESTED, DOUBLE], ids=["none", "nested", "double"])
def test_an_index_that_joins_a_pattern(
    make: Callable[..., str], client_of: Any, mappings: Json
) -> None:
    index = make(MAPPED, "-1")
    pattern, other = f"{index[:-2]}-*", f"{index[:-2]}-2"
    # In a nested object nothing is seen, so that all is unscored there and strict finds nothing.
    levels = [level for level in LEVELS if mappings is not NESTED or level != "strict"]
    searches = [{"index": index}, {"size": 50}, {"index": pattern}, {"size": 50}]
    calls = [
        lambda client: client.search(index=pattern, size=50),
        lambda client: client.search(index=pattern, query=QUERY, size=9),  # Other ways to demote.
        lambda client: client.msearch(searches=searches),
    ]
    clients = [(client_of(level), call) for level in levels for call in calls]
    for client, _ in clients:
        assert client.search(index=pattern, size=50)["hits"]["hits"]
    make(mappings, "-2")
    for client, call in clients:
        with pytest.raises(MappingError, match=other):
            call(client)


@pytest.mark.parametrize("level", LEVELS)
def test_a_good_index_that_joins_a_pattern_is_searched(
    make: Callable[..., str], client_of: Any, level: str
) -> None:
    index, client = make(MAPPED, "-1"), client_of(level)
    pattern = f"{index[:-2]}-*"
    before = client.search(index=pattern)["hits"]["total"]["value"]
    make(MAPPED, "-2")
    found = client.search(index=pattern)
    assert found["hits"]["total"]["value"] == len(found["hits"]["hits"]) == 2 * before


@pytest.mark.parametrize("level", ["off", "lax"])
@pytest.mark.parametrize("mappings", [WITHOUT, NESTED, DOUBLE], ids=["none", "nested", "double"])
def test_all_ways_to_an_index_are_looked_at(
    node: Elasticsearch, make: Callable[..., str], client_of: Any, mappings: Json, level: str
) -> None:
    index, client = make(mappings), client_of(level)
    for call in CALLS.values():
        with pytest.raises(MappingError, match=index):
            call(client, index)
    for nobody in (None, "", [], "_all", "*"):
        with pytest.raises(MappingError):
            client.search(index=nobody)
        with pytest.raises(MappingError):
            client.count(index=nobody)
    with pytest.raises(MappingError):
        client.msearch(searches=[{}, {"query": QUERY}])
    point = node.open_point_in_time(index=index, keep_alive="1m")["id"]
    for body in ({"query": QUERY}, {"size": 0}, {"slice": {"id": 0, "max": 2}}):
        with pytest.raises(MappingError, match=index):
            client.search(pit={"id": point}, **body)
        with pytest.raises(MappingError, match=index):
            client.msearch(searches=[{}, {**body, "pit": {"id": point}}])
    node.close_point_in_time(id=point)


@pytest.mark.parametrize("level", ["off", "lax"])
def test_hidden_indices_that_a_pattern_reaches_are_looked_at(
    make: Callable[..., str], client_of: Any, level: str
) -> None:
    index, client = make(MAPPED, "-1"), client_of(level)
    hidden = make(WITHOUT, "-2", **{"index.hidden": True})
    pattern = f"{index[:-2]}-*"
    assert client.search(index=pattern)["hits"]["hits"]
    for wildcards in ("all", ["open", "hidden"], "open,hidden"):
        with pytest.raises(MappingError, match=hidden):
            client.search(index=pattern, expand_wildcards=wildcards)
        with pytest.raises(MappingError, match=hidden):
            client.count(index=pattern, expand_wildcards=wildcards)
        header = {"index": pattern, "expand_wildcards": wildcards}
        with pytest.raises(MappingError, match=hidden):
            client.msearch(searches=[header, {"size": 0}])
        with pytest.raises(MappingError, match=hidden):
            client.open_point_in_time(index=pattern, keep_alive="1m", expand_wildcards=wildcards)


@pytest.mark.parametrize("level", LEVELS)
def test_documents_older_than_the_mapping_are_not_shown_against_their_word(
    node: Elasticsearch, make: Callable[..., str], client_of: Any, level: str
) -> None:
    """The index says that they are unscored, and knows no better until they are stored again."""
    index, client = make(WITHOUT), client_of(level)
    template.add_to_index(node, index)
    for _ in range(2):
        found = client.search(index=index)["hits"]["hits"]
        assert {hit["saferank"]["action"] for hit in found} <= {"shown", "demoted"}
        names = {hit["_id"] for hit in found}
        assert not names & ({"blocked"} if level == "off" else {"blocked", "high"})
        for size in (1, 2, 9):
            scanned = scan(client_of(level), index=index, size=size)
            assert {hit["_id"] for hit in scanned} == names
        (completed,) = client.search(index=index, suggest=COMPLETION)["suggest"]["s"]
        assert {option["_id"] for option in completed["options"]} == names
        docs = client.mget(index=index, ids=[*DOCUMENTS])["docs"]
        assert {doc["_id"] for doc in docs if doc["found"]} == names
        for name in DOCUMENTS:
            assert client.exists(index=index, id=name).body == (name in names)


def scan(client: Any, **search: Any) -> Iterator[Json]:
    """All hits, as the client's own helper reads them: until a page is empty."""
    page = client.search(**search, scroll="1m")
    while page["hits"]["hits"]:
        yield from page["hits"]["hits"]
        page = client.scroll(scroll_id=page["_scroll_id"], scroll="1m")
    client.clear_scroll(scroll_id=page["_scroll_id"])


@pytest.fixture
def sent(node: Elasticsearch, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the requests that the plain client sends."""
    paths: list[str] = []
    send = node.transport.perform_request

    def recording(method: str, target: str, **options: Any) -> Any:
        paths.append(target.partition("?")[0].rpartition("/")[2])
        return send(method, target, **options)

    monkeypatch.setattr(node.transport, "perform_request", recording)
    return paths


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_known_costs_no_request(
    node: Elasticsearch, make: Callable[..., str], policy: Policy, sent: list[str], level: str
) -> None:
    index, safe = make(MAPPED), SafeSearch(node, policy, level=level)
    point = safe.open_point_in_time(index=index, keep_alive="1m")["id"]
    elsewhere = node.open_point_in_time(index=index, keep_alive="1m")["id"]
    for call in (
        lambda: safe.search(index=index, query=QUERY),
        lambda: safe.count(index=index),
        lambda: safe.msearch(searches=[{"index": index}, {}]),
        lambda: safe.search(pit={"id": point}, query=QUERY),
    ):
        sent.clear()
        call()
        assert len(sent) == 1, sent
    for expected in (["_search", "_field_caps", index, "_search"], ["_search"]):
        sent.clear()
        safe.search(pit={"id": elsewhere}, query=QUERY)
        assert sent == expected
    sent.clear()
    safe.get(index=index, id="plain")
    assert sent == ["plain", "_msearch"]
    sent.clear()
    safe.mget(index=index, ids=["plain", "absent"])
    assert sent == ["_mget", "_msearch"]
    node.close_point_in_time(id=point)
    node.close_point_in_time(id=elsewhere)


def test_an_index_that_joins_a_pattern_is_looked_at_once(
    node: Elasticsearch, make: Callable[..., str], policy: Policy, sent: list[str]
) -> None:
    index, safe = make(MAPPED, "-1"), SafeSearch(node, policy)
    pattern = f"{index[:-2]}-*"
    safe.search(index=pattern, query=QUERY)
    make(MAPPED, "-2")
    sent.clear()
    safe.search(index=pattern, query=QUERY)
    assert sent.count("_field_caps") == 1
    sent.clear()
    safe.search(index=pattern, query=QUERY)
    assert sent == ["_search"]


def test_a_missing_index_is_the_applications_to_handle(node: Elasticsearch, policy: Policy) -> None:
    safe = SafeSearch(node, policy)
    for call in CALLS.values():
        try:
            expected: Any = call(node, "test-unmapped-nowhere")
        except NotFoundError as error:
            expected = error
        if isinstance(expected, NotFoundError):
            with pytest.raises(NotFoundError) as caught:
                call(safe, "test-unmapped-nowhere")
            assert caught.value.body == expected.body
