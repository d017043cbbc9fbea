"""Retrievers that make one list of others: ranks of visible documents, and their scores demoted.

The node of the tests has no ``rrf``, ``linear``, ``text_similarity_reranker``, ``pinned`` and
``rule``; ``fusion`` works them out from what the node finds. What is expected is worked out in
another way: without a policy, among the documents that are visible, and times the factor here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from fusion import RULESETS, AsyncLicensedNode, LicensedNode
from hypothesis import given, settings
from hypothesis import strategies as st

from saferank import AsyncSafeSearch, SafeSearch, check_request, load_policy
from saferank.errors import UnsafeRequest
from saferank.mappings import template

Json = dict[str, Any]
INDEX = "test-hybrid"
COUNT = 40
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: moderate}]
""")
PROBABILITIES = {
    str(number): None if number % 10 == 9 else (number * 7 % 20 / 20) ** 2
    for number in range(COUNT)
}


SAFE: dict[str, SafeSearch] = {}
"""By level; made once, since each reads the mapping before its first search."""


def factor(name: str, level: str) -> float | None:
    """What a level makes of a document's relevance; None where it hides it."""
    probability = PROBABILITIES[name]
    if level == "off":
        return 1
    if level == "strict":
        return 1 if probability is not None and probability < 0.2 else None
    if probability is None:
        return 0.1
    if probability >= 0.8:
        return None
    return 0.1 ** (max(0, probability - 0.2) / 0.6)


def document(number: int) -> Json:
    probability = PROBABILITIES[str(number)]
    scored = {"probability": probability, "status": "scored"}
    return {
        "title": " ".join(["cat"] * (1 + number % 3) + ["word"] * (number * 11 % 17)),
        "note": ("" if number % 2 else "cat ") + "dog block failed scored",
        "price": number * 37 % COUNT,
        "group": "abcd"[number % 4],
        "vector": [number * 13 % 41, number * 29 % 37, number % 7],
        **({} if probability is None else {"safety": scored}),
    }


