"""Demotion from the top of the plain ranking equals demotion in the query, on a real node.

Corpora, policies, queries and pages are random; the shares of borderline documents go up to all
of them, where the top of the plain ranking proves nothing and the query has to do it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from saferank.mappings import template
from saferank.ranker import Policy, SafeSearch
from saferank.ranker.client.ways import MAX_FETCH, MAX_WINDOW
from saferank.ranker.hits import deciding_values
from saferank.ranker.level.decision import explain
from saferank.ranker.policy.policy import OneCategoryPolicy
from saferank.ranker.rewrite.search import rewrite_search

PREFIX = "test-overfetch"
DOCUMENTS = 1500
WORDS = 40
# Name of the corpus -> (shards of each index, probability of each document).
CORPORA: dict[str, tuple[tuple[int, ...], Any]] = {
    "usual": ((1,), lambda random, n: random.beta(0.35, 2.5, n)),
    "even": ((1,), lambda random, n: random.random(n)),
    "borderline": ((1,), lambda random, n: random.uniform(0.3, 0.7, n)),
    "few_values": ((1,), lambda random, n: random.choice([0, 0.2, 0.25, 0.5, 0.8], n)),
    "sharded": ((3,), lambda random, n: random.beta(0.35, 2.5, n)),
    "two_indices": ((1, 2), lambda random, n: random.beta(0.35, 2.5, n)),
    "sharded_borderline": ((2,), lambda random, n: random.uniform(0.3, 0.7, n)),
}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        remove(client)
        properties = template.component_template()["template"]["mappings"]["properties"]
        mappings = {"properties": {**properties, "title": {"type": "text"}}}
        for seed, (corpus, (shards, probabilities)) in enumerate(CORPORA.items()):
            random = np.random.default_rng(seed)
            for part, number in enumerate(shards):
                name = f"{PREFIX}-{corpus}-{part}"
                layout = {"number_of_shards": number, "number_of_replicas": 0}
                client.indices.create(index=name, settings=layout, mappings=mappings)
                values = probabilities(random, DOCUMENTS // len(shards))
                operations = list(documents(random, values))
                assert not client.bulk(index=name, operations=operations, refresh=True)["errors"]
        yield client
        remove(client)


def remove(client: Elasticsearch) -> None:
    for name in client.indices.get(index=f"{PREFIX}-*"):
        client.indices.delete(index=name)


def documents(random: np.random.Generator, probabilities: Any) -> Iterator[Json]:
    weights = 1 / np.arange(1, WORDS + 1)
    for number, probability in enumerate(probabilities):
        length = random.integers(1, 9)
        words = random.choice(WORDS, size=length, p=weights / weights.sum())
        safety: Json = {"probability": float(np.float32(probability)), "status": "scored"}
        match random.integers(0, 20):
            case 0:
                safety = {}
            case 1:
                safety["status"] = "failed"
            case 2:
                safety = {"status": "no_image"}
            case 3:
                safety["status"] = "not_read"
            case 4:
                safety["override"] = random.choice(["allow", "block"])
        yield {"index": {"_id": str(number)}}
        yield {"title": " ".join(f"w{word}" for word in words), "safety": safety}


levels = st.fixed_dictionaries(
    {
        "demote_from": st.sampled_from([0.0, 0.05, 0.2, 0.25, 0.3, 0.5]),
        "hide_from": st.sampled_from([0.51, 0.8, 0.95, None]),
        "unscored": st.sampled_from(["show", "demote", "hide"]),
        "failed": st.sampled_from(["show", "demote", "hide"]),
        "not_read": st.sampled_from(["show", "demote", "hide"]),
        "blocked": st.sampled_from(["show", "demote", "hide"]),
    }
)
demotions = st.fixed_dictionaries(
    {
        "curve": st.sampled_from(["exponential", "linear", "step"]),
        "floor": st.sampled_from([1e-6, 0.01, 0.1, 0.5, 0.99]),
    }
)
words = st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=4).map(
    lambda numbers: " ".join(f"w{number}" for number in numbers)
)
queries = st.one_of(
    words.map(lambda text: {"match": {"title": text}}),
    words.map(lambda text: {"match": {"title": {"query": text, "operator": "and"}}}),
    words.map(lambda text: {"bool": {"should": [{"match": {"title": text}}, {"match_all": {}}]}}),
    words.map(lambda text: {"bool": {"filter": {"match": {"title": text}}}}),
    words.map(lambda text: {"constant_score": {"filter": {"match": {"title": text}}}}),
    st.just({"match_all": {}}),
    st.deferred(lambda: without_relevance),
)
without_relevance = words.map(lambda text: {"match": {"title": text}}).flatmap(
    lambda match: st.sampled_from(
        [
            {"bool": {"filter": match}},
            {"bool": {"must_not": match}},
            {"bool": {"filter": {"exists": {"field": "title"}}, "should": match}},
            {"function_score": {"query": match, "weight": 0}},
            {"function_score": {"functions": [{"filter": match, "weight": 0}]}},
            {"bool": {"must": match, "boost": 0}},
        ]
    )
)
bodies = st.fixed_dictionaries(
    {
        "query": queries,
        "from": st.sampled_from([0, 0, 0, 1, 20, 80, 400, 1400]),
        "size": st.sampled_from([0, 1, 3, 10, 20, 100]),
        "track_total_hits": st.sampled_from([False, True, 50]),
        "_source": st.sampled_from([True, False]),
    }
)


def policy_of(level: Json, demotion: Json) -> Policy:
    return OneCategoryPolicy.model_validate(
        {
            "version": 1,
            "levels": {"one": level},
            "demotion": demotion,
            "contexts": [{"level": "one"}],
        }
    )


class CountingSearch(SafeSearch):
    """Counts its searches."""

    searches = 0

    def _run(self, plan: Any) -> Any:
        return super()._run(self._counted(plan))

    def _counted(self, plan: Any) -> Any:
        call = next(plan)
        while True:
            type(self).searches += call.method == "search"
            try:
                try:
                    answer = yield call
                except Exception as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(answer)
            except StopIteration as stop:
                return stop.value


@pytest.mark.parametrize("corpus", CORPORA)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(level=levels, demotion=demotions, body=bodies, twice=st.booleans())
def test_every_way_gives_what_the_query_gives(
    node: Elasticsearch, corpus: str, level: Json, demotion: Json, body: Json, twice: bool
) -> None:
    policy = policy_of(level, demotion)
    index = f"{PREFIX}-{corpus}-*"
    in_query = node.search(index=index, body=rewrite_search(body, policy.resolve()))
    safe = CountingSearch(node, policy)
    if twice:  # The second time it is known how many shards there are.
        safe.search(index=index, body=body)
    CountingSearch.searches = 0
    response = safe.search(index=index, body=body)
    event(response["saferank"]["demotion"])
    assert CountingSearch.searches <= 3
    expected, found = in_query["hits"], response["hits"]
    assert found.get("total") == expected.get("total")
    assert [hit["_id"] for hit in found["hits"]] == [hit["_id"] for hit in expected["hits"]]
    scores = [hit["_score"] for hit in found["hits"]]
    assert scores == pytest.approx([hit["_score"] for hit in expected["hits"]], rel=2e-7)
    if expected["max_score"] is None:
        assert found["max_score"] is None
    else:
        assert found["max_score"] == pytest.approx(expected["max_score"], rel=2e-7)


@pytest.mark.parametrize("corpus", CORPORA)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    request_=st.fixed_dictionaries(
        {
            "level": levels,
            "demotion": demotions,
            "query": without_relevance,
            "page": st.fixed_dictionaries(
                {"from": st.sampled_from([0, 1, 20, 400]), "size": st.just(20)}
            ),
        }
    ),
    more=st.sampled_from([{}, {"sort": ["_score"]}, {"min_score": 0}, {"aggs": {}}]),
)
def test_without_relevance_the_factor_alone_decides(
    node: Elasticsearch, corpus: str, request_: Json, more: Json
) -> None:
    policy = policy_of(request_["level"], request_["demotion"])
    index, query, page = f"{PREFIX}-{corpus}-*", request_["query"], request_["page"]
    filtered = rewrite_search({"query": query, "size": DOCUMENTS}, policy.resolve(), demote=False)
    plain = node.search(index=index, body=filtered)["hits"]["hits"]
    records = [deciding_values(hit, policy.fields) for hit in plain]
    factors = [explained.factor or 0 for explained in explain(records, policy.resolve())]
    places = {
        named(hit): (hit["_score"] * factor, factor if hit["_score"] == 0 else 1)
        for hit, factor in zip(plain, factors, strict=True)
    }
    # Sorting keeps the order of equals, also in reverse.
    order = sorted(places, key=lambda name: places[name], reverse=True)
    expected = order[page["from"] : page["from"] + page["size"]]
    safe = SafeSearch(node, policy)
    for _ in range(2):  # The second time it is known how many shards there are.
        hits = safe.search(index=index, body={"query": query, **page, **more})["hits"]["hits"]
        scores = [places[name][0] for name in expected]
        assert [hit["_score"] for hit in hits] == pytest.approx(scores, rel=1e-5, abs=0)
        for hit, name in zip(hits, expected, strict=True):
            found = named(hit)
            assert found == name or places[found] == pytest.approx(places[name], rel=1e-5)


def named(hit: Json) -> tuple[str, str]:
    return hit["_index"], hit["_id"]


USUAL = policy_of({"demote_from": 0.2, "hide_from": 0.8, "unscored": "demote"}, {})


@pytest.mark.parametrize(
    ("corpus", "page", "way"),
    [
        ("usual", {"size": 20}, "window"),
        ("usual", {"size": 20, "_source": ["title"]}, "window"),
        ("usual", {"from": 80, "size": 20}, "window"),
        ("usual", {"from": MAX_WINDOW, "size": 20}, "in_query"),
        ("usual", {"size": 20, "sort": ["_score"]}, "in_query"),
        ("usual", {"size": 20, "min_score": 0.1}, "in_query"),
        ("sharded", {"size": 20}, "fetch"),
        ("sharded", {"size": 20, "_source": ["title"]}, "fetch"),
        ("two_indices", {"size": 20}, "fetch"),
        ("sharded", {"from": MAX_FETCH, "size": 20}, "in_query"),
        ("borderline", {"size": 20}, "in_query"),
    ],
)
def test_the_way_is_the_cheap_one_where_it_can_be(
    node: Elasticsearch, corpus: str, page: Json, way: str
) -> None:
    safe = SafeSearch(node, USUAL)
    body = {"query": {"match": {"title": "w1 w5"}}, **page}
    for _ in range(2):  # The first search finds out how many shards there are.
        response = safe.search(index=f"{PREFIX}-{corpus}-*", body=body)
        assert response["saferank"]["demotion"] == way


def test_where_it_never_helps_it_is_no_longer_tried(node: Elasticsearch) -> None:
    safe = CountingSearch(node, USUAL)
    body = {"query": {"match": {"title": "w1 w5"}}, "size": 20}
    CountingSearch.searches = 0
    counts = []
    for _ in range(8):
        before = CountingSearch.searches
        safe.search(index=f"{PREFIX}-borderline-*", body=body)
        counts.append(CountingSearch.searches - before)
    # The two nearest looks, then the furthest alone, then none.
    assert counts == [3, 3, 3, 2, 2, 2, 1, 1]
