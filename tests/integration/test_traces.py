"""What answers tell besides their hits: no word and no number may come from a hidden document.

Most tests compare two indices that are equal but for their hidden documents: what is told about
one must be told about the other.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from saferank.errors import UnsafeRequest
from saferank.mappings import template
from saferank.ranker import Policy, SafeSearch, load_policy
from saferank.ranker.client.filter_path import filtered
from saferank.ranker.rewrite.search import restore_response, rewrite_search

WITH, WITHOUT = "test-traces-with", "test-traces-without"
BOTH = f"{WITH},{WITHOUT}"
HIDDEN_WORD = "zzhiddenword"
POLICY = """\
version: 1
levels:
  open:     {blocked: show}
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: strict}]
"""
HIDING = ("off", "moderate", "strict")
Json = dict[str, Any]


def document(number: int, word: str, **safety: Any) -> Json:
    day = 1 if word != HIDDEN_WORD else 20
    return {
        "title": f"cat {word}",
        "word": word,
        "number": number,
        "when": f"2024-01-{day:02}",
        "c": f"cat {word} {number}",
        "safety": safety,
    }


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=BOTH, ignore_unavailable=True)
        for index in (WITH, WITHOUT):
            client.indices.create(
                index=index,
                settings={"number_of_shards": 2},
                mappings={
                    "properties": {
                        **properties,
                        "title": {"type": "text"},
                        "word": {"type": "keyword"},
                        "when": {"type": "date"},
                        "c": {"type": "completion"},
                    }
                },
            )
            for number in range(20):
                visible = document(number, "zzvisible", probability=0.01, status="scored")
                client.index(index=index, id=str(number), document=visible)
        for number in range(20, 26):
            blocked = document(number, HIDDEN_WORD, probability=0.9, override="block")
            client.index(index=WITH, id=str(number), document=blocked)
        client.indices.refresh(index=BOTH)
        yield client
        client.indices.delete(index=BOTH)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(POLICY)


@pytest.fixture(scope="module", params=HIDING)
def safe(request: pytest.FixtureRequest, node: Elasticsearch, policy: Policy) -> SafeSearch:
    return SafeSearch(node, policy, level=request.param)


def prefix_of_words(**more: Any) -> Json:
    return {"title": {"value": "zz", **more}}


EXPANDING: dict[str, Json] = {
    "prefix": {"prefix": {"title": "zz"}},
    "prefix_scoring": {"prefix": prefix_of_words(rewrite="scoring_boolean")},
    "wildcard": {"wildcard": {"title": "*zz*"}},
    "regexp": {"regexp": prefix_of_words(value="zz.*", rewrite="top_terms_blended_freqs_10")},
    "fuzzy": {"fuzzy": {"title": {"value": "zzhiddenwort", "fuzziness": 2}}},
    "match_fuzzy": {"match": {"title": {"query": "zzhiddenwort cat", "fuzziness": 2}}},
    "match_phrase_prefix": {"match_phrase_prefix": {"title": "cat zz"}},
    "match_bool_prefix": {"match_bool_prefix": {"title": "cat zz"}},
    "multi_match": {
        "multi_match": {"query": "cat zz", "fields": ["title"], "type": "phrase_prefix"}
    },
    "query_string": {"query_string": {"query": "title:zz* OR zzhiddenwort~2"}},
    "query_string_phrase": {
        "query_string": {"query": "cat zz", "fields": ["title"], "type": "phrase_prefix"}
    },
    "simple_query_string": {
        "simple_query_string": {"query": "zzhiddenwort~2 | zz*", "fields": ["title"]}
    },
    "span_multi": {
        "span_near": {
            "clauses": [
                {"span_term": {"title": "cat"}},
                {"span_multi": {"match": {"prefix": {"title": "zz"}}}},
            ],
            "slop": 1,
        }
    },
    "intervals": {"intervals": {"title": {"prefix": {"prefix": "zz"}}}},
    "intervals_wildcard": {
        "intervals": {
            "title": {
                "all_of": {
                    "intervals": [{"match": {"query": "cat"}}, {"wildcard": {"pattern": "zz*"}}]
                }
            }
        }
    },
    "query_string_prefix": {"query_string": {"query": 'cat OR title:zz* OR "cat zz*"'}},
    "simple_prefix": {"simple_query_string": {"query": "cat | zz*", "fields": ["title"]}},
}
EXPLAINED = {
    "prefix",
    "wildcard",
    "match_bool_prefix",
    "intervals",
    "intervals_wildcard",
    "query_string_prefix",
    "simple_prefix",
}
WRAPPED: dict[str, Callable[[Json], Json]] = {
    "alone": lambda query: query,
    "constant_score": lambda query: {"constant_score": {"filter": query}},
    "function_score": lambda query: {
        "function_score": {"functions": [{"filter": query, "weight": 2}]}
    },
    "boosting": lambda query: {
        "boosting": {"positive": {"match_all": {}}, "negative": query, "negative_boost": 0.5}
    },
    "should": lambda query: {"bool": {"must": {"match_all": {}}, "should": [query]}},
}
PLAIN = {"match": {"title": f"cat zzvisible {HIDDEN_WORD}"}}


def shape(value: Any) -> Any:
    """A value with all numbers and names of places taken out."""
    if isinstance(value, dict):
        places = ("id", "index")
        return {name: shape(item) for name, item in value.items() if name not in places}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return None if isinstance(value, int | float) else value


@pytest.mark.parametrize("query", [*EXPANDING.values(), PLAIN], ids=[*EXPANDING, "plain"])
def test_a_profile_says_the_same_whatever_is_hidden(safe: SafeSearch, query: Json) -> None:
    aggs = {"all": {"global": {}, "aggs": {"words": {"terms": {"field": "word"}}}}}
    body = {"query": query, "aggs": aggs, "profile": True, "highlight": {"fields": {"title": {}}}}
    with_, without = (
        safe.search(index=index, body=body, search_type="dfs_query_then_fetch")["profile"]
        for index in (WITH, WITHOUT)
    )
    assert shape(with_) == shape(without)
    assert "zz" not in json.dumps(with_)
    (times,) = with_["shards"][0]["searches"]
    assert times["query"][0]["time_in_nanos"] > 0
    assert with_["shards"][0]["aggregations"][0]["description"] == "all"
    many = safe.msearch(searches=[{"index": WITH}, body])["responses"][0]
    assert shape(many["profile"]["shards"][0]["searches"]) == shape([times])


def test_a_profile_has_every_shard_though_one_could_be_skipped(safe: SafeSearch) -> None:
    body = {"query": {"range": {"when": {"gte": "2024-01-10"}}}, "profile": True}
    found = safe.search(index=WITH, body=body, pre_filter_shard_size=1)
    assert len(found["profile"]["shards"]) == 2


def test_a_profile_is_whole_where_nothing_is_hidden(node: Elasticsearch, policy: Policy) -> None:
    safe = SafeSearch(node, policy, level="open")
    body = {"query": EXPANDING["prefix"], "profile": True}
    for found in (
        safe.search(index=WITH, body=body),
        safe.msearch(searches=[{"index": WITH}, body])["responses"][0],
    ):
        assert HIDDEN_WORD in json.dumps(found["profile"])
        assert "breakdown" in found["profile"]["shards"][0]["searches"][0]["query"][0]


def test_a_body_that_one_sends_oneself_has_a_profile_of_times(
    node: Elasticsearch, policy: Policy
) -> None:
    decision = policy.decision_for("strict")
    body = rewrite_search({"query": EXPANDING["prefix"], "profile": True}, decision)
    found = node.search(index=WITH, body=body).body
    assert HIDDEN_WORD in json.dumps(found)
    assert HIDDEN_WORD not in json.dumps(restore_response(found))
    assert HIDDEN_WORD not in json.dumps(restore_response(found, decision))
    kept = restore_response(found, policy.decision_for("open"))
    assert kept["profile"] == found["profile"]


def explained(found: Json) -> set[str]:
    """The descriptions in the explanations of all hits."""

    def walk(node: Json) -> Iterator[str]:
        yield node["description"]
        for part in node["details"]:
            yield from walk(part)

    return {text for hit in found["hits"]["hits"] for text in walk(hit["_explanation"])}


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("kind", EXPANDING)
def test_an_explanation_lists_no_word_of_a_hidden_document(
    safe: SafeSearch, kind: str, wrapping: str
) -> None:
    query = WRAPPED[wrapping](EXPANDING[kind])
    if kind not in EXPLAINED:
        for refused in (
            lambda: safe.search(index=WITH, query=query, explain=True),
            lambda: safe.explain(index=WITH, id="3", query=query),
        ):
            with pytest.raises(UnsafeRequest, match="tells words or values of hidden documents"):
                refused()
        return
    found = safe.search(index=WITH, query=query, explain=True, size=20).body
    assert explained(found)
    assert HIDDEN_WORD not in json.dumps(found)
    one = safe.explain(index=WITH, id="3", query=query).body
    assert HIDDEN_WORD not in json.dumps(one)


def test_what_no_explanation_can_tell_is_explained(safe: SafeSearch) -> None:
    found = safe.search(index=WITH, query=PLAIN, explain=True)
    assert any("zzvisible" in text for text in explained(found.body))
    assert safe.explain(index=WITH, id="3", query=PLAIN)["matched"]


@pytest.mark.parametrize(
    "body",
    [
        {"aggs": {"top": {"top_hits": {"explain": True}}}},
        {"collapse": {"field": "word", "inner_hits": {"name": "a", "explain": True}}},
    ],
    ids=["top_hits", "collapse"],
)
def test_hits_inside_others_are_not_explained(safe: SafeSearch, body: Json) -> None:
    query = {"match_phrase_prefix": {"title": "cat zz"}}
    with pytest.raises(UnsafeRequest, match="ask for it beside the query"):
        safe.search(index=WITH, query=query, body=body)
    open_level = safe.at_level("open")
    assert HIDDEN_WORD in json.dumps(open_level.search(index=WITH, query=query, body=body).body)


GLOBAL = {"g": {"global": {}, "aggs": {"words": {"terms": {"field": "word"}}}}}


@pytest.mark.parametrize(
    "filter_path",
    [
        "aggregations.g.doc_count",
        "**.doc_count",
        ["aggregations.*.doc*"],
        "-**.saferank-visible",
        "-**.saferank-visible,aggregations.g",
        "hits.hits._id,hits.hits.saferank.action,_shards.total",
        "took",
    ],
)
def test_a_filter_path_cuts_off_no_filter(safe: SafeSearch, filter_path: Any) -> None:
    body = {"aggs": GLOBAL, "size": 3}
    whole = safe.search(index=WITH, body=body).body
    assert whole["aggregations"]["g"]["doc_count"] == 20
    answers = [
        safe.search(index=WITH, body=body, filter_path=filter_path).body,
        safe.msearch(index=WITH, searches=[{}, body], filter_path=filter_path).body,
        safe.msearch(index=WITH, searches=[{}, body], filter_path=f"responses.{filter_path}").body,
    ]
    expected = filtered({**whole, "took": 0}, filter_path)
    assert {**answers[0], "took": 0} == {**expected, "took": 0}
    assert not any(
        count in json.dumps(answer) for answer in answers for count in ('"doc_count": 26', "26}")
    )


def test_a_filter_path_shows_no_hidden_document(safe: SafeSearch) -> None:
    for filter_path in (
        "docs._source",
        "docs._source.title",
        "-docs.found",
        "docs._id,docs._source",
    ):
        found = safe.mget(index=WITH, ids=["3", "21", "none"], filter_path=filter_path)
        assert HIDDEN_WORD not in json.dumps(found.body)
        assert "zzvisible" in json.dumps(found.body)
    vectors = safe.mtermvectors(
        index=WITH, ids=["3", "21"], fields=["title"], filter_path="docs.term_vectors"
    )
    assert "zzvisible" in json.dumps(vectors.body)
    assert HIDDEN_WORD not in json.dumps(vectors.body)
    assert safe.exists(index=WITH, id="3", filter_path="x")
    begun = safe.search(index=WITH, size=5, scroll="1m")
    page = safe.scroll(
        scroll_id=begun["_scroll_id"], filter_path="hits.hits._id,hits.hits.saferank"
    )
    assert {hit["saferank"]["action"] for hit in page["hits"]["hits"]} == {"shown"}
    safe.clear_scroll(scroll_id=begun["_scroll_id"])


NAMES = ("a", "b", "bc", "d", "e", "x", "y", "z", "*", "b*", "*c", "**", "_source", "found", "?")


def test_a_filter_path_leaves_what_the_engine_leaves(node: Elasticsearch) -> None:
    index = f"{WITHOUT}-paths"
    source = {
        "a": {"b": 1, "bc": [1, 2, {"d": 3, "e": []}], "e": {}},
        "x": [],
        "y": {},
        "z": [[{"b": 1}], []],
        "b": {"b": {"b": {"a": None}}},
        "d": [{"b": 1}, {"c": 2}],
    }
    draw = random.Random(5)
    try:
        node.indices.create(index=index, mappings={"enabled": False})
        node.index(index=index, id="1", document=source, refresh=True)
        whole = node.get(index=index, id="1").body
        for _ in range(300):
            paths = [
                draw.choice(["", "", "-"])
                + draw.choice(["_source.", ""])
                + ".".join(draw.choices(NAMES, k=draw.randint(1, 4)))
                for _ in range(draw.randint(1, 3))
            ]
            expected = node.get(index=index, id="1", filter_path=paths).body
            assert filtered(whole, paths) == expected, paths
    finally:
        node.indices.delete(index=index)


def test_how_many_shards_were_skipped_tells_nothing(safe: SafeSearch) -> None:
    late = {"query": {"range": {"when": {"gte": "2024-01-10"}}}}
    options = {"index": WITH, "pre_filter_shard_size": 1}
    assert safe.client.search(**options, query={"range": {"when": {"gte": "2025"}}})["_shards"][
        "skipped"
    ]
    for body in (late, {"query": {"range": {"when": {"gte": "2025"}}}}):
        assert safe.search(**options, body=body)["_shards"]["skipped"] == 0
        many = safe.msearch(**options, searches=[{}, body])["responses"]
        assert many[0]["_shards"]["skipped"] == 0


def test_a_point_in_time_is_opened_over_all_shards(safe: SafeSearch) -> None:
    late = {"range": {"when": {"gte": "2024-01-10"}}}
    with pytest.raises(UnsafeRequest, match="put it into the query"):
        safe.open_point_in_time(index=WITH, keep_alive="1m", index_filter=late)
    with pytest.raises(UnsafeRequest, match="put it into the query"):
        safe.open_point_in_time(index=WITH, keep_alive="1m", body={"index_filter": late})
    opened = safe.at_level("open").open_point_in_time(
        index=WITH, keep_alive="1m", index_filter=late
    )
    safe.close_point_in_time(id=opened["id"])


def test_term_vectors_count_no_hidden_document(safe: SafeSearch) -> None:
    options = {"index": WITH, "fields": ["title"]}
    for answer in (
        safe.termvectors(id="3", **options),
        safe.termvectors(id="3", index=WITH, body={"fields": ["title"], "term_statistics": False}),
        safe.mtermvectors(ids=["3"], **options)["docs"][0],
        safe.mtermvectors(docs=[{"_index": WITH, "_id": "3", "fields": ["title"]}])["docs"][0],
    ):
        assert "zzvisible" in answer["term_vectors"]["title"]["terms"]
        assert "field_statistics" not in answer["term_vectors"]["title"]
    for name in ("term_statistics", "termStatistics", "field_statistics", "fieldStatistics"):
        wanted = {"_index": WITH, "_id": "3", name: True}
        with pytest.raises(UnsafeRequest, match="counts hidden documents"):
            safe.mtermvectors(docs=[wanted])
        with pytest.raises(UnsafeRequest, match="counts hidden documents"):
            safe.termvectors(id="3", index=WITH, body={name: True})
    whole = safe.at_level("open").termvectors(id="3", **options, term_statistics=True)
    assert "doc_freq" in json.dumps(whole.body)


def test_administration_goes_on(safe: SafeSearch) -> None:
    assert safe.indices.exists(index=WITH)
    assert WITH in safe.indices.get_mapping(index=WITH)
    assert safe.indices.analyze(index=WITH, field="title", text="Cat")["tokens"]
    assert safe.indices.refresh(index=WITH)["_shards"]["failed"] == 0
    assert safe.cluster.health()["status"]
    state = safe.cluster.state(index=WITH, metric="metadata")["metadata"]["indices"][WITH]
    assert state["state"] == "open"
    assert "timestamp_range" not in state
    with pytest.raises(UnsafeRequest, match=r"client\.indices\.validate_query"):
        safe.indices.validate_query(index=WITH, query=PLAIN, explain=True)