@pytest.fixture(scope="module", params=[1, 3])
def node(request: pytest.FixtureRequest, elasticsearch_url: str) -> Iterator[LicensedNode]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    vector = {"type": "dense_vector", "dims": 3, "similarity": "l2_norm"}
    mappings = {
        "properties": {
            **properties,
            "title": {"type": "text"},
            "note": {"type": "text"},
            "price": {"type": "integer"},
            "group": {"type": "keyword"},
            "vector": {**vector, "index_options": {"type": "flat"}},
        }
    }
    layout = {"number_of_shards": request.param, "number_of_replicas": 0}
    with LicensedNode(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(index=INDEX, settings=layout, mappings=mappings)
        operations: list[Json] = []
        for number in range(COUNT):
            operations += [{"index": {"_id": str(number)}}, document(number)]
        client.bulk(index=INDEX, operations=operations, refresh=True)
        SAFE.update((level, SafeSearch(client, POLICY, level=level)) for level in POLICY.levels)
        yield client
        client.indices.delete(index=INDEX)


CAT: Json = {"standard": {"query": {"match": {"title": "cat"}}}}
DOG: Json = {
    "standard": {
        "query": {"match": {"note": "cat dog"}},
        "filter": [{"exists": {"field": "price"}}],
    }
}
CHEAP: Json = {"standard": {"query": {"match_all": {}}, "sort": [{"price": "asc"}]}}
FILTER: Json = {"standard": {"query": {"bool": {"filter": {"match": {"title": "word"}}}}}}
NEAR: Json = {
    "knn": {"field": "vector", "query_vector": [9, 9, 3], "k": 15, "num_candidates": COUNT}
}
RESCORE: Json = {"query": {"rescore_query": {"match": {"note": "cat"}}, "query_weight": 0.5}}


def rrf(*retrievers: Json, **options: Any) -> Json:
    return {"rrf": {"retrievers": list(retrievers), "rank_window_size": 30, **options}}


def linear(*retrievers: Json, **options: Any) -> Json:
    items = [
        {"retriever": one, "weight": 1.5 - number, "normalizer": ("minmax", "l2_norm")[number]}
        for number, one in enumerate(retrievers)
    ]
    return {"linear": {"retrievers": items, "rank_window_size": 30, **options}}


def reranker(retriever: Json, window: int = 20, **options: Any) -> Json:
    model = {"field": "title", "inference_id": "any", "inference_text": "cat"}
    body = {"retriever": retriever, "rank_window_size": window, **model, **options}
    return {"text_similarity_reranker": body}


def rescorer(retriever: Json, window: int = 20, **options: Any) -> Json:
    rescore = {**RESCORE, "window_size": window}
    return {"rescorer": {"retriever": retriever, "rescore": rescore, **options}}


def diversify(retriever: Json, **options: Any) -> Json:
    mmr = {"type": "mmr", "field": "vector", "lambda": 0.5, "query_vector": [1, 0, 0]}
    return {
        "diversify": {"retriever": retriever, "rank_window_size": 20, "size": 12, **mmr, **options}
    }


RETRIEVERS: dict[str, Json] = {
    "rrf": rrf(CAT, NEAR),
    "rrf of three, weighted": rrf({"retriever": CAT, "weight": 2}, DOG, CHEAP, rank_constant=5),
    "rrf, narrow": rrf(CAT, NEAR, rank_window_size=12),
    "rrf, by default": {"rrf": {"retrievers": [CAT, DOG]}},
    "rrf, bounded": rrf(CAT, NEAR, min_score=0.014),
    "rrf, filtered": rrf(CAT, NEAR, filter={"term": {"group": "a"}}),
    "rrf of a filter": rrf(FILTER, CHEAP),
    "rrf in short": {
        "rrf": {"query": "cat dog", "fields": ["title", "note^2"], "rank_window_size": 20}
    },
    "rrf in short, filtered": {"rrf": {"query": "cat", "filter": {"term": {"group": "a"}}}},
    "linear": linear(CAT, NEAR),
    "linear, narrow": linear(CAT, NEAR, rank_window_size=12),
    "linear, bounded": linear(CAT, NEAR, min_score=0.3),
    "linear of one": linear(FILTER),
    "linear in short": {"linear": {"query": "cat", "fields": ["title"], "normalizer": "minmax"}},
    "reranker": reranker(CAT),
    "reranker of rrf": reranker(rrf(CAT, NEAR), min_score=0.15),
    "rescorer of rrf": rescorer(rrf(CAT, NEAR)),
    "rescorer of linear, bounded": rescorer(linear(CAT, NEAR), min_score=0.5),
    "rrf of rescorer and linear": rrf(rescorer(CAT, 30), linear(DOG, NEAR)),
    "diversify of rrf": diversify(rrf(CAT, NEAR)),
    "linear of diversify": linear(diversify(NEAR, size=30, rank_window_size=30), DOG),
}


def window_of(retriever: Json) -> int:
    ((kind, body),) = retriever.items()
    if kind in ("standard", "knn"):
        return COUNT
    if kind == "rescorer":
        return int(body["rescore"]["window_size"])
    return min(body.get("rank_window_size", 10), body.get("size", COUNT))


def among(retriever: Json, names: list[str]) -> Json:
    """The retriever among some of the documents."""
    ((kind, body),) = retriever.items()
    ids = {"ids": {"values": names}}
    own = body.get("filter", [])
    return {kind: {**body, "filter": [*(own if isinstance(own, list) else [own]), ids]}}


def pinned(retriever: Json, *names: str, **options: Any) -> Json:
    return {
        "pinned": {"retriever": retriever, "ids": list(names), "rank_window_size": 15, **options}
    }


def rule(retriever: Json, **options: Any) -> Json:
    rules = {"ruleset_ids": ["front"], "match_criteria": {"query": "cat"}}
    return {"rule": {"retriever": retriever, "rank_window_size": 15, **rules, **options}}


RULESETS["front"] = PINS = ["5", "6", "14", "9", "13", "18"]


def expected(node: Elasticsearch, retriever: Json, level: str) -> list[tuple[str, float]]:
    """The visible documents by relevance times factor, best first."""
    factors = {name: factor(name, level) for name in PROBABILITIES}
    visible = [name for name, one in factors.items() if one is not None]
    plain = node.search(
        index=INDEX, retriever=among(retriever, visible), size=window_of(retriever), source=False
    )
    # A relevance of 0 counts as next to nothing.
    hits = [(hit["_id"], hit["_score"] or 1e-32) for hit in plain["hits"]["hits"]]
    demoted = [(name, score * (factors[name] or 0)) for name, score in hits]
    return sorted(demoted, key=lambda hit: -hit[1])


def found(retriever: Json, level: str, **options: Any) -> list[tuple[str, float]]:
    options = {"size": window_of(retriever), **options}
    answer = SAFE[level].search(index=INDEX, retriever=retriever, **options)
    return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]


