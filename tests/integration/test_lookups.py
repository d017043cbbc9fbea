"""Queries that look into documents: what a visible one says is sent, a hidden one is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from elasticsearch.dsl import Search

from saferank.errors import MappingError, UnsafeRequest
from saferank.mappings import template
from saferank.ranker import AsyncSafeSearch, SafeSearch, load_policy, protect

INDEX, OTHER = "test-similar", "test-similar-other"
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: strict}]
""")
WORDS = {
    "cat": ("red cat on a tree", "animals", 0.01),
    "cats": ("red cat and blue cat", "animals", 0.02),
    "dog": ("blue dog on a tree", "animals", 0.5),
    "hidden": ("red cat on a zzhidden tree", "zzhidden", 0.9),
    "tree": ("green tree", "plants", 0.03),
}
HIDDEN = {"off": set[str](), "moderate": {"hidden"}, "strict": {"hidden", "dog"}}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    text = {"type": "text", "fields": {"short": {"type": "text", "analyzer": "stop"}}}
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=f"{INDEX},{OTHER}", ignore_unavailable=True)
        for index in (INDEX, OTHER):
            client.indices.create(
                index=index,
                settings={"number_of_shards": 1},
                mappings={
                    "properties": {
                        **properties,
                        "title": text,
                        "kind": {"type": "keyword"},
                        "vector": {"type": "dense_vector", "dims": 2},
                        "kinds.of.it": {"type": "keyword"},
                    }
                },
            )
        for name, (title, kind, probability) in WORDS.items():
            document = {
                "title": title,
                "kind": kind,
                "vector": [1, 2],
                "kinds": [{"of.it": [kind, None]}, {"of": {"it": "none"}}],
                "safety": {"probability": probability, "status": "scored"},
            }
            client.index(index=INDEX, id=name, document=document)
            client.index(index=OTHER, id=name, document=document, routing="r")
        client.indices.refresh(index=f"{INDEX},{OTHER}")
        yield client
        client.indices.delete(index=f"{INDEX},{OTHER}")


@pytest.fixture(params=sorted(HIDDEN))
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def safe(node: Elasticsearch, level: str) -> SafeSearch:
    return SafeSearch(node, POLICY, level=level)


def like(*items: Any, **options: Any) -> Json:
    return {
        "more_like_this": {"like": list(items), "min_term_freq": 1, "min_doc_freq": 1, **options}
    }


def found(client: Any, query: Json, **options: Any) -> dict[str, float]:
    answer = client.search(query=query, size=50, **{"index": INDEX, **options})
    return {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}


