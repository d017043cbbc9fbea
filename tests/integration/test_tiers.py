"""Sorts by fields that take two searches: by the score, too, or from values of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from saferank.errors import UnsafeRequest
from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy

INDEX = "test-tiers"
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: moderate}]
""")
Json = dict[str, Any]
COUNT = 60
QUERY: Json = {"match": {"title": "cat"}}
SECTION: Json = {"field": "vector", "query_vector": [30, 1], "k": 25, "num_candidates": COUNT}
SORTS: dict[str, Any] = {
    "field and score": [{"day": "desc"}, "_score"],
    "score in the middle": [{"day": "desc"}, {"_score": "desc"}, {"n": "asc"}],
    "the worst first": [{"_score": {"order": "asc"}}, "n"],
    "of several fields": ["group", {"day": {"order": "asc", "missing": "_first"}}, "_score", "n"],
}


@pytest.fixture(scope="module", params=[1, 3])
def node(request: pytest.FixtureRequest, elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    vector = {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"}
    mappings = {
        "properties": {
            **properties,
            "title": {"type": "text"},
            "day": {"type": "date"},
            "n": {"type": "integer"},
            "group": {"type": "keyword"},
            "shelf": {"type": "keyword"},
            "vector": {**vector, "index_options": {"type": "flat"}},
        }
    }
    layout = {"number_of_shards": request.param, "number_of_replicas": 0}
    draw = Random(3)
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(index=INDEX, settings=layout, mappings=mappings)
        operations: list[Json] = []
        for number in range(COUNT):
            document = {
                "title": "cat" + " word" * draw.randint(0, 5),
                "n": number,
                "group": draw.choice("ab"),
                "vector": [number, 1],
                "safety": {"probability": draw.random()} if number % 7 else {},
            }
            if number % 5:
                document["day"] = f"2024-01-0{draw.randint(1, 4)}"
                document["shelf"] = draw.choice("xyz")
            operations += [{"index": {"_id": str(number)}}, document]
        client.bulk(index=INDEX, operations=operations, refresh=True)
        yield client
        client.indices.delete(index=INDEX)


@pytest.fixture
def find(node: Elasticsearch) -> Callable[..., Any]:
    safe = SafeSearch(node, POLICY)
    return lambda **body: safe.search(**{"index": INDEX, "query": QUERY, **body})


def tier(hit: Json) -> float | None:
    """None for a hidden document."""
    probability = hit["_source"]["safety"].get("probability")
    if probability is None:
        return 0.5
    return None if probability >= 0.8 else 0.5 if probability >= 0.2 else 1.0


def tiered(plain: Any) -> list[tuple[str, float, list[Any]]]:
    """What is to come: name, score and sort values, from the answer without a policy."""
    hits = [(tier(hit), hit) for hit in plain["hits"]["hits"]]
    return [
        (hit["_id"], hit["_score"], [place, *hit["sort"]])
        for wanted in (1.0, 0.5)
        for place, hit in hits
        if place == wanted
    ]


def told(response: Any) -> list[tuple[str, float, list[Any]]]:
    return [(hit["_id"], hit["_score"], hit["sort"]) for hit in response["hits"]["hits"]]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"min_score": 0.004},
        {"post_filter": {"term": {"group": "a"}}},
        {"query": None},
        {"query": None, "knn": {**SECTION, "k": COUNT}},
        {"knn": {**SECTION, "k": COUNT}},
    ],
    ids=str,
)
@pytest.mark.parametrize("sort", SORTS.values(), ids=SORTS)
def test_shown_documents_come_first_and_each_tier_as_asked_for(
    node: Elasticsearch, find: Callable[..., Any], sort: Any, more: Json
) -> None:
    aggs = {"groups": {"terms": {"field": "group"}}, "scored": {"max": {"field": "n"}}}
    request = {"sort": sort, "aggs": aggs, "query": QUERY, **more}
    plain = node.search(index=INDEX, size=COUNT, **request)
    found = find(**request, size=COUNT)
    assert sorted(told(found)) == sorted(tiered(plain))
    # Of documents with the same values, no order is the right one.
    assert [values for _, _, values in told(found)] == [values for _, _, values in tiered(plain)]
    assert found["hits"]["total"] == {"value": len(tiered(plain)), "relation": "eq"}
    everything = node.search(
        index=INDEX, size=0, aggs=aggs, query=found_only(found, more), track_total_hits=True
    )
    assert found["aggregations"] == everything["aggregations"]
    assert {hit["saferank"]["action"] for hit in found["hits"]["hits"]} == {"shown", "demoted"}