def compare(hits: list[tuple[str, float]], wanted: list[tuple[str, float]]) -> None:
    """The same documents with the same scores, in the same order but for equal ones."""
    assert dict(hits) == pytest.approx(dict(wanted), rel=1e-4, abs=1e-25)
    scores = [score for _, score in hits]
    assert scores == sorted(scores, reverse=True)


def test_the_documents_of_these_tests_are_of_all_kinds() -> None:
    for level, kinds in (("moderate", {None, 0.1, 1}), ("strict", {None, 1})):
        assert {factor(name, level) for name in PROBABILITIES} >= kinds
        assert {factor(name, level) is None for name in PINS} == {True, False}


@pytest.mark.parametrize("level", POLICY.levels)
@pytest.mark.parametrize("name", RETRIEVERS)
def test_visible_documents_by_their_ranks_among_each_other_times_the_factor(
    node: LicensedNode, name: str, level: str
) -> None:
    wanted = expected(node, RETRIEVERS[name], level)
    assert wanted
    compare(found(RETRIEVERS[name], level), wanted)


FRONT: dict[str, tuple[Json, Json]] = {
    # What is searched, and what stands behind the pinned documents.
    "of a query": (pinned(CAT, *PINS), CAT),
    "of a query, filtered": (
        pinned(CAT, *PINS, filter={"term": {"group": "a"}}),
        among(CAT, [str(number) for number in range(0, COUNT, 4)]),
    ),
    "of rrf": (pinned(rrf(CAT, NEAR), *PINS), rrf(CAT, NEAR)),
    "by index": (
        pinned(rrf(CAT, NEAR), docs=[{"_index": INDEX, "_id": name} for name in PINS], ids=None),
        rrf(CAT, NEAR),
    ),
    "rules of a query": (rule(CAT), CAT),
    "rescored": (rescorer(pinned(linear(CAT, NEAR), *PINS), 15), linear(CAT, NEAR)),
}


@pytest.mark.parametrize("level", POLICY.levels)
@pytest.mark.parametrize("name", FRONT)
def test_visible_pinned_documents_stand_in_front(node: LicensedNode, name: str, level: str) -> None:
    retriever, others = FRONT[name]
    retriever = without_none(retriever)
    names = [hit for hit, _ in found(retriever, level)]
    visible = [pin for pin in PINS if factor(pin, level) is not None]
    assert 0 < len(visible) <= len(PINS)
    behind = [hit for hit, _ in expected(node, {**others}, level) if hit not in visible]
    if name == "rescored":
        assert set(names[: len(visible)]) == set(visible)
        assert {factor(hit, level) is None for hit in names} == {False}
        return
    # Each of the two parts by the factor, which for equal ones keeps their order.
    parts = sorted(visible, key=lambda pin: -(factor(pin, level) or 0))
    assert names[: len(visible)] == parts
    room = 15 - len(visible)
    assert len(names) == min(15, len(visible) + len(behind))
    if level != "moderate":
        assert names[len(visible) :] == behind[:room]
    assert set(names[len(visible) :]) <= set(behind)


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(part) for key, part in value.items() if part is not None}
    return [without_none(part) for part in value] if isinstance(value, list) else value


def test_pinned_documents_that_are_hidden_leave_the_others_as_they_are(node: LicensedNode) -> None:
    hidden = [name for name in PROBABILITIES if factor(name, "strict") is None]
    retriever = pinned(rrf(CAT, NEAR), *hidden[:20])
    assert found(retriever, "strict") == found(rrf(CAT, NEAR), "strict")[:15]
    assert found(pinned(CAT, *hidden[:20]), "strict") == found(CAT, "strict", size=15)


