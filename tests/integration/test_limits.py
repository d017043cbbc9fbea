"""Indices whose limits are not those of Elasticsearch: what works plainly works safely."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy
from saferank.ranker.client.flow import Call

PREFIX = "test-limits"
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.9, unscored: demote}
  strict:   {hide_from: 0.9, unscored: hide}
contexts: [{level: moderate}]
""")
LEVELS = ("off", "strict", "moderate")
WINDOWS: dict[str, dict[str, int]] = {
    "both": {"max_result_window": 50},
    "rescore": {"max_rescore_window": 30},
    "apart": {"max_result_window": 70, "max_rescore_window": 20},
    "wide": {"max_result_window": 12_000},
}
COUNT = 300
MATCH: dict[str, Any] = {"match": {"title": "cat"}}
KNN: dict[str, Any] = {"field": "v", "query_vector": [3, 1], "k": 10, "num_candidates": COUNT}
LOWERING: dict[str, Any] = {
    "window_size": 15,
    "query": {"rescore_query": {"range": {"n": {"gte": 100}}}, "score_mode": "avg"},
}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    vector: Json = {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"}
    vector["index_options"] = {"type": "flat"}
    extra = {"title": {"type": "text"}, "n": {"type": "integer"}, "v": vector}
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        names = [f"{PREFIX}-{name}" for name in WINDOWS]
        client.indices.delete(index=names, ignore_unavailable=True)
        for name, windows in zip(names, WINDOWS.values(), strict=True):
            settings = {"number_of_shards": 1, "number_of_replicas": 0, **windows}
            client.indices.create(
                index=name, settings=settings, mappings={"properties": {**properties, **extra}}
            )
            for start in range(0, count_in(name), 6000):
                operations: list[Json] = []
                for number in range(start, min(start + 6000, count_in(name))):
                    operations += [{"index": {"_id": str(number)}}, document(number)]
                assert not client.bulk(index=name, operations=operations)["errors"]
        client.indices.refresh(index=names)
        yield client
        client.indices.delete(index=names)


def count_in(index: str) -> int:
    return 11_000 if index.endswith("wide") else COUNT


def document(number: int) -> Json:
    return {
        "title": "cat" + " word" * (number % 7),
        "n": number,
        "v": [number / 10, 1],
        "safety": {"probability": number * 37 % 100 / 100, "status": "scored"},
    }


REQUESTS: dict[str, Json] = {
    "knn": {"knn": KNN},
    "knn_and_query": {"knn": KNN, "query": MATCH, "aggs": {}},
    "knn_sorted": {"knn": KNN, "sort": ["n"]},
    "knn_retriever": {"retriever": {"knn": KNN}},
    "rescorer_retriever": {
        "retriever": {
            "rescorer": {"retriever": {"standard": {"query": MATCH}}, "rescore": LOWERING}
        }
    },
    "lowering_rescorer": {"query": MATCH, "rescore": LOWERING},
    "lowering_rescorer_of_knn": {"knn": KNN, "rescore": LOWERING},
    "no_weight": {"query": MATCH, "rescore": {"query": {**LOWERING["query"], "query_weight": 0}}},
    "many_neighbours": {"knn": {**KNN, "k": 200}},
    "many_neighbours_sorted": {"knn": {**KNN, "k": 200}, "sort": ["n"]},
    "many_neighbours_retriever": {"retriever": {"knn": {**KNN, "k": 200}}},
}


def visible(level: str, index: str) -> int:
    hidden = 0 if level == "off" else 0.1
    return round(count_in(index) * (1 - hidden))


def total(name: str, level: str, index: str) -> int:
    if name in ("knn_and_query", "rescorer_retriever", "lowering_rescorer", "no_weight"):
        return visible(level, index)
    return 200 if name.startswith("many") else 10


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("index", [f"{PREFIX}-{name}" for name in ("both", "rescore", "apart")])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_narrow_index_answers_what_it_answers_plainly(
    node: Elasticsearch, index: str, level: str, name: str
) -> None:
    safe = SafeSearch(node, POLICY, level=level)
    body = {**REQUESTS[name], "track_total_hits": True}
    plain = node.search(index=index, body=body)
    response = safe.search(index=index, body=body)
    assert response["hits"]["total"] == {"value": total(name, level, index), "relation": "eq"}
    assert len(response["hits"]["hits"]) == len(plain["hits"]["hits"])
    answer = safe.msearch(searches=[{"index": index}, body])["responses"][0]
    assert answer["hits"]["hits"] == response["hits"]["hits"]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_point_in_time_does_not_say_its_limits_and_the_engine_does(
    node: Elasticsearch, name: str
) -> None:
    safe = SafeSearch(node, POLICY)
    index = f"{PREFIX}-apart"
    point = safe.open_point_in_time(index=index, keep_alive="1m")["id"]
    response = safe.search(body={**REQUESTS[name], "pit": {"id": point}, "track_total_hits": True})
    safe.close_point_in_time(id=point)
    assert response["hits"]["total"]["value"] == total(name, "moderate", index)


def test_of_several_indices_the_narrowest_limit_holds(node: Elasticsearch) -> None:
    safe = SafeSearch(node, POLICY)
    response = safe.search(index=f"{PREFIX}-*", query=MATCH, rescore=LOWERING)
    assert response["_shards"]["failed"] == 0


class CountingSearch(SafeSearch):
    """Notes its calls."""

    calls: list[str]
    may_read_settings = True

    def _run(self, plan: Any) -> Any:
        return super()._run(self._noting(plan))

    def _noting(self, plan: Any) -> Any:
        call = next(plan)
        while True:
            self.calls.append(call.method)
            if call.method == "indices.get_settings" and not self.may_read_settings:
                call = Call("search", {"index": "no-such-index"})
            try:
                try:
                    answer = yield call
                except Exception as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(answer)
            except StopIteration as stop:
                return stop.value


@pytest.fixture
def counting(node: Elasticsearch) -> CountingSearch:
    safe = CountingSearch(node, POLICY)
    safe.calls = []
    return safe


def test_limits_are_read_once_and_only_where_they_matter(counting: CountingSearch) -> None:
    calls, index = counting.calls, f"{PREFIX}-both"
    for _ in range(2):
        counting.search(index=index, query=MATCH)
        counting.search(index=index, query=MATCH, sort=["n"])
    assert calls.count("indices.get_settings") == 0
    for _ in range(3):
        counting.search(index=index, **REQUESTS["knn"])
        counting.search(index=index, **REQUESTS["lowering_rescorer"])
    assert calls.count("indices.get_settings") == 1


def test_where_settings_cannot_be_read_the_engine_tells_the_limits(
    counting: CountingSearch,
) -> None:
    counting.may_read_settings = False
    calls, index = counting.calls, f"{PREFIX}-both"
    for _ in range(3):
        hits = counting.search(index=index, **REQUESTS["lowering_rescorer"])["hits"]["hits"]
        assert len(hits) == 10
    assert calls.count("indices.get_settings") == 1
    assert calls.count("search") == 4  # The first was refused, and told the limit.


@pytest.mark.parametrize("level", LEVELS)
def test_pages_behind_ten_thousand_are_cut_from_the_same_list(
    node: Elasticsearch, level: str
) -> None:
    safe = SafeSearch(node, POLICY, level=level)
    index = f"{PREFIX}-wide"

    def page(start: int, size: int) -> list[str]:
        response = safe.search(
            index=index, query=MATCH, rescore=LOWERING, from_=start, size=size, source=False
        )
        return [hit["_id"] for hit in response["hits"]["hits"]]

    whole = [*page(0, 6000), *page(6000, 6000)]
    assert len(set(whole)) == len(whole) == visible(level, index)
    assert page(9_000, 2_000) == whole[9_000:11_000]


def test_a_page_behind_ten_thousand_is_demoted(node: Elasticsearch) -> None:
    safe = SafeSearch(node, POLICY)
    rescore = {**LOWERING, "query": {**LOWERING["query"], "score_mode": "multiply"}}
    hits: list[Json] = []
    for start in (0, 6000):
        response = safe.search(
            index=f"{PREFIX}-wide", query=MATCH, rescore=rescore, from_=start, size=6000
        )
        hits += response["hits"]["hits"]
    scores = [hit["_score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    window = 15
    assert sum(hit["saferank"]["action"] == "demoted" for hit in hits[-1000:]) > 900 - window