def found_only(found: Any, more: Json) -> Json:
    """Finds what the aggregations are over; a filter afterwards takes nothing out of them."""
    if "post_filter" in more:
        return {
            "bool": {"must": QUERY, "must_not": {"range": {"safety.probability": {"gte": 0.8}}}}
        }
    return {"ids": {"values": [hit["_id"] for hit in found["hits"]["hits"]]}}


@pytest.mark.parametrize("size", [1, 4, 7, COUNT])
def test_pages_are_cut_from_one_list(find: Callable[..., Any], size: int) -> None:
    sort = [{"day": "desc"}, "_score", "n"]
    whole = told(find(sort=sort, size=COUNT))
    for total in ({}, {"track_total_hits": False}, {"track_total_hits": 3}):
        pages = []
        for start in range(0, COUNT + 8, size):
            page = find(sort=sort, size=size, from_=start, **total)
            pages += told(page)
            expected = {"value": len(whole), "relation": "eq"}
            if total.get("track_total_hits") == 3:
                expected = {"value": 3, "relation": "gte"}
            assert page["hits"].get("total", expected) == expected
            assert ("total" in page["hits"]) == (total.get("track_total_hits") is not False)
        assert pages == whole


@pytest.mark.parametrize("point", [False, True], ids=["index", "point_in_time"])
def test_a_cursor_leads_through_both_tiers(
    node: Elasticsearch, find: Callable[..., Any], point: bool
) -> None:
    sort = [{"day": "desc"}, "_score", "n"]
    whole = [name for name, _, _ in told(find(sort=sort, size=COUNT))]
    where: Json = {}
    if point:
        safe = SafeSearch(node, POLICY)
        where = {
            "index": None,
            "pit": {"id": safe.open_point_in_time(index=INDEX, keep_alive="1m")["id"]},
        }
    pages: list[str] = []
    after: Json = {}
    while hits := find(sort=sort, size=4, **where, **after)["hits"]["hits"]:
        pages += [hit["_id"] for hit in hits]
        after = {"search_after": hits[-1]["sort"]}
    assert pages == whole
    if point:
        node.close_point_in_time(id=where["pit"]["id"])


def test_total_and_aggregations_do_not_depend_on_the_page(find: Callable[..., Any]) -> None:
    request: Json = {
        "sort": [{"day": "desc"}, "_score", "n"],
        "aggs": {"n": {"sum": {"field": "n"}}},
    }
    first = find(**request, size=5)
    whole = told(find(**request, size=COUNT))
    last = whole[-3][2]
    for page in ({"from_": 3}, {"from_": 50}, {"size": 0}, {"search_after": last}):
        found = find(**request, **page)
        assert found["hits"]["total"] == first["hits"]["total"]
        assert found["aggregations"] == first["aggregations"]
    assert told(found) == whole[-2:]