def test_rules_in_front_of_other_retrievers_are_refused(node: LicensedNode) -> None:
    for level in ("off", "moderate", "strict"):
        with pytest.raises(UnsafeRequest, match="rules can pin hidden documents"):
            found(rule(rrf(CAT, NEAR)), level)


@pytest.mark.parametrize("level", POLICY.levels)
@pytest.mark.parametrize("name", ["rrf", "linear in short", "rescorer of rrf", "diversify of rrf"])
def test_pages_are_cut_from_one_list(node: LicensedNode, name: str, level: str) -> None:
    retriever = RETRIEVERS[name]
    whole = found(retriever, level)
    window = window_of(retriever)
    pages = [
        found(retriever, level, from_=start, size=min(4, window))
        for start in range(0, window + 8, 4)
    ]
    assert [hit for page in pages for hit in page] == whole
    assert pages[-1] == []


def test_what_strict_shows_moderate_shows_and_what_moderate_shows_off_shows(
    node: LicensedNode,
) -> None:
    for retriever in (
        rrf(CAT, NEAR, rank_window_size=COUNT),
        linear(CAT, DOG, rank_window_size=COUNT),
    ):
        off, moderate, strict = (dict(found(retriever, level)) for level in POLICY.levels)
        assert strict.keys() < moderate.keys() < off.keys()


@pytest.mark.parametrize("level", POLICY.levels)
@pytest.mark.parametrize("retriever", [rrf(CAT, NEAR), pinned(rrf(CAT, NEAR), *PINS)], ids=str)
def test_the_same_by_every_call(
    node: LicensedNode, elasticsearch_url: str, retriever: Json, level: str
) -> None:
    wanted = found(retriever, level, size=12)
    safe = SAFE[level]
    body = {"retriever": retriever, "size": 12}
    both = safe.msearch(
        searches=[{"index": INDEX}, body, {"index": INDEX}, {"query": {"match_all": {}}}]
    )
    answers = [both["responses"][0]]
    pit = node.open_point_in_time(index=INDEX, keep_alive="1m")
    answers.append(safe.search(**body, pit={"id": pit["id"]}).body)
    node.close_point_in_time(id=pit["id"])
    answers.append(asyncio.run(awaited(node, elasticsearch_url, level, body)))
    for answer in answers:
        assert [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]] == wanted


async def awaited(node: LicensedNode, url: str, level: str, body: Json) -> Json:
    async with AsyncLicensedNode(url, request_timeout=60) as client:
        client.node = node
        safe = AsyncSafeSearch(client, POLICY, level=level)
        return (await safe.search(index=INDEX, body=body)).body


def test_totals_and_aggregations_are_of_visible_documents(node: LicensedNode) -> None:
    groups = {"groups": {"terms": {"field": "group"}}}
    for level in POLICY.levels:
        visible = [name for name in PROBABILITIES if factor(name, level) is not None]
        answer = SAFE[level].search(index=INDEX, retriever=rescorer(CAT), aggs=groups, size=3)
        assert answer["hits"]["total"]["value"] == len(visible)
        counts = {
            one["key"]: one["doc_count"] for one in answer["aggregations"]["groups"]["buckets"]
        }
        assert counts == Counter(document(int(name))["group"] for name in visible)


@pytest.mark.parametrize("level", POLICY.levels)
@pytest.mark.parametrize(
    "retriever",
    [diversify(CAT, rank_window_size=COUNT, size=COUNT), rrf(CAT, DOG, rank_window_size=COUNT)],
    ids=["diversify", "rrf"],
)
def test_groups_and_what_is_in_them_go_by_the_demoted_scores(
    node: LicensedNode, retriever: Json, level: str
) -> None:
    wanted: dict[str, list[tuple[str, float]]] = {}
    for hit in found(retriever, level):
        wanted.setdefault(document(int(hit[0]))["group"], []).append(hit)
    answer = SAFE[level].search(
        index=INDEX,
        retriever=retriever,
        collapse={"field": "group", "inner_hits": {"name": "all", "size": COUNT}},
    )
    groups = {
        hit["fields"]["group"][0]: [
            (one["_id"], one["_score"]) for one in hit["inner_hits"]["all"]["hits"]["hits"]
        ]
        for hit in answer["hits"]["hits"]
    }
    assert list(groups) == list(wanted)
    assert {name: dict(group) for name, group in groups.items()} == {
        name: pytest.approx(dict(group)) for name, group in wanted.items()
    }
    for hit, group in zip(answer["hits"]["hits"], groups.values(), strict=True):
        assert (hit["_id"], hit["_score"]) == group[0]
        assert sorted(group, key=lambda one: -one[1]) == group


