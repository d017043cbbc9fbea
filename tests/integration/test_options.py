"""Options of the transport, for a client or for one call, are taken as the plain client does."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch, NotFoundError
from elasticsearch.dsl import Document, MultiSearch, Search
from pydantic import BaseModel, ConfigDict

from saferank.mappings import template
from saferank.ranker import AsyncSafeSearch, Policy, SafeSearch, load_policy, protect

INDEX = "test-options"
POLICY = """\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: moderate}]
"""
LEVELS = ("off", "moderate", "strict")
ALIAS = f"{INDEX}-alias"
DOCUMENTS: dict[str, dict[str, Any]] = {
    "plain": {"probability": 0.01},
    "blocked": {"override": "block"},
    "9000417": {"override": "block"},
}
QUERY = {"match": {"title": "cat"}}
Read = Callable[[Any, str], Any]


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        properties = template.component_template()["template"]["mappings"]["properties"]
        mappings = {"properties": {**properties, "title": {"type": "text"}}}
        client.indices.create(index=INDEX, mappings=mappings, aliases={ALIAS: {}})
        for name, safety in DOCUMENTS.items():
            client.index(index=INDEX, id=name, document={"title": "cat", "safety": safety})
        client.indices.refresh(index=INDEX)
        yield client
        client.indices.delete(index=INDEX)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(POLICY)


@pytest.fixture(scope="module")
def safe(node: Elasticsearch, policy: Policy) -> SafeSearch:
    return SafeSearch(node, policy)


# What a call that has to do with documents can be asked for, by its arguments.
CALLS: dict[str, dict[str, Any]] = {
    "search": {"index": INDEX, "query": QUERY},
    "count": {"index": INDEX, "query": QUERY},
    "msearch": {"index": INDEX, "searches": [{}, {"query": QUERY}]},
    "open_point_in_time": {"index": INDEX, "keep_alive": "1s"},
    "get": {"index": INDEX, "id": "plain"},
    "get_source": {"index": INDEX, "id": "plain"},
    "exists": {"index": INDEX, "id": "plain"},
    "exists_source": {"index": INDEX, "id": "plain"},
    "mget": {"index": INDEX, "ids": ["plain"]},
    "explain": {"index": INDEX, "id": "plain", "query": QUERY},
    "termvectors": {"index": INDEX, "id": "plain", "fields": ["title"]},
    "mtermvectors": {"index": INDEX, "ids": ["plain"], "fields": ["title"]},
    "update": {"index": INDEX, "id": "plain", "doc": {"title": "cat"}},
    "bulk": {"index": INDEX, "operations": [{"update": {"_id": "plain"}}, {"doc": {}}]},
    "delete": {"index": INDEX, "id": "absent", "ignore": 404},
}
PER_CALL: dict[str, Any] = {
    "request_timeout": 30,
    "headers": {"x-trace": "7"},
    "opaque_id": "page-7",
    "ignore": [404],
    "params": {"request_timeout": 30, "human": True},
}


@pytest.mark.filterwarnings("ignore:The 'params' parameter:DeprecationWarning")
@pytest.mark.parametrize("option", PER_CALL)
@pytest.mark.parametrize("call", CALLS)
def test_every_call_takes_options_of_its_own(safe: SafeSearch, call: str, option: str) -> None:
    arguments = {**CALLS[call], option: PER_CALL[option]}
    with pytest.warns(DeprecationWarning, match="options"):
        plain = getattr(safe.client, call)(**arguments)
    with pytest.warns(DeprecationWarning, match="options"):
        answer = getattr(safe, call)(**arguments)
    assert type(answer) is type(plain)
    assert bool(answer) == bool(plain)


def test_an_option_of_one_call_is_sent_with_that_call(safe: SafeSearch) -> None:
    sent: list[dict[str, Any]] = []
    send = safe.client.transport.perform_request

    def recording(*arguments: Any, **options: Any) -> Any:
        sent.append(options)
        return send(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safe.client.transport, "perform_request", recording)
        with pytest.warns(DeprecationWarning, match="options"):
            safe.search(index=INDEX, request_timeout=17, opaque_id="page-7")
        safe.search(index=INDEX)
    asked, unasked = sent[-2:]
    assert (asked["request_timeout"], asked["headers"]["x-opaque-id"]) == (17, "page-7")
    assert asked["request_timeout"] != unasked["request_timeout"]
    assert "x-opaque-id" not in unasked["headers"]


def test_an_async_call_takes_options_of_its_own(elasticsearch_url: str, policy: Policy) -> None:
    async def read() -> tuple[Any, Any]:
        async with AsyncSafeSearch(AsyncElasticsearch(elasticsearch_url), policy) as client:
            found = await client.search(index=INDEX, request_timeout=30)
            return found, await client.get(index=INDEX, id="blocked", ignore=404)

    with pytest.warns(DeprecationWarning, match="options"):
        found, missing = asyncio.run(read())
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["plain"]
    assert missing.body == {"_index": INDEX, "_id": "blocked", "found": False}


def test_the_same_argument_is_not_given_twice(safe: SafeSearch) -> None:
    with pytest.raises(TypeError, match="'size' is given twice"):
        safe.search(index=INDEX, size=3, params={"size": 4})


def test_a_call_without_options_does_not_warn(safe: SafeSearch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert safe.search(index=INDEX)["hits"]["total"]["value"] == 1


def test_dsl_searches_take_options_as_params(safe: SafeSearch) -> None:
    search = protect(Search(index=INDEX).query("match", title="cat"), safe)
    many = protect(MultiSearch(index=INDEX).add(search).params(request_timeout=30), safe)
    search = search.params(request_timeout=30)
    ways: list[Callable[[], Any]] = [search.execute, lambda: many.execute()[0]]
    for way in ways:
        with pytest.warns(DeprecationWarning, match="options"):
            found = list(way())
        assert [hit.meta.id for hit in found] == ["plain"]
    assert [hit.meta.id for hit in search.scan()] == ["plain"]


class Photo(Document):
    class Index:
        name = INDEX


@pytest.mark.parametrize("name", ["blocked", "absent"])
def test_a_dsl_document_that_is_not_to_be_seen_is_none(safe: SafeSearch, name: str) -> None:
    with pytest.warns(DeprecationWarning, match="options"):
        assert Photo.get(name, using=safe, ignore=404) is None
    assert Photo.get(name, using=safe.options(ignore_status=404)) is None


class Retriever(BaseModel):
    """Takes a client as langchain-elasticsearch and others do that check what they are given."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    client: Elasticsearch | AsyncElasticsearch


