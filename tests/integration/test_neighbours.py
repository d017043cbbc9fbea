"""Nearest neighbours on every kind of vector index: what the section finds is what is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from saferank.errors import UnsafeRequest
from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy

PREFIX = "test-neighbours"
GRAPHS = ("hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw")
FLAT = ("flat", "int8_flat", "int4_flat", "bbq_flat")
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, unscored: demote}
contexts: [{level: moderate}]
""")
COUNT, DIMENSIONS, NEAREST = 120, 64, 7
FACTOR = 0.1 ** ((0.6 - 0.2) / 0.8)
Json = dict[str, Any]


def vector(seed: int) -> list[float]:
    random = Random(seed)
    return [random.gauss(0, 1) for _ in range(DIMENSIONS)]


def document(number: int) -> Json:
    return {
        "title": "cat" + " word" * (number % 5),
        "price": number * 37 % COUNT,
        "group": "abc"[number % 3],
        "vector": vector(number),
        "parts": [{"vector": vector(1000 + number)}, {"vector": vector(2000 + number)}],
        "safety": {"probability": 0.1 if number % 3 else 0.6, "status": "scored"},
    }


SECTION: Json = {
    "field": "vector",
    "query_vector": vector(-1),
    "k": NEAREST,
    "num_candidates": COUNT,
}
NESTED: Json = {**SECTION, "field": "parts.vector"}
QUERY: Json = {"match": {"title": {"query": "cat", "boost": 0.01}}}


@pytest.fixture(scope="module", params=GRAPHS + FLAT)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[(1,), (3,), (1, 2)], ids=str)
def safe(request: pytest.FixtureRequest, kind: str, elasticsearch_url: str) -> Iterator[SafeSearch]:
    """On one shard, on several, and on several indices."""
    properties = template.component_template()["template"]["mappings"]["properties"]
    vectors = {"type": "dense_vector", "dims": DIMENSIONS, "similarity": "l2_norm"}
    vectors = {**vectors, "index": True, "index_options": {"type": kind}}
    mappings = {
        "properties": {
            **properties,
            "title": {"type": "text"},
            "price": {"type": "integer"},
            "group": {"type": "keyword"},
            "vector": vectors,
            "parts": {"type": "nested", "properties": {"vector": vectors}},
        }
    }
    shards = request.param
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        names = [f"{PREFIX}-{kind}-{part}" for part in range(len(shards))]
        client.indices.delete(index=names, ignore_unavailable=True)
        for name, number in zip(names, shards, strict=True):
            layout = {"number_of_shards": number, "number_of_replicas": 0}
            client.indices.create(index=name, settings=layout, mappings=mappings)
        operations: list[Json] = []
        for number in range(COUNT):
            # Several indices have the same identifiers.
            name, identifier = names[number % len(names)], str(number // len(names))
            operations += [{"index": {"_index": name, "_id": identifier}}, document(number)]
        assert not client.bulk(operations=operations, refresh=True)["errors"]
        yield SafeSearch(client, POLICY)
        client.indices.delete(index=names)


@pytest.fixture
def find(safe: SafeSearch, kind: str) -> Callable[..., Any]:
    return lambda **body: safe.search(index=f"{PREFIX}-{kind}-*", **{"size": COUNT, **body})


@pytest.fixture
def plain(safe: SafeSearch, kind: str) -> Callable[..., Any]:
    return lambda **body: safe.client.search(index=f"{PREFIX}-{kind}-*", **{"size": COUNT, **body})


def keys(response: Any) -> list[tuple[str, str]]:
    return [(hit["_index"], hit["_id"]) for hit in response["hits"]["hits"]]


def factor(hit: Json) -> float:
    return FACTOR if hit["_source"]["safety"]["probability"] > 0.2 else 1


def demoted(hits: list[Json]) -> list[Json]:
    """The hits in the order of relevance times factor, with these scores."""
    scored = [{**hit, "_score": hit["_score"] * factor(hit)} for hit in hits]
    return sorted(scored, key=lambda hit: -hit["_score"])


def same(found: Any, expected: list[Json]) -> None:
    """The same hits with the same scores, in the same order but for equal ones."""
    assert sorted(keys(found)) == sorted((hit["_index"], hit["_id"]) for hit in expected)
    scores = [hit["_score"] for hit in expected]
    assert [hit["_score"] for hit in found["hits"]["hits"]] == pytest.approx(scores, rel=1e-5)


@pytest.mark.parametrize("section", [SECTION, NESTED, [SECTION, NESTED]], ids=["one", "in", "two"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"query": QUERY},
        {"query": QUERY, "aggs": {}},
        {"query": QUERY, "sort": ["_score", "price"]},
        {"query": {"bool": {"filter": {"range": {"price": {"lt": 20}}}}}},
        {"min_score": 0.0115},
        {"query": QUERY, "min_score": 0.0115},
        {"sort": ["_score", "price"]},
        {"sort": [{"_score": "desc"}]},
        {"post_filter": {"term": {"group": "a"}}, "sort": ["_score", "price"]},
        {"rescore": {"window_size": 50, "query": {"rescore_query": QUERY}}},
        {"query": QUERY, "rescore": {"window_size": 200, "query": {"rescore_query": QUERY}}},
    ],
    ids=str,
)
def test_relevance_is_as_the_section_gives_it_times_the_factor(
    find: Callable[..., Any], plain: Callable[..., Any], section: Any, more: Json
) -> None:
    total = {"track_total_hits": True, "aggs": {"price": {"stats": {"field": "price"}}}}
    request = {"knn": section, **more, **({} if more.get("query") == QUERY else total)}
    given, found = plain(**request), find(**request)
    same(found, demoted(given["hits"]["hits"]))
    assert found["hits"]["total"] == given["hits"]["total"]
    assert found.get("aggregations") == given.get("aggregations")


