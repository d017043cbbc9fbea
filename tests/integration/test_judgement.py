"""One judgement of a document for every call, however it spells its safety fields.

What the index has decides: every call is compared with what a rewritten search finds, in indices
whose sources say the same and in those whose sources do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, BadRequestError, Elasticsearch, NotFoundError

from saferank.mappings import template
from saferank.ranker import AsyncSafeSearch, Policy, SafeSearch, load_policy
from saferank.ranker.rewrite.search import rewrite_search

PREFIX = "test-judgement"
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


def spellings(name: str, value: Any) -> Iterator[tuple[str, Json]]:
    """Documents that have a safety field in every form that the engine takes."""
    lower: Any = 0.01 if isinstance(value, float) else "x"
    yield "object", {"safety": {name: value}}
    yield "dotted", {f"safety.{name}": value}
    yield "list", {"safety": {name: [value, lower]}}
    yield "lists", {"safety": {name: [[lower], [value]]}}
    yield "one_object", {"safety": [{name: value}]}
    yield "objects", {"safety": [{name: lower}, {name: value}]}
    yield "both", {"safety": {name: lower}, f"safety.{name}": value}
    yield "both_ways", {f"safety.{name}": lower, "safety": [{name: [value]}]}


DOCUMENTS: dict[str, Json] = {
    f"{kind}_{spelling}": {"title": "cat", **source}
    for kind, (name, value) in {
        "safe": ("probability", 0.02),
        "medium": ("probability", 0.5),
        "high": ("probability", 0.95),
        "failed": ("status", "failed"),
        "allow": ("override", "allow"),
        "block": ("override", "block"),
    }.items()
    for spelling, source in spellings(name, value)
}
DOCUMENTS |= {
    "nothing": {"title": "cat"},
    "null": {"title": "cat", "safety": None},
    "empty": {"title": "cat", "safety": []},
    "text": {"title": "cat", "safety": {"probability": "0.95"}},
    "scored": {"title": "cat", "score": 0.95, "other": "block"},
    "comma,routed": {"title": "cat", "safety": {"probability": 0.95}},
}
PROPERTIES = template.component_template()["template"]["mappings"]["properties"]
SAFETY = PROPERTIES["safety"]["properties"]


def properties(**safety: Json) -> Json:
    """Of an index with other definitions of some safety fields."""
    more = {"title": {"type": "text"}, "score": {"type": "float"}, "other": {"type": "keyword"}}
    return {**more, "safety": {"properties": {**SAFETY, **safety}}}


FLAT = {f"safety.{name}": {"type": "keyword"} for name in ("model", "status", "override")}
INDICES: dict[str, Json] = {
    "usual": {"mappings": {"properties": properties()}},
    "shards": {"mappings": {"properties": properties()}, "settings": {"number_of_shards": 3}},
    "excluded": {"mappings": {"_source": {"excludes": ["safety"]}, "properties": properties()}},
    "disabled": {"mappings": {"_source": {"enabled": False}, "properties": properties()}},
    "setting": {
        "mappings": {"properties": properties()},
        "settings": {"index.mapping.source.mode": "disabled"},
    },
    "synthetic": {
        "mappings": {"properties": properties()},
        "settings": {"index.mapping.source.mode": "synthetic"},
    },
    "alias": {
        "mappings": {"properties": properties(probability={"type": "alias", "path": "score"})}
    },
    "copied": {
        "mappings": {
            "properties": {
                **properties(),
                "score": {"type": "float", "copy_to": "safety.probability"},
                "other": {"type": "keyword", "copy_to": ["safety.override"]},
            }
        }
    },
    "null_value": {
        "mappings": {"properties": properties(override={"type": "keyword", "null_value": "block"})}
    },
    "ignored": {
        "mappings": {"properties": properties(override={"type": "keyword", "ignore_above": 3})}
    },
    "flat": {
        "mappings": {
            "subobjects": False,
            "properties": {
                **FLAT,
                "safety.probability": {"type": "float"},
                "title": {"type": "text"},
                "score": {"type": "float"},
                "other": {"type": "keyword"},
            },
        }
    },
}


def fitting(index: str, name: str) -> bool:
    """Whether an index takes a document."""
    if index == "alias":  # An alias takes no values.
        return "probability" not in str(DOCUMENTS[name])
    if index == "flat":  # Without objects only one object is flattened.
        return not isinstance(DOCUMENTS[name].get("safety"), list)
    return True


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    names = [f"{PREFIX}-{index}" for index in INDICES]
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=names, ignore_unavailable=True)
        for index, definition in INDICES.items():
            settings = {"number_of_replicas": 0, **definition.get("settings", {})}
            mappings = definition["mappings"]
            client.indices.create(index=f"{PREFIX}-{index}", settings=settings, mappings=mappings)
            operations: list[Json] = []
            for name, document in DOCUMENTS.items():
                if fitting(index, name):
                    operations += [{"index": {"_id": name}}, document]
            written = client.bulk(index=f"{PREFIX}-{index}", operations=operations, refresh=True)
            assert not written["errors"], written
        yield client
        client.indices.delete(index=names)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(POLICY)


PARTS: tuple[Any, ...] = (["title"], {"excludes": ["safety"]})


def actions(hits: list[Json]) -> dict[str, str]:
    return {hit["_id"]: hit["saferank"]["action"] for hit in hits}


def gives(read: Callable[[], Any]) -> bool:
    """Whether a read by id gives its document."""
    try:
        answer = read()
    except NotFoundError:
        return False
    body = getattr(answer, "body", answer)
    return bool(body["found"] if isinstance(body, dict) and "found" in body else answer)


def reads(client: SafeSearch, **where: Any) -> list[bool]:
    """Whether each of the reads that are made of others gives a document."""
    return [
        gives(lambda: client.get(**where, source=False)),
        gives(lambda: client.exists(**where)),
        gives(lambda: client.termvectors(**where, fields=["title"])),
        gives(lambda: client.explain(**where, query={"match_all": {}})),
    ]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("index", INDICES)
def test_every_call_judges_by_what_the_index_has(
    node: Elasticsearch, policy: Policy, index: str, level: str
) -> None:
    name = f"{PREFIX}-{index}"
    safe = SafeSearch(node, policy, level=level)
    body: Json = {"query": {"match": {"title": "cat"}}, "size": 100}
    truth = node.search(index=name, body=rewrite_search(body, policy.decision_for(level)))
    scores = {hit["_id"]: hit["_score"] for hit in truth["hits"]["hits"]}
    told: list[Any] = []
    without_source = index in ("disabled", "setting")
    for wanted in (True, False, *(() if without_source else PARTS)):
        found = safe.search(index=name, body={**body, "_source": wanted})["hits"]["hits"]
        assert {hit["_id"]: pytest.approx(hit["_score"]) for hit in found} == scores
        told.append(actions(found))
    assert set(told[0].values()) <= {"shown", "demoted"}
    assert all(item == told[0] for item in told)
    scrolled = safe.search(index=name, body=body, scroll="1m")
    safe.clear_scroll(scroll_id=scrolled["_scroll_id"])
    assert actions(scrolled["hits"]["hits"]) == told[0]
    assert safe.count(index=name, query=body["query"])["count"] == len(scores)
    for read in (safe.mget, safe.mtermvectors):
        docs = read(index=name, ids=[*DOCUMENTS])["docs"]
        assert {doc["_id"] for doc in docs if doc["found"]} == scores.keys()
    assert actions(list(safe.mget(index=name, ids=[*scores])["docs"])) == told[0]
    for document in DOCUMENTS:
        get = partial(safe.get, index=name, id=document)
        assert gives(get) == (document in scores), document
    for document in list(DOCUMENTS)[::9]:
        assert set(reads(safe, index=name, id=document)) == {document in scores}


@pytest.mark.parametrize("level", LEVELS)
def test_a_page_over_shards_is_the_same_every_time(
    node: Elasticsearch, policy: Policy, level: str
) -> None:
    """However it is demoted: in the query, or among hits fetched from several shards."""
    name, safe = f"{PREFIX}-shards", SafeSearch(node, policy, level=level)
    body: Json = {"query": {"match": {"title": "cat"}}, "size": 20}
    truth = node.search(index=name, body=rewrite_search(body, policy.decision_for(level)))
    for _ in range(6):
        found = safe.search(index=name, body=body)["hits"]["hits"]
        pairs = [(hit["_id"], pytest.approx(hit["_score"])) for hit in found]
        assert pairs == [(hit["_id"], hit["_score"]) for hit in truth["hits"]["hits"]]


SAFE, HIDDEN = {"probability": 0.01}, {"probability": 0.99}


@pytest.fixture(params=["plain", "async"])
def get(
    request: pytest.FixtureRequest, node: Elasticsearch, elasticsearch_url: str, policy: Policy
) -> Callable[..., Any]:
    """``get`` of one of the clients; None for a document that is not to be seen."""
    if request.param == "plain":
        return lambda **where: SafeSearch(node.options(ignore_status=404), policy).get(**where)

    def asynchronous(**where: Any) -> Any:
        async def read() -> Any:
            plain = AsyncElasticsearch(elasticsearch_url)
            async with AsyncSafeSearch(plain, policy).options(ignore_status=404) as client:
                return await client.get(**where)

        return asyncio.run(read())

    return asynchronous


def test_a_document_just_written_is_judged_as_it_is_now(
    node: Elasticsearch, get: Callable[..., Any], index_name: str
) -> None:
    """Searches do not see it for half a minute, reads by id do at once."""
    settings = {"refresh_interval": "30s", "number_of_shards": 3}
    mappings = {"properties": properties()}
    node.indices.create(index=index_name, settings=settings, mappings=mappings)
    for safety in (SAFE, HIDDEN, SAFE, {**SAFE, "override": "block"}, {}, HIDDEN):
        node.index(index=index_name, id="1", document={"title": "cat", "safety": safety})
        answer = get(index=index_name, id="1")
        hidden = safety == HIDDEN or "override" in safety
        assert answer["found"] != hidden
        assert hidden or answer["_source"]["safety"] == safety
    node.delete(index=index_name, id="1")
    assert not get(index=index_name, id="1")["found"]


def test_a_read_that_is_not_in_real_time_is_judged_by_what_it_reads(
    node: Elasticsearch, get: Callable[..., Any], index_name: str
) -> None:
    settings = {"refresh_interval": "-1"}
    node.indices.create(index=index_name, settings=settings, mappings={"properties": properties()})
    node.index(index=index_name, id="1", document={"safety": SAFE}, refresh=True)
    node.index(index=index_name, id="1", document={"safety": HIDDEN})
    assert get(index=index_name, id="1", realtime=False)["_source"]["safety"] == SAFE
    assert not get(index=index_name, id="1")["found"]


def test_documents_of_one_id_under_several_routings_are_told_apart(
    node: Elasticsearch, get: Callable[..., Any], policy: Policy, index_name: str
) -> None:
    settings = {"number_of_shards": 5}
    node.indices.create(index=index_name, settings=settings, mappings={"properties": properties()})
    routings = ["a", "b", "c,d", "e", "f"]
    for number, routing in enumerate(routings):
        document = {"title": routing, "safety": HIDDEN if number % 2 else SAFE}
        node.index(index=index_name, id="1", routing=routing, document=document, refresh=True)
    shards = {
        node.search_shards(index=index_name, routing=routing)["shards"][0][0]["shard"]
        for routing in ("a", "b", "e", "f")
    }
    assert len(shards) > 1
    for routing in routings:
        found = node.get(index=index_name, id="1", routing=routing)
        hidden = found["_source"]["safety"] == HIDDEN
        assert get(index=index_name, id="1", routing=routing)["found"] != hidden
        docs = [{"_index": index_name, "_id": "1", "routing": routing}]
        assert SafeSearch(node, policy).mget(docs=docs)["docs"][0]["found"] != hidden


def test_a_routed_document_is_judged_in_reads_that_do_not_tell_the_routing(
    node: Elasticsearch, policy: Policy, index_name: str
) -> None:
    settings = {"number_of_shards": 3}
    node.indices.create(index=index_name, settings=settings, mappings={"properties": properties()})
    for name, safety in {"safe": SAFE, "hidden": HIDDEN}.items():
        document = {"title": "cat", "safety": safety}
        node.index(index=index_name, id=name, routing="5", document=document, refresh=True)
    safe = SafeSearch(node, policy)
    for routing in (5, "5"):
        for name in ("safe", "hidden"):
            where: Json = {"index": index_name, "id": name, "routing": routing}
            docs = [{"_index": index_name, "_id": name, "routing": routing}]
            assert reads(safe, **where) == [name == "safe"] * 4
            assert gives(partial(safe.get_source, **where)) == (name == "safe")
            assert bool(safe.exists_source(**where)) == (name == "safe")
            for call in (safe.mget, safe.mtermvectors):
                assert call(docs=docs)["docs"][0]["found"] == (name == "safe")
            for more in ({"source": False}, {"docs": [{**docs[0], "_source": False}]}):
                assert safe.mget(**{"docs": docs, **more})["docs"][0]["found"] == (name == "safe")
    plain = node.get(index=index_name, id="safe", routing=5, source=False).body
    answer = safe.get(index=index_name, id="safe", routing=5, source=False).body
    assert {**plain, "saferank": answer["saferank"]} == answer


def test_a_document_that_cannot_be_judged_is_not_said_to_be_missing(
    node: Elasticsearch, get: Callable[..., Any], policy: Policy, index_name: str
) -> None:
    settings = {"max_docvalue_fields_search": 1}
    node.indices.create(index=index_name, settings=settings, mappings={"properties": properties()})
    node.index(index=index_name, id="1", document={"safety": SAFE}, refresh=True)
    for read in (get, SafeSearch(node, policy).exists, SafeSearch(node, policy).termvectors):
        with pytest.raises(BadRequestError, match="max_docvalue_fields_search"):
            read(index=index_name, id="1")
    with pytest.raises(BadRequestError, match="max_docvalue_fields_search"):
        SafeSearch(node, policy).mget(index=index_name, ids=["1", "2"])
    assert not get(index=index_name, id="2")["found"]


def test_a_read_through_an_alias_is_not_narrowed_by_its_filter(
    node: Elasticsearch, get: Callable[..., Any], index_name: str
) -> None:
    node.indices.create(index=index_name, mappings={"properties": properties()})
    alias = {"filter": {"term": {"other": "x"}}}
    node.indices.put_alias(index=index_name, name=f"{index_name}-alias", body=alias)
    node.index(index=index_name, id="1", document={"safety": SAFE})
    node.index(index=index_name, id="2", document={"safety": HIDDEN}, refresh=True)
    assert get(index=f"{index_name}-alias", id="1")["found"]
    expected = node.options(ignore_status=404).get(index=f"{index_name}-alias", id="3").body
    missing = get(index=f"{index_name}-alias", id="2").body
    assert missing == {**expected, "_id": "2"}


FIELD = "safety.probability"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "asked",
    [
        {"fields": ["safety.*", "title"]},
        {"fields": ["*"]},
        {"fields": [{"field": FIELD}, "safety.status"]},
        {"docvalue_fields": [FIELD, {"field": "safety.status"}]},
        {"docvalue_fields": [{"field": FIELD, "format": "0.0"}, "safety.override"]},
        {"fields": [FIELD], "docvalue_fields": [{"field": FIELD, "format": "0.0"}]},
        {"stored_fields": ["title"], "docvalue_fields": ["safety.stat*"]},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("scroll", [{}, {"scroll": "1m"}], ids=["search", "scroll"])
def test_fields_that_are_asked_for_come_as_asked_for(
    node: Elasticsearch, policy: Policy, asked: Json, scroll: Json, level: str
) -> None:
    """All of them, on every page, and no others."""
    name, safe = f"{PREFIX}-usual", SafeSearch(node, policy, level=level)
    for wanted in (False, ["title"], True):
        body = {"query": {"match": {"title": "cat"}}, "size": 30, "_source": wanted, **asked}
        plain = {
            hit["_id"]: {key: hit.get(key) for key in ("fields", "_source")}
            for hit in node.search(index=name, body={**body, "size": 100})["hits"]["hits"]
        }
        response = safe.search(index=name, body=body, **scroll)
        hits = response["hits"]["hits"]
        if scroll:
            token = response["_scroll_id"]
            hits = hits + safe.scroll(scroll_id=token)["hits"]["hits"]
            safe.options(ignore_status=404).clear_scroll(scroll_id=token)
        assert hits
        for hit in hits:
            given = {key: hit.get(key) for key in ("fields", "_source")}
            assert given == plain[hit["_id"]], hit["_id"]
