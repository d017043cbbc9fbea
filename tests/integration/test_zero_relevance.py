"""Pages of a category: every document passes a filter, none has a relevance, some are demoted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.dsl import Search

from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy, protect

INDEX = "test-zero-relevance"
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
contexts: [{level: moderate}]
""")
COUNT = 60
PAGE = 7
FILTER: dict[str, Any] = {"bool": {"filter": [{"term": {"category": "x"}}]}}
Json = dict[str, Any]


def probability(number: int) -> float:
    return (number * 37 % 90) / 100  # The first documents are not the safest.


def factor(number: int) -> float:
    value = probability(number)
    return 1 if value < 0.2 else 0.1 ** ((value - 0.2) / 0.6)


EXPECTED = sorted(
    (number for number in range(COUNT) if probability(number) < 0.8),
    key=lambda number: -round(factor(number), 4),
)


@pytest.fixture(scope="module", params=[1, 3])
def safe(request: pytest.FixtureRequest, elasticsearch_url: str) -> Iterator[SafeSearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    extra = {"category": {"type": "keyword"}, "n": {"type": "integer"}}
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(
            index=INDEX,
            settings={"number_of_shards": request.param, "number_of_replicas": 0},
            mappings={"properties": {**properties, **extra}},
        )
        for number in range(COUNT):
            safety = {"probability": probability(number), "status": "scored"}
            document = {"category": "x", "n": number, "safety": safety}
            client.index(index=INDEX, id=str(number), document=document)
        client.indices.refresh(index=INDEX)
        yield SafeSearch(client, POLICY)
        client.indices.delete(index=INDEX)


def numbers(response: Any) -> list[int]:
    """Of the hits, whose scores all are 0."""
    hits = response["hits"]["hits"]
    assert {hit["_score"] for hit in hits} <= {0.0}
    return [int(hit["_id"]) for hit in hits]


def same(found: list[int]) -> bool:
    """In the order of their factors; among equal ones the shards decide."""
    factors = [round(factor(number), 4) for number in found]
    return sorted(found) == sorted(EXPECTED) and factors == sorted(factors, reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        FILTER,
        {"bool": {"must_not": [{"term": {"category": "y"}}]}},
        {"function_score": {"query": {"match_all": {}}, "weight": 0}},
        {"constant_score": {"filter": {"match_all": {}}, "boost": 0}},
        {"bool": {"must": [FILTER]}},
    ],
)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"sort": ["_score"]},
        {"min_score": 0},
        {"track_scores": True},
        {"aggs": {"n": {"max": {"field": "n"}}}},
        {"indices_boost": [{INDEX: 3}]},
        {"rescore": {"query": {"rescore_query": FILTER, "score_mode": "multiply"}}},
        {"retriever": True},
        {"filter_path": "hits.hits._id,hits.hits._score"},
    ],
)
def test_the_safest_are_first(safe: SafeSearch, query: Json, more: Json) -> None:
    request: Json = {"query": query, **more}
    if more.get("retriever"):
        request = {"retriever": {"standard": {"query": query}}}
    for _ in range(2):
        assert same(numbers(safe.search(index=INDEX, size=COUNT, **request)))


@pytest.mark.parametrize(
    ("level", "more"),
    [
        ("off", {}),
        ("off", {"sort": ["n"]}),
        ("off", {"sort": ["n"], "track_scores": True}),
        ("moderate", {}),
    ],
)
def test_groups_have_no_relevance_where_nothing_is_searched_for(
    safe: SafeSearch, level: str, more: Json
) -> None:
    groups: Json = {"field": "category", "inner_hits": {"name": "group", "size": 5}}
    request: Json = {"collapse": groups, **more}
    plain = safe.client.search(index=INDEX, body=request)["hits"]["hits"]
    found = safe.at_level(level).search(index=INDEX, body=request)["hits"]["hits"]
    assert [scores(hit) for hit in found] == [scores(hit) for hit in plain] == [[0.0] * 6]


def scores(hit: Json) -> list[float | None]:
    """Of the group of a hit: the highest, and all."""
    group = hit["inner_hits"]["group"]["hits"]
    return [group["max_score"], *(inner["_score"] for inner in group["hits"])]