@pytest.mark.parametrize("section", [SECTION, NESTED, [SECTION, NESTED]], ids=["one", "in", "two"])
def test_a_sort_by_fields_has_the_hits_of_the_section(
    find: Callable[..., Any], plain: Callable[..., Any], section: Any
) -> None:
    request = {"knn": section, "sort": ["price"], "aggs": {"groups": {"terms": {"field": "group"}}}}
    given, found = plain(**request), find(**request)
    hits = sorted(given["hits"]["hits"], key=lambda hit: factor(hit) < 1)
    assert keys(found) == [(hit["_index"], hit["_id"]) for hit in hits]
    assert found["hits"]["total"] == given["hits"]["total"]
    assert found["aggregations"] == given["aggregations"]
    pages = []
    after: Json = {}
    while hits := find(**request, **{"size": 3, **after})["hits"]["hits"]:
        pages += hits
        after = {"search_after": hits[-1]["sort"]}
    assert [hit["_id"] for hit in pages] == [hit["_id"] for hit in found["hits"]["hits"]]


def test_a_scroll_has_the_hits_of_the_section(
    safe: SafeSearch, find: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    found = find(knn=SECTION, scroll="1m", size=3)
    hits: list[Json] = []
    while found["hits"]["hits"]:
        hits += found["hits"]["hits"]
        found = safe.scroll(scroll_id=found["_scroll_id"], scroll="1m")
    safe.clear_scroll(scroll_id=found["_scroll_id"])
    same({"hits": {"hits": hits}}, demoted(plain(knn=SECTION)["hits"]["hits"]))


@pytest.mark.parametrize("level", ["off", "moderate"])
def test_groups_have_the_hits_of_the_section(
    safe: SafeSearch, kind: str, plain: Callable[..., Any], level: str
) -> None:
    aggs = {"groups": {"terms": {"field": "group"}}}
    found = safe.at_level(level).search(
        index=f"{PREFIX}-{kind}-*",
        knn=SECTION,
        collapse={"field": "group", "inner_hits": {"name": "rest", "size": COUNT}},
        aggs=aggs,
    )
    given = plain(knn=SECTION, aggs=aggs)
    assert found["hits"]["total"] == given["hits"]["total"]
    assert found["aggregations"] == given["aggregations"]
    members = [key for hit in found["hits"]["hits"] for key in keys(hit["inner_hits"]["rest"])]
    assert sorted(members) == sorted(keys(given))


def test_what_the_section_says_of_a_hit_is_kept(
    find: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    section = {**NESTED, "_name": "near"}
    inner = {**section, "inner_hits": {"_source": False}}
    query = {"match": {"title": {"query": "cat", "_name": "cat", "boost": 0.01}}}
    for request in (
        {"knn": inner},
        {"knn": inner, "sort": ["price"]},
        {"knn": section, "query": query},
        {"knn": section, "query": query, "sort": ["price"]},
    ):
        said = {
            key: (hit.get("inner_hits"), sorted(hit.get("matched_queries", [])))
            for given in [plain(**request)]
            for key, hit in zip(keys(given), given["hits"]["hits"], strict=True)
        }
        found = find(**request)
        for key, hit in zip(keys(found), found["hits"]["hits"], strict=True):
            assert (hit.get("inner_hits"), sorted(hit.get("matched_queries", []))) == said[key]


def test_inner_hits_beside_a_query_are_refused_in_every_way(find: Callable[..., Any]) -> None:
    for more in ({}, {"sort": ["price"]}):
        with pytest.raises(UnsafeRequest, match="inner_hits"):
            find(knn={**NESTED, "inner_hits": {}}, query=QUERY, **more)


def test_several_searches_at_once(safe: SafeSearch, kind: str, plain: Callable[..., Any]) -> None:
    header = {"index": f"{PREFIX}-{kind}-*"}
    searches: list[Json] = [
        *(header, {"knn": SECTION, "sort": ["price"], "size": COUNT}),
        *(header, {"query": {"match_all": {}}, "size": 1}),
        *(header, {"knn": NESTED, "query": QUERY, "size": COUNT, "explain": False}),
    ]
    paths = ["responses.hits.total", "responses.hits.hits._id"]
    for parameters in ({}, {"filter_path": paths}):
        first, second, third = safe.msearch(searches=searches, **parameters)["responses"]
        assert first["hits"]["total"]["value"] == NEAREST
        assert second["hits"]["total"]["value"] == COUNT
        given = plain(knn=NESTED, query=QUERY)
        assert third["hits"]["total"] == given["hits"]["total"]
        assert len(first["hits"]["hits"]) == NEAREST


def test_parameters_that_shape_the_response(find: Callable[..., Any]) -> None:
    found = find(
        knn=SECTION,
        sort=["price"],
        aggs={"groups": {"terms": {"field": "group"}}},
        typed_keys=True,
        rest_total_hits_as_int=True,
        filter_path=["hits.total", "hits.hits._id", "aggregations"],
    )
    assert found["hits"]["total"] == NEAREST
    assert len(found["hits"]["hits"]) == NEAREST
    assert "sterms#groups" in found["aggregations"]


def test_without_a_number_as_many_are_found_as_the_page_has(
    find: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    section = {key: SECTION[key] for key in ("field", "query_vector")}
    for more in ({}, {"sort": ["price"]}, {"query": QUERY}, {"sort": ["price"], "from_": 1}):
        request = {"knn": section, "size": 4, **more}
        given, found = plain(**request), find(**request)
        assert found["hits"]["total"] == given["hits"]["total"]
        assert len(found["hits"]["hits"]) == len(given["hits"]["hits"])


def test_a_retriever_is_the_same_as_a_section(
    safe: SafeSearch, find: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    retriever = {"knn": {**SECTION, "min_score": 0.5}}
    same(find(retriever=retriever), demoted(plain(retriever=retriever)["hits"]["hits"]))
    found = find(retriever=retriever, scroll="1m", size=3)
    safe.clear_scroll(scroll_id=found["_scroll_id"])
    assert found["hits"]["total"]["value"] == NEAREST


def test_a_query_beside_the_section_costs_one_request(
    find: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    found = find(knn=SECTION, query=QUERY, size=10)
    assert found["saferank"]["demotion"] == "fetch"
    same(found, demoted(plain(knn=SECTION, query=QUERY)["hits"]["hits"])[:10])