FORMS: dict[str, Json] = {
    "all_fields": like({"_id": "cat"}),
    "one_field": like({"_id": "cat"}, fields=["title"]),
    "two_fields": like({"_id": "cat"}, fields=["title", "kind"]),
    "a_field_of_a_field": like({"_id": "cat"}, fields=["title.short"]),
    "fields_of_the_item": like({"_id": "cat", "fields": ["kind"]}, fields=["title"]),
    "an_analyzer": like({"_id": "cat", "per_field_analyzer": {"title": "stop"}}, fields=["title"]),
    "a_text_too": like("blue", {"_id": "cat"}, fields=["title"]),
    "several": like({"_id": "cat"}, {"_id": "tree"}, fields=["title"]),
    "with_itself": like({"_id": "cat"}, fields=["title"], include=True),
    "another_index": like({"_index": OTHER, "_id": "cat", "routing": "r"}, fields=["title"]),
    "unlike": like("red cat tree", fields=["title"], unlike=[{"_id": "tree"}]),
    "no_list": {
        "more_like_this": {
            "like": {"_id": "cat"},
            "fields": ["title"],
            "min_term_freq": 1,
            "min_doc_freq": 1,
        }
    },
    "inside": {
        "bool": {
            "must": [{"match_all": {}}],
            "should": [like({"_id": "cat"}, fields=["title"], boost=3)],
            "must_not": [like({"_id": "tree"}, fields=["kind"], include=True)],
        }
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_like_a_visible_document_is_found_as_ever(
    node: Elasticsearch, safe: SafeSearch, level: str, form: str
) -> None:
    expected = found(node, FORMS[form])
    assert expected
    at_level = {name: score for name, score in expected.items() if name not in HIDDEN[level]}
    if level == "moderate":  # A demoted document counts, by its factor.
        assert set(found(safe, FORMS[form])) == set(at_level)
    else:
        assert found(safe, FORMS[form]) == pytest.approx(at_level)


def test_nothing_is_like_a_hidden_document_or_one_that_is_not_there(node: Elasticsearch) -> None:
    safe = SafeSearch(node, POLICY, level="strict")
    for options in ({}, {"fields": ["title"]}, {"include": True}):
        answers = [
            found(safe, like({"_id": name}, **options)) for name in ("hidden", "dog", "none")
        ]
        assert answers == [{}, {}, {}]
    both = like({"_id": "hidden"}, "green", fields=["title"])
    assert found(safe, both) == found(safe, like({"_id": "none"}, "green", fields=["title"]))
    assert set(found(safe, both)) == {"tree"}


def test_every_call_that_takes_a_query_takes_it(
    node: Elasticsearch, elasticsearch_url: str
) -> None:
    safe = SafeSearch(node, POLICY, level="strict")
    query = like({"_id": "cat"}, fields=["title"])
    expected = set(found(safe, query))
    assert expected == {"cats", "tree"}
    assert safe.count(index=INDEX, query=query)["count"] == 2
    assert safe.explain(index=INDEX, id="cats", query=query)["matched"]
    many = safe.msearch(index=INDEX, searches=[{}, {"query": query}, {"index": OTHER}, {}])
    assert {hit["_id"] for hit in many["responses"][0]["hits"]["hits"]} == expected
    by_body = safe.search(
        index=INDEX, body={"post_filter": query, "aggs": {"a": {"filter": query}}}
    )
    assert by_body["aggregations"]["a"]["doc_count"] == 2
    items = [{"_id": "cat"}]
    search = Search(index=INDEX).query(
        "more_like_this", **{**query["more_like_this"], "like": items}
    )
    assert {hit.meta.id for hit in protect(search, safe)} == expected

    async def main() -> Any:
        async with AsyncSafeSearch(AsyncElasticsearch(elasticsearch_url), POLICY) as client:
            return await client.search(index=INDEX, query=query)

    assert {hit["_id"] for hit in asyncio.run(main())["hits"]["hits"]} == expected


@pytest.mark.parametrize(
    ("index", "item", "reason"),
    [
        (f"{INDEX},{OTHER}", {"_id": "cat"}, "name the one index"),
        ("test-sim*", {"_id": "cat"}, "name the one index"),
        (INDEX, {"_id": "cat", "version": 1}, "not known to be safe"),
        (INDEX, {"_index": "test-similar-none", "_id": "cat"}, "no such index"),
        (INDEX, 7, "an object is expected"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused(
    node: Elasticsearch, index: str, item: Any, reason: str
) -> None:
    safe = SafeSearch(node, POLICY, level="strict")
    with pytest.raises(UnsafeRequest, match=reason):
        safe.search(index=index, query=like(item, fields=["title"]))


def test_the_document_of_an_index_without_the_fields_is_not_read(
    node: Elasticsearch, index_name: str
) -> None:
    node.index(index=index_name, id="1", document={"title": "red cat"}, refresh=True)
    with pytest.raises(MappingError):
        SafeSearch(node, POLICY).search(index=INDEX, query=like({"_index": index_name, "_id": "1"}))


def lookup(name: str, path: str, **more: Any) -> Json:
    return {"index": INDEX, "id": name, "path": path, **more}


# A query that looks into a document of this name.
LOOKUPS: dict[str, Any] = {
    "terms": lambda name: {"terms": {"kind": lookup(name, "kinds.of.it")}},
    "terms of words": lambda name: {"terms": {"kind": lookup(name, "kind"), "boost": 2}},
    "terms elsewhere": lambda name: {
        "terms": {"kind": {**lookup(name, "kind"), "index": OTHER, "routing": "r"}}
    },
    "terms of nothing": lambda name: {"terms": {"kind": lookup(name, "none.of.it")}},
}


@pytest.mark.parametrize("kind", LOOKUPS)
@pytest.mark.parametrize("name", ["cat", "tree"])
def test_what_a_visible_document_says_is_found_as_ever(
    node: Elasticsearch, safe: SafeSearch, level: str, kind: str, name: str
) -> None:
    query = LOOKUPS[kind](name)
    expected = found(node, query)
    assert expected or kind == "terms of nothing"
    shown = set(expected) - HIDDEN[level]
    assert set(found(safe, query)) == shown
    assert set(found(safe, {"bool": {"filter": [query]}})) == shown
    aggs = {"terms": {"terms": {"field": "kind", "order": {"_count": "asc"}}}}
    answer = safe.search(index=INDEX, query=query, aggs=aggs)
    assert answer["hits"]["total"]["value"] == len(shown)


@pytest.mark.parametrize("kind", LOOKUPS)
def test_a_lookup_in_a_hidden_document_finds_what_one_in_none_finds(
    node: Elasticsearch, kind: str
) -> None:
    safe = SafeSearch(node, POLICY, level="strict")
    assert found(node, LOOKUPS[kind]("hidden")) or kind == "terms of nothing"
    assert found(safe, LOOKUPS[kind]("hidden")) == {}
    assert found(safe, LOOKUPS[kind]("nothing")) == {}


@pytest.mark.parametrize(
    "query",
    [
        {"terms": {"kind": {"index": f"{INDEX}*", "id": "cat", "path": "kind"}}},
        {"terms": {"kind": {**lookup("cat", "kind"), "store": True}}},
        {"terms": {"kind": {"id": "cat", "path": "kind"}}},
        {"terms": {"kind": {"query": {"match_all": {}}}}},
    ],
)
def test_a_lookup_that_is_not_understood_is_refused(node: Elasticsearch, query: Json) -> None:
    with pytest.raises(UnsafeRequest):
        SafeSearch(node, POLICY, level="strict").search(index=INDEX, query=query)


def test_of_many_searches_only_that_with_a_lookup_in_no_index_fails(
    node: Elasticsearch, safe: SafeSearch, level: str
) -> None:
    nowhere = {"terms": {"kind": {**lookup("cat", "kind"), "index": "test-similar-none"}}}
    queries = [LOOKUPS["terms"]("cat"), nowhere, {"match_all": {}}, nowhere]
    searches = [part for query in queries for part in ({}, {"query": query})]
    expected = node.msearch(index=INDEX, searches=searches)["responses"]
    answers = safe.msearch(index=INDEX, searches=searches)["responses"]
    for answer, plain in zip(answers, expected, strict=True):
        assert answer["status"] == plain["status"]
        if "error" in plain:
            error, reason = answer["error"], plain["error"]
            assert (error["type"], error["reason"]) == (reason["type"], reason["reason"])
        else:
            shown = {hit["_id"] for hit in plain["hits"]["hits"]} - HIDDEN[level]
            assert {hit["_id"] for hit in answer["hits"]["hits"]} == shown
    (only,) = safe.msearch(index=INDEX, searches=searches[2:4])["responses"]
    assert only["status"] == 404