@pytest.mark.parametrize("level", POLICY.levels)
@pytest.mark.parametrize(
    "retriever", [diversify(DOG), rescorer(DOG)], ids=["diversify", "rescorer"]
)
def test_highlights_are_those_of_the_plain_request(
    node: LicensedNode, retriever: Json, level: str
) -> None:
    highlight = {"fields": {"title": {}, "note": {}}, "require_field_match": False}
    options = {"retriever": retriever, "highlight": highlight, "size": 10}
    visible = [name for name in PROBABILITIES if factor(name, level) is not None]
    plain = node.search(index=INDEX, **{**options, "retriever": among(retriever, visible)})
    answer = SAFE[level].search(index=INDEX, **options)
    wanted = {hit["_id"]: hit["highlight"] for hit in plain["hits"]["hits"]}
    assert "<em>dog</em>" in str(wanted)
    for hit in answer["hits"]["hits"]:
        assert hit["highlight"] == wanted.get(hit["_id"], hit["highlight"])
        assert "<em>block" not in str(hit["highlight"])


@pytest.mark.parametrize("level", POLICY.levels)
def test_explanations_are_of_the_demoted_rank_and_profiles_have_times_only(
    node: LicensedNode, level: str
) -> None:
    answer = SAFE[level].search(index=INDEX, retriever=rescorer(CAT), explain=True, profile=True)
    for rank, hit in enumerate(answer["hits"]["hits"], start=1):
        assert hit["_explanation"]["value"] == rank
        assert "_id:" not in str(hit["_explanation"]).replace("_id:...", "")
    told = {
        key
        for shard in answer["profile"]["shards"]
        for one in shard["searches"]
        for key in one["query"][0]
    }
    assert told == {"time_in_nanos"}


def test_every_level_takes_hybrid_requests(node: LicensedNode) -> None:
    for retriever in [*RETRIEVERS.values(), *(without_none(one) for one, _ in FRONT.values())]:
        assert check_request({"retriever": retriever}, POLICY) == {}
    refused = check_request({"retriever": rule(rrf(CAT, NEAR))}, POLICY)
    assert set(refused) == set(POLICY.levels)


LEAVES = st.sampled_from([CAT, DOG, FILTER, NEAR])


def compounds(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    pairs = st.lists(inner, min_size=1, max_size=2)
    window = {"rank_window_size": COUNT}
    return st.one_of(
        st.builds(
            lambda each, constant: rrf(*each, CHEAP, rank_constant=constant, **window),
            pairs,
            st.integers(1, 60),
        ),
        pairs.map(lambda each: linear(*each, **window)),
        inner.map(lambda one: reranker(one, COUNT)),
        inner.map(lambda one: rescorer(one, COUNT)),
    )


TREES = compounds(st.recursive(LEAVES, compounds, max_leaves=4))


@settings(max_examples=15, deadline=None)
@given(
    retriever=TREES, window=st.integers(3, COUNT), start=st.integers(0, 20), size=st.integers(1, 9)
)
def test_any_tree_of_retrievers(
    node: LicensedNode, retriever: Json, window: int, start: int, size: int
) -> None:
    ((kind, body),) = retriever.items()
    if kind == "rescorer":
        rescore = {**body["rescore"], "window_size": window}
        retriever = {kind: {**body, "rescore": rescore}}
    else:
        retriever = {kind: {**body, "rank_window_size": window}}
    size = min(size, window)
    for level in POLICY.levels:
        whole = found(retriever, level)
        compare(whole, expected(node, retriever, level))
        assert found(retriever, level, from_=start, size=size) == whole[start : start + size]