def test_libraries_that_insist_on_a_client_take_a_safe_one(
    safe: SafeSearch, policy: Policy
) -> None:
    awaited = AsyncSafeSearch(AsyncElasticsearch("http://localhost:1"), policy)
    for client, other in ((safe, AsyncElasticsearch), (awaited, Elasticsearch)):
        bound = client.bind({"requested": "off"})
        assert Retriever(client=bound).client is bound
        assert not isinstance(client, other)
        assert type(bound) is type(client)
    assert isinstance(safe, SafeSearch)


def test_libraries_that_add_headers_of_their_own_can(node: Elasticsearch, policy: Policy) -> None:
    """As langchain-elasticsearch makes a client its own."""
    client = SafeSearch(node.options(headers={"x-trace": "7"}), policy)
    headers = dict(client._headers)
    headers["user-agent"] = "langchain-py-r/1"
    own = client.options(headers=headers)
    assert own.client._headers["x-trace"] == "7"
    assert own.search(index=INDEX)["saferank"]["level"] == "moderate"


READS: dict[str, Read] = {
    "get": lambda client, name: client.get(index=INDEX, id=name),
    "get_versioned": lambda client, name: client.get(index=INDEX, id=name, version=77),
    "get_filtered": lambda client, name: client.get(index=INDEX, id=name, filter_path="_source"),
    "get_by_alias": lambda client, name: client.get(index=ALIAS, id=name),
    "get_source": lambda client, name: client.get_source(index=INDEX, id=name),
    "get_source_by_alias": lambda client, name: client.get_source(index=ALIAS, id=name),
    "exists": lambda client, name: client.exists(index=INDEX, id=name),
    "exists_versioned": lambda client, name: client.exists(index=INDEX, id=name, version=77),
    "exists_source": lambda client, name: client.exists_source(index=INDEX, id=name),
    "mget": lambda client, name: client.mget(index=INDEX, ids=[name]),
    "mget_by_alias": lambda client, name: client.mget(index=ALIAS, ids=[name]),
    "mget_filtered": lambda client, name: client.mget(
        index=INDEX, ids=[name], filter_path="docs._source"
    ),
    "mget_versioned": lambda client, name: client.mget(
        docs=[{"_index": INDEX, "_id": name, "version": 77}]
    ),
    "explain": lambda client, name: client.explain(index=INDEX, id=name, query=QUERY),
    "explain_by_alias": lambda client, name: client.explain(index=ALIAS, id=name, query=QUERY),
    "termvectors": lambda client, name: client.termvectors(index=INDEX, id=name),
    "termvectors_by_alias": lambda client, name: client.termvectors(index=ALIAS, id=name),
    "mtermvectors": lambda client, name: client.mtermvectors(index=INDEX, ids=[name]),
    "mtermvectors_filtered": lambda client, name: client.mtermvectors(
        index=INDEX, ids=[name], fields=["title"], filter_path="docs.term_vectors"
    ),
}
IGNORED = [(), 404, (404,), [400, 404, 409], range(400, 500)]