def test_a_boost_of_zero_for_the_index_takes_the_relevance_away(safe: SafeSearch) -> None:
    boost = [{INDEX: 0}]
    response = safe.search(index=INDEX, size=COUNT, indices_boost=boost, query={"match_all": {}})
    assert same(numbers(response))


def test_pages_are_cut_from_one_list(safe: SafeSearch) -> None:
    whole = numbers(safe.search(index=INDEX, size=COUNT, query=FILTER, preference="x"))
    assert same(whole)
    ways = set()
    pages: list[int] = []
    for start in range(0, COUNT, PAGE):
        response = safe.search(
            index=INDEX,
            query=FILTER,
            from_=start,
            size=PAGE,
            preference="x",
            track_total_hits=False,
        )
        pages += numbers(response)
        ways.add(response["saferank"]["demotion"])
        assert response["hits"]["max_score"] in (0.0, None)
    assert pages == whole
    assert len(ways - {"in_query"}) == 1


@pytest.mark.parametrize("sort", [["_score", "n"], [{"_score": "desc"}, {"n": "desc"}]])
def test_cursors_go_through_the_whole_list(safe: SafeSearch, sort: list[Any]) -> None:
    found: list[int] = []
    after: Json = {}
    while True:
        response = safe.search(index=INDEX, query=FILTER, sort=sort, size=PAGE, **after)
        if not numbers(response):
            break
        found += numbers(response)
        after = {"search_after": response["hits"]["hits"][-1]["sort"]}
    assert same(found)
    last = "n" if "n" in sort else "-n"
    keys = [(-round(factor(number), 4), number if last == "n" else -number) for number in found]
    assert keys == sorted(keys)


def test_a_point_in_time_goes_through_the_whole_list(safe: SafeSearch) -> None:
    point = safe.open_point_in_time(index=INDEX, keep_alive="1m")["id"]
    found: list[int] = []
    after: Json = {}
    while True:
        response = safe.search(
            pit={"id": point}, query=FILTER, sort=["_score", "_shard_doc"], size=PAGE, **after
        )
        if not numbers(response):
            break
        found += numbers(response)
        after = {"search_after": response["hits"]["hits"][-1]["sort"]}
    safe.close_point_in_time(id=point)
    assert same(found)


def test_a_scroll_goes_through_the_whole_list(safe: SafeSearch) -> None:
    response = safe.search(index=INDEX, query=FILTER, size=PAGE, scroll="1m")
    found = numbers(response)
    while numbers(response):
        response = safe.scroll(scroll_id=response["_scroll_id"], scroll="1m")
        found += numbers(response)
    safe.clear_scroll(scroll_id=response["_scroll_id"])
    assert same(found)


def test_parts_of_a_response_say_zero_too(safe: SafeSearch) -> None:
    response = safe.search(
        index=INDEX,
        query=FILTER,
        size=1,
        collapse={"field": "category", "inner_hits": {"name": "all", "size": COUNT}},
        aggs={"top": {"top_hits": {"size": COUNT}}},
    )
    (hit,) = response["hits"]["hits"]
    assert numbers(response) == [int(hit["_id"])]
    for part in (hit["inner_hits"]["all"], response["aggregations"]["top"]):
        assert same(numbers(part))
        assert part["hits"]["max_score"] == 0.0


def test_several_searches_at_once(safe: SafeSearch) -> None:
    searches: list[Json] = [{"index": INDEX}, {"query": FILTER, "size": COUNT}]
    for response in safe.msearch(searches=[*searches, *searches])["responses"]:
        assert same(numbers(response))


def test_a_dsl_filter(safe: SafeSearch) -> None:
    search = protect(Search(index=INDEX).filter("term", category="x")[:COUNT], safe)
    found = search.execute()
    assert same([int(hit.meta.id) for hit in found])
    assert {hit.meta.score for hit in found} == {0.0}


def test_hits_from_elsewhere(safe: SafeSearch) -> None:
    hits = safe.client.search(index=INDEX, query=FILTER, size=COUNT)["hits"]["hits"]
    assert same([int(hit["_id"]) for hit in safe.rerank(hits)])
    hits = safe.client.search(index=INDEX, query=FILTER, size=COUNT, sort=["n"])["hits"]["hits"]
    assert same([int(hit["_id"]) for hit in safe.rerank(hits)])
