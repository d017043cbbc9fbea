"""Random requests at every level, on a real node.

``SAFERANK_FUZZ_BODIES`` sets how many bodies and draws new ones; without it there are 100, always
the same. ``--hypothesis-seed`` repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from elasticsearch import Elasticsearch, helpers
from engines import ENGINE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saferank.ranker import SafeSearch
from saferank.ranker.client.filter_path import filtered
from saferank.ranker.level.decision import explain
from saferank.ranker.policy.load import load_policy
from saferank.ranker.rewrite.limits import Limits
from saferank.ranker.rewrite.neighbours import nearest_request
from saferank.ranker.rewrite.search import restore_response, rewrite_count, rewrite_search
from saferank.settings import Engine

INDEX = "ranker-fuzz"
BODIES = int(os.environ.get("SAFERANK_FUZZ_BODIES", "0"))
ONE = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote, failed: hide}
  strict:   {demote_from: 0.1, hide_from: 0.2, unscored: hide}
demotion: {curve: exponential, floor: 0.1}
contexts: [{level: moderate}]
""")
THREE = load_policy("""\
version: 2
categories:
  nudity: {field: safety}
  violence: {field: safety_violence}
  drawing: {field: media.drawing, model: m}
levels:
  off:
    drawing:  {blocked: show}
  moderate:
    nudity:   {demote_from: 0.2, hide_from: 0.8, unscored: demote, failed: hide}
    violence: {demote_from: 0.5, blur_from: 0.3, unscored: show}
    drawing:  {hide_from: 0.9, unscored: blur, blocked: demote}
  strict:
    nudity:   {demote_from: 0.1, hide_from: 0.2, unscored: hide}
    violence: {demote_from: 0.1, hide_from: 0.3, unscored: demote, blocked: hide}
    drawing:  {demote_from: 0.05, hide_from: 0.5, unscored: hide, blocked: hide}
demotion: {curve: linear, floor: 0.2}
contexts: [{level: moderate}]
""")
POLICIES = {"one": ONE, "three": THREE}
Level = tuple[str, str]
"""Which policy, and which of its levels."""
LEVELS = {
    (kind, name): policy.decision_for(name)
    for kind, policy in POLICIES.items()
    for name in policy.levels
}
COUNT = 60
WORDS = ("cat", "dog", "red", "blue", "tree")
TAGS = ("a", "b", "c")
VECTOR: dict[str, Any] = {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"}
FIELDS = ("vector", "flat", "quantized")
LIMITS = Limits(rescore_window=200)
SAFETY = {
    "properties": {
        "probability": {"type": "float"},
        "model": {"type": "keyword"},
        "status": {"type": "keyword"},
        "override": {"type": "keyword"},
    }
}
MAPPINGS = {
    "properties": {
        "title": {"type": "text"},
        "marker": {"type": "keyword"},
        "tag": {"type": "keyword"},
        "price": {"type": "integer"},
        "number": {"type": "integer"},
        "when": {"type": "date"},
        "vector": {**VECTOR, "index_options": {"type": "hnsw"}},
        "flat": {**VECTOR, "index_options": {"type": "flat"}},
        "quantized": {**VECTOR, "index_options": {"type": "int8_flat"}},
        "parts": {
            "type": "nested",
            "properties": {"tag": {"type": "keyword"}, "marker": {"type": "keyword"}},
        },
        "safety": SAFETY,
        "safety_violence": SAFETY,
        "media": {"properties": {"drawing": SAFETY}},
    }
}


def corpus() -> dict[str, dict[str, Any]]:
    """Documents by id; the id is also the marker, which is in every part of the document."""
    draw = random.Random(7)
    special = [
        {},
        {"status": "failed"},
        {"status": "failed", "probability": 0.5},
        {"status": "not_read", "probability": 0.0},
        {"status": ["failed", "not_read"]},
        {"status": "no_image"},
        {"probability": 0.9, "override": "allow"},
        {"probability": 0.0, "override": "block"},
        {"probability": 0.0, "override": "BLOCK"},
        {"probability": 0.0, "status": "FAILED"},
        {"probability": -1},
        {"probability": [0.0, 2]},
        {"probability": [0.15]},
    ]
    edges = [0.0, 0.1, 0.1999999, 0.2, 0.5, 0.7999999, 0.8, 1.0]
    result = {}
    others = random.Random(8)

    def other(rarely: int) -> dict[str, Any]:
        """What is known of another category: most often that there is little of it."""
        if others.randrange(rarely) == 0:
            return {**others.choice(special), "model": others.choice("mn")}
        return {"probability": others.choice([0.0, 0.01, *edges]) * 0.6, "model": "m"}

    for number in range(COUNT):
        marker = f"marker{number:02}x"
        vector = [draw.random(), draw.random()]
        if number % 5 == 0:
            safety = special[number // 5 % len(special)]
        else:
            safety = {"probability": draw.choice([*edges, draw.random()])}
        result[marker] = {
            "title": " ".join([*draw.choices(WORDS, k=draw.randint(1, 6)), marker]),
            "marker": marker,
            "tag": draw.choice(TAGS),
            "price": draw.randint(0, 5),
            "number": number,
            "when": f"2024-{draw.randint(1, 12):02}-01",
            **dict.fromkeys(FIELDS, vector),
            "parts": [{"tag": draw.choice(TAGS), "marker": marker}],
            # A source may have a list where one object is meant.
            "safety": [safety] if number % 11 == 0 else safety,
            "safety_violence": other(6),
            "media": {"drawing": other(9)},
        }
    return result


def record(document: dict[str, Any]) -> dict[str, Any]:
    safety = document["safety"]
    return dict(safety[0] if isinstance(safety, list) else safety)


CORPUS = corpus()


def records(kind: str) -> list[dict[str, Any]]:
    """What ``explain`` takes, of all documents."""
    if kind == "one":
        return [record(document) for document in CORPUS.values()]
    return [
        {
            "nudity": record(document),
            "violence": document["safety_violence"],
            "drawing": document["media"]["drawing"],
        }
        for document in CORPUS.values()
    ]


EXPLAINED = {
    level: dict(zip(CORPUS, explain(records(level[0]), decision), strict=True))
    for level, decision in LEVELS.items()
}


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    client = Elasticsearch(elasticsearch_url, request_timeout=60)
    client.options(ignore_status=404).indices.delete(index=INDEX)
    settings = {
        "number_of_shards": 2,
        "number_of_replicas": 0,
        "refresh_interval": "-1",
        "max_rescore_window": LIMITS.rescore_window,
    }
    client.indices.create(index=INDEX, mappings=MAPPINGS, settings=settings)
    helpers.bulk(client, ({"_id": id, **source} for id, source in CORPUS.items()), index=INDEX)
    client.indices.refresh(index=INDEX)
    yield client
    CLIENTS.clear()
    client.indices.delete(index=INDEX)
    client.close()


# What a search asks with; OpenSearch has queries only.
WAYS = ["query", "query", "query", "knn", "both", "retriever"]
if ENGINE is Engine.OPENSEARCH:
    WAYS = ["query"]

words = st.sampled_from(WORDS)
tags = st.sampled_from(TAGS)
prices = st.integers(0, 5)
boosts = st.sampled_from([0, 0.5, 1, 2])


# Of what comes in the same order each time.
PATHS = ("hits.total", "hits.hits._id", "aggregations.*.doc_count,aggregations.numbers")


def knn_search(
    field: str, boost: float, x: float, filters: list[dict[str, Any]], k: int = COUNT
) -> dict[str, Any]:
    """All documents as candidates, so that a search finds the same neighbours at each level."""
    return {
        "field": field,
        "query_vector": [x, 0.5],
        "k": k,
        "num_candidates": 2 * COUNT,
        "boost": boost,
        "filter": filters,
    }


neighbours = st.builds(
    lambda field, b, x: {"knn": knn_search(field, b, x, [])},
    st.sampled_from(FIELDS),
    boosts,
    st.floats(0, 1, width=16),
)
leaves = st.one_of(
    st.just({"match_all": {}}),
    st.builds(lambda w, b: {"match": {"title": {"query": w, "boost": b}}}, words, boosts),
    st.builds(lambda w: {"match": {"title": " ".join(w)}}, st.lists(words, min_size=1, max_size=3)),
    st.builds(lambda w: {"multi_match": {"query": w, "fields": ["title", "tag^2"]}}, words),
    st.builds(lambda w: {"query_string": {"query": f"{w} OR tag:a", "fields": ["title"]}}, words),
    st.builds(lambda t: {"terms": {"tag": t}}, st.lists(tags, min_size=1, max_size=2)),
    st.builds(lambda p: {"range": {"price": {"gte": p}}}, prices),
    st.builds(lambda t: {"term": {"tag": {"value": t, "_name": "tag"}}}, tags),
    st.just({"prefix": {"marker": "marker"}}),
    st.just({"exists": {"field": "safety.probability"}}),
    st.builds(
        lambda t, inner: {
            "nested": {
                "path": "parts",
                "query": {"term": {"parts.tag": t}},
                **({"inner_hits": {}} if inner else {}),
            }
        },
        tags,
        st.booleans(),
    ),
    *([] if ENGINE is Engine.OPENSEARCH else [neighbours]),
)


def compounds(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.lists(inner, max_size=2)
    return st.one_of(
        st.builds(
            lambda must, should, allowed, forbidden: {
                "bool": {
                    "must": must,
                    "should": should,
                    "filter": allowed,
                    "must_not": forbidden,
                }
            },
            some,
            some,
            some,
            st.lists(st.builds(lambda p: {"term": {"price": p}}, prices), max_size=1),
        ),
        st.builds(lambda q, b: {"constant_score": {"filter": q, "boost": b}}, inner, boosts),
        st.builds(lambda qs: {"dis_max": {"queries": qs}}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(
            lambda q, n: {"boosting": {"positive": q, "negative": n, "negative_boost": 0.5}},
            inner,
            inner,
        ),
        st.builds(
            lambda q, f, w: {
                "function_score": {"query": q, "functions": [{"filter": f, "weight": w}]}
            },
            inner,
            inner,
            boosts,
        ),
    )


def named_once(body: dict[str, Any]) -> dict[str, Any]:
    """The body with distinct names of inner hits."""
    text = json.dumps(body)
    for number in range(text.count('"inner_hits": {}')):
        text = text.replace('"inner_hits": {}', f'"inner_hits": {{"name": "inner{number}"}}', 1)
    loaded: dict[str, Any] = json.loads(text)
    return loaded


queries = st.recursive(leaves, compounds, max_leaves=4)
knns = st.builds(
    knn_search,
    st.sampled_from(FIELDS),
    boosts,
    st.floats(0, 1, width=16),
    st.lists(leaves, max_size=1),
    st.sampled_from([COUNT, COUNT, 5]),
)

TOP = {"top_hits": {"size": 20}}
MARKERS = {"terms": {"field": "marker", "size": 100}}
inner_aggregations = st.sampled_from(
    [
        {"top": TOP},
        {"markers": MARKERS},
        {"significant": {"significant_terms": {"field": "marker", "min_doc_count": 1}}},
        {"parts": {"nested": {"path": "parts"}, "aggs": {"back": {"reverse_nested": {}}}}},
        {"most": {"max": {"field": "price"}}, "markers": MARKERS},
    ]
)
aggregations = st.builds(
    lambda outer, inner: {**outer, "aggs": inner},
    st.one_of(
        st.just({"global": {}}),
        st.just({"terms": {"field": "tag"}}),
        st.just({"histogram": {"field": "price", "interval": 2}}),
        st.just({"date_histogram": {"field": "when", "calendar_interval": "quarter"}}),
        st.just({"sampler": {"shard_size": 10}}),
        st.builds(lambda q: {"filter": q}, leaves),
        st.builds(
            lambda q: {"filters": {"filters": {"x": q}, "other_bucket": True}},
            leaves,
        ),
    ),
    inner_aggregations,
)
field_sorts = st.lists(
    st.sampled_from(
        [
            "price",
            {"price": "desc"},
            {"when": {"order": "desc"}},
            {"parts.tag": {"order": "asc", "nested": {"path": "parts"}}},
            {"safety.probability": {"order": "desc", "missing": "_first"}},
        ]
    ),
    max_size=2,
).map(lambda keys: [*keys, {"number": "asc"}])
late_scores = st.builds(
    lambda keys, order: [*keys[:-1], {"_score": order}, keys[-1]],
    field_sorts,
    st.sampled_from(["asc", "desc"]),
)
score_sorts = st.sampled_from(["_score", ["_score"], [{"_score": "desc"}, {"number": "desc"}]])
MODES = ("total", "max", "avg", "min", "multiply")


@st.composite
def rescorers(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "window_size": draw(st.sampled_from([2, 7, 2 * COUNT])),
        "query": {
            "rescore_query": draw(leaves),
            "score_mode": draw(st.sampled_from(MODES)),
            "query_weight": draw(st.sampled_from([0, 0.5, 1])),
            "rescore_query_weight": draw(st.sampled_from([0, 0.25, 1])),
        },
    }


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """A body that the node takes: parts that exclude each other are not drawn together."""

    def sometimes(part: str, value: st.SearchStrategy[Any]) -> None:
        if draw(st.integers(0, 3)) == 0:
            body[part] = draw(value)

    body: dict[str, Any] = {}
    way = draw(st.sampled_from(WAYS))
    if way in ("query", "both"):
        body["query"] = draw(queries)
    if way in ("knn", "both"):
        body["knn"] = draw(st.one_of(knns, st.lists(knns, min_size=1, max_size=2)))
    if way == "retriever":
        body["retriever"] = draw(retrievers())
    else:
        order = draw(st.sampled_from(["none", "score", "field", "late", "rescore"]))
        if order == "score":
            body["sort"] = draw(score_sorts)
        elif order == "field":
            body["sort"] = draw(field_sorts)
        elif order == "late":
            body["sort"] = draw(late_scores)
        elif order == "rescore":
            body["rescore"] = draw(st.one_of(rescorers(), st.lists(rescorers(), max_size=2)))
        sometimes("min_score", st.sampled_from([0, 0.1, 0.5, 1.0]))
    if "rescore" not in body and way != "retriever" and not scored_later(body):
        inner = {"name": "group", "size": 10, "sort": ["number"]}
        collapse = {"field": draw(st.sampled_from(["tag", "price"]))}
        sometimes("collapse", st.sampled_from([collapse, {**collapse, "inner_hits": inner}]))
    sometimes("post_filter", leaves)
    if "min_score" not in {**body, **body.get("retriever", {}).get("standard", {})}:
        sometimes("indices_boost", st.just([{INDEX: 2}]))
    sometimes("highlight", st.just({"fields": {"title": {}}}))
    sometimes("_source", st.sampled_from([False, ["marker"], True]))
    sometimes("fields", st.just(["marker", "tag"]))
    if not depends_on_values({key: body[key] for key in body.keys() - {"post_filter"}}):
        sometimes("explain", st.booleans())
    if not scored_later(body):
        sometimes("profile", st.just(True))
    if ENGINE is not Engine.OPENSEARCH:
        sometimes("runtime_mappings", st.just({"other": {"type": "keyword"}}))
    body["aggs"] = {
        "numbers": {"value_count": {"field": "number"}},
        **draw(st.dictionaries(st.sampled_from("xyz"), aggregations, max_size=2)),
    }
    return named_once(body)


@st.composite
def retrievers(draw: st.DrawFn) -> dict[str, Any]:
    standard: dict[str, Any] = {"query": draw(queries)}
    if draw(st.booleans()):
        standard["filter"] = draw(leaves)
    kind = draw(st.sampled_from(["standard", "sorted", "knn", "rescorer", "diversify"]))
    knn = {"knn": {k: v for k, v in draw(knns).items() if k != "boost"}}
    if kind == "knn":
        return knn
    if kind == "diversify":
        # As many as there are, since others are chosen where some are hidden.
        options = {"type": "mmr", "field": "flat", "lambda": draw(st.sampled_from([0.1, 0.9]))}
        options |= {"query_vector": [0.5, 0.5], "size": 2 * COUNT, "rank_window_size": 2 * COUNT}
        return {
            "diversify": {
                "retriever": draw(st.sampled_from([knn, {"standard": standard}])),
                **options,
            }
        }
    if kind == "sorted":
        standard["sort"] = draw(field_sorts)
    if kind == "rescorer":
        windows = draw(st.lists(st.sampled_from([2 * COUNT, 3 * COUNT]), min_size=1, max_size=2))
        rescore = [{**draw(rescorers()), "window_size": size} for size in windows]
        return {"rescorer": {"retriever": {"standard": standard}, "rescore": rescore}}
    if draw(st.booleans()):
        standard["min_score"] = draw(st.sampled_from([0.1, 0.5]))
    return {"standard": standard}


def scored_later(body: dict[str, Any]) -> bool:
    """Whether a sort by fields looks at the score, too, which takes a safe client."""
    return "_score" in str(body.get("sort")) and not by_relevance(body)


def ask(
    node: Elasticsearch, body: dict[str, Any], level: Level, *, by_client: bool
) -> dict[str, Any]:
    """What an application is answered, with a safe client or without."""
    if by_client or scored_later(body):
        return safely(node, body, level)
    decision, nearest = LEVELS[level], None
    if (first := nearest_request(body, decision, limits=LIMITS)) is not None:
        nearest = send(node, first)["hits"]["hits"]
    return send(node, rewrite_search(body, decision, limits=LIMITS, nearest=nearest))


def safely(node: Elasticsearch, body: dict[str, Any], level: Level, **more: Any) -> dict[str, Any]:
    """What a safe client answers, one for all requests, so that it learns about the index."""
    kind, name = level
    safe = CLIENTS.setdefault(level, SafeSearch(node, POLICIES[kind], level=name))
    return dict(safe.search(index=INDEX, body=body, **more).body)


CLIENTS: dict[Level, SafeSearch] = {}


def send(node: Elasticsearch, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"accept": "application/json", "content-type": "application/json"}
    response = node.perform_request("POST", f"/{INDEX}/_search", body=body, headers=headers)
    return restore_response(response.body)


def ids(response: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in response["hits"]["hits"]]


def depends_on_values(body: dict[str, Any]) -> bool:
    """Whether scores are by a query whose explanation would tell values of hidden documents."""
    return not {'"range"', '"exists"'}.isdisjoint(re.findall(r'"\w+"', json.dumps(body)))


def expected_order(raw: dict[str, Any], body: dict[str, Any], level: Level) -> list[str] | None:
    """Visible documents in the order they should have, from the answer without a policy.

    None where that answer does not tell: of groups it shows one document, and a window picks
    other documents at other levels.
    """
    if "collapse" in body or small_windows(body) or few_neighbours(body):
        return None
    explained = EXPLAINED[level]
    hits = [hit for hit in raw["hits"]["hits"] if explained[hit["_id"]].factor is not None]
    if not by_relevance(body):
        hits.sort(key=lambda hit: explained[hit["_id"]].action == "demoted")
    else:
        hits.sort(key=lambda hit: place(hit, level), reverse=True)
    return [hit["_id"] for hit in hits]


def place(hit: dict[str, Any], level: Level) -> tuple[float, float]:
    """What orders by relevance: the demoted score, and where that is 0 the factor."""
    factor = EXPLAINED[level][hit["_id"]].factor or 0
    return hit["_score"] * factor, factor if hit["_score"] == 0 else 1


def small_windows(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The rescorers that do not look at everything."""
    return [item for item in flat(body.get("rescore", [])) if item["window_size"] < COUNT]


def few_neighbours(body: dict[str, Any]) -> bool:
    """Whether other documents are found where some are hidden."""
    retriever = body.get("retriever", {})
    inside = retriever.get("diversify", {}).get("retriever", {})
    searches = [*flat(body.get("knn", [])), retriever.get("knn"), inside.get("knn")]
    return any(search and search["k"] < COUNT for search in searches)


def by_relevance(body: dict[str, Any]) -> bool:
    sort = body.get("sort", body.get("retriever", {}).get("standard", {}).get("sort"))
    return sort is None or flat(sort)[0] in ("_score", {"_score": "desc"})


def flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def same_order(found: list[str], expected: list[str], places: Mapping[str, Any]) -> bool:
    """Equal but for neighbours whose places are the same up to rounding."""
    if sorted(found) != sorted(expected):
        return False
    return all(
        one == other or places[one] == pytest.approx(places[other], rel=1e-5)
        for one, other in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.timeout(300 + 2 * BODIES)
@settings(
    max_examples=BODIES or 100,
    derandomize=not BODIES,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(
    bodies(),
    st.sampled_from(("off", "moderate", "strict")),
    st.integers(1, 25),
    st.booleans(),
    st.sampled_from(PATHS),
)
def test_random_requests(
    node: Elasticsearch,
    kind: str,
    body: dict[str, Any],
    paged: str,
    page_size: int,
    by_client: bool,
    paths: str,
) -> None:
    raw = send(node, {**body, "size": 2 * COUNT})
    plain = set(body) <= {"query", "sort", "rescore", "aggs", "highlight", "explain", "collapse"}
    seen: dict[str, set[str]] = {}
    for name in POLICIES[kind].levels:
        level = (kind, name)
        decision = LEVELS[level]
        response = ask(node, {**body, "size": 2 * COUNT}, level, by_client=by_client)
        text = json.dumps(response)
        hidden = [id for id, found in EXPLAINED[level].items() if found.factor is None]
        assert [id for id in hidden if id in text] == []
        found = ids(response)
        seen[name] = set(found)
        total = response["hits"]["total"]["value"]
        if "collapse" not in body:
            assert total == len(found)
        if plain:
            counted = node.count(index=INDEX, **rewrite_count({"query": body["query"]}, decision))
            assert counted["count"] == total
        if "post_filter" not in body:
            assert response["aggregations"]["numbers"]["value"] == total
        if (expected := expected_order(raw, body, level)) is not None:
            if by_relevance(body):
                places = {hit["_id"]: place(hit, level) for hit in raw["hits"]["hits"]}
            else:
                places = {id: number for number, id in enumerate(expected, start=1)}
            assert same_order(found, expected, places)
    if "collapse" not in body and not few_neighbours(body):
        assert seen["strict"] <= seen["moderate"] <= seen["off"]
    if any(item["query"]["query_weight"] == 0 for item in small_windows(body)):
        return  # Outside the window all have the score 0; how many are seen grows with the page.
    paged_level = (kind, paged)
    answer = ask(node, {**body, "size": 2 * COUNT}, paged_level, by_client=by_client)
    whole = ids(answer)
    part = safely(node, {**body, "size": 2 * COUNT}, paged_level, filter_path=paths)
    assert part == filtered(answer, paths)
    pages: list[str] = []
    # A rescorer in a retriever gives no pages past its window, which here is above the corpus.
    for start in range(0, len(whole) + page_size, page_size):
        page = {"size": page_size, "from": start, "aggs": {}}
        pages += ids(ask(node, {**body, **page}, paged_level, by_client=by_client))
    assert pages == whole