def outcome(read: Read, client: Any, name: Any) -> Any:
    """What a read gives or raises, with the document's own name taken out."""
    try:
        result = read(client, name)
        told: Any = [type(result).__name__, result.meta.status, getattr(result, "body", None)]
    except NotFoundError as error:
        told = [error.status_code, error.message, error.body]
    text = json.dumps(told, sort_keys=True, default=str).replace(str(name), "NAME")
    return json.loads(text, object_hook=without_time)


def without_time(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != "took"}


@pytest.mark.parametrize("ignored", IGNORED, ids=str)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", READS)
def test_hidden_and_missing_are_the_same_whatever_is_ignored(
    safe: SafeSearch, kind: str, level: str, ignored: Any
) -> None:
    client = safe.at_level(level).options(ignore_status=ignored)
    missing = outcome(READS[kind], client, "absent")
    assert missing == outcome(READS[kind], client.client, "absent")
    assert outcome(READS[kind], client, "blocked") == missing


@pytest.mark.parametrize("kind", READS)
def test_an_id_given_as_a_number_is_echoed_as_the_engine_echoes_it(
    safe: SafeSearch, kind: str
) -> None:
    missing = outcome(READS[kind], safe, 9000418)
    assert missing == outcome(READS[kind], safe.client, 9000418)
    assert outcome(READS[kind], safe, 9000417) == missing


CONTENTS: list[dict[str, Any]] = [
    {},
    {"source": True},
    {"source": False},
    {"source": ["title"]},
    {"source": "title,safety.*"},
    {"source_includes": "title"},
    {"source_includes": ["title", "safety"], "source_excludes": ["safety"]},
    {"source_excludes": "title"},
    {"_source_includes": ["safety"]},
    {"stored_fields": "_routing"},
]


@pytest.mark.parametrize("content", CONTENTS, ids=str)
def test_explain_gives_of_the_document_what_is_asked_for(
    safe: SafeSearch, content: dict[str, Any]
) -> None:
    asked = {"index": INDEX, "id": "plain", "query": QUERY, **content}
    expected = safe.client.explain(**asked).body
    answer = safe.at_level("off").explain(**asked).body
    assert answer.get("get") == expected.get("get")
    assert answer["explanation"]["value"] == pytest.approx(expected["explanation"]["value"])


def test_a_missing_index_is_told_as_the_client_does(safe: SafeSearch) -> None:
    client = safe.options(ignore_status=404)
    for call in ("search", "count"):
        expected = getattr(client.client, call)(index="test-options-nowhere")
        assert getattr(client, call)(index="test-options-nowhere").body == expected.body
    expected = client.client.get(index="test-options-nowhere", id="1")
    assert client.get(index="test-options-nowhere", id="1").body == expected.body