def test_other_ways_to_ask(node: Elasticsearch, find: Callable[..., Any]) -> None:
    sort = [{"day": "desc"}, "_score", "n"]
    body = {"query": QUERY, "sort": sort, "size": 12}
    first = told(find(**body))
    safe = SafeSearch(node, POLICY)
    several = safe.msearch(index=INDEX, searches=[{}, body, {}, {"query": QUERY}, {}, body])
    assert [told(answer) for answer in several["responses"][::2]] == [first, first]
    whole = find(**body, rest_total_hits_as_int=True)
    assert whole["hits"]["total"] == find(**body)["hits"]["total"]["value"]
    assert told(find(sort="day:desc,_score,n:asc", size=12)) == first
    retriever = {"standard": {"query": QUERY, "sort": sort, "filter": {"term": {"group": "a"}}}}
    found = find(query=None, retriever=retriever, size=12)
    assert told(found) == told(find(**body, post_filter={"term": {"group": "a"}}))
    assert find(**body, filter_path="hits.hits._id") == {
        "hits": {"hits": [{"_id": name} for name, _, _ in first]}
    }


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"collapse": {"field": "group"}}, "sort"),
        ({"scroll": "1m"}, "sort"),
        ({"terminate_after": 5}, "sort"),
        ({"search_after": [3, 1, 1]}, "search_after"),
        ({"search_after": [1.0, 3]}, "search_after"),
        ({"search_after": [0.7, 3, 1, 1]}, "search_after"),
        ({"search_after": []}, "search_after"),
    ],
)
def test_what_is_refused(find: Callable[..., Any], more: Json, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        find(sort=[{"day": "desc"}, "_score", "n"], **more)
    assert caught.value.key == key


OWN_SORTS: dict[str, tuple[Any, Callable[[Json], list[Any]]]] = {
    "number": (["n"], lambda source: [source["n"]]),
    "two fields": (["group", {"n": "desc"}], lambda source: [source["group"], source["n"]]),
    "in one object": ({"group": "asc", "n": "asc"}, lambda source: [source["group"], source["n"]]),
    "some without": ([{"shelf": "desc"}, "n"], lambda source: [source.get("shelf"), source["n"]]),
    "with options": (
        [{"n": {"order": "desc", "missing": "_first", "unmapped_type": "long"}}],
        lambda source: [str(source["n"])],
    ),
    "date": (
        [{"day": {"format": "yyyy/MM/dd", "order": "desc"}}, "n"],
        lambda source: [source["day"].replace("-", "/"), source["n"]],
    ),
}


@pytest.mark.parametrize("more", [{}, {"post_filter": {"range": {"n": {"gte": 20}}}}], ids=str)
@pytest.mark.parametrize(("sort", "own"), OWN_SORTS.values(), ids=OWN_SORTS)
def test_values_of_the_last_hit_lead_through_both_tiers(
    find: Callable[..., Any], sort: Any, own: Callable[[Json], list[Any]], more: Json
) -> None:
    # The engine takes no null for a date that is not there.
    query = {"exists": {"field": "day"}} if "day" in str(sort) else QUERY
    request: Json = {"query": query, "sort": sort, **more}
    whole = [hit["_id"] for hit in find(**request, size=COUNT)["hits"]["hits"]]
    pages: list[str] = []
    after: Json = {}
    while hits := find(**request, size=4, **after)["hits"]["hits"]:
        pages += [hit["_id"] for hit in hits]
        after = {"search_after": own(hits[-1]["_source"])}
    assert pages == whole


def test_values_that_no_document_has_are_a_bound_in_both_tiers(
    node: Elasticsearch, find: Callable[..., Any]
) -> None:
    request: Json = {"sort": [{"day": "asc"}, "n"], "search_after": ["2024-01-02T12:00:00Z", 0]}
    plain = tiered(node.search(index=INDEX, query=QUERY, size=COUNT, **request))
    found = find(size=COUNT, **request)
    assert [(name, sort) for name, _, sort in told(found)] == [
        (name, sort) for name, _, sort in plain
    ]
    assert {sort[0] for _, _, sort in plain} == {1.0, 0.5}
    some = told(find(size=3, **request))
    assert some == told(found)[:3]
    after = {**request, "search_after": some[-1][2]}
    assert told(find(size=2, **after))[0][0] == plain[3][0]


@pytest.mark.parametrize("values", [["2024-01-02"], ["no date"], [{"a": 1}]], ids=str)
def test_values_that_do_not_tell_the_tier_are_refused(
    find: Callable[..., Any], values: list[Any]
) -> None:
    with pytest.raises(UnsafeRequest, match="give the last hit's 'sort' unchanged"):
        find(sort=["day"], search_after=values)


def test_a_cursor_with_a_tie_break_and_no_tier_is_no_cursor_of_a_hit(
    node: Elasticsearch, find: Callable[..., Any]
) -> None:
    opened = SafeSearch(node, POLICY).open_point_in_time(index=INDEX, keep_alive="1m")
    point = {"index": None, "pit": {"id": opened["id"]}}
    last = find(sort=["n"], size=1, **point)["hits"]["hits"][-1]["sort"]
    assert len(last) == 3
    assert find(sort=["n"], size=1, search_after=last, **point)["hits"]["hits"]
    with pytest.raises(UnsafeRequest, match="the tier first"):
        find(sort=["n"], size=1, search_after=last[1:], **point)
    node.close_point_in_time(id=opened["id"])
