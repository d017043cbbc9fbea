"""Every way of asking a real node, with a document that must not come back through any of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.policy.load import load_policy
from saferank.ranker.policy.policy import Policy
from saferank.ranker.rewrite.neighbours import nearest_request
from saferank.ranker.rewrite.search import restore_response, rewrite_search

INDEX = "ranker-surfaces"
POLICY = """\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: moderate}]
"""
CATEGORIES = ("nudity", "violence", "drawing")
OF_CATEGORIES = """\
version: 2
categories: {nudity: {field: nudity}, violence: {field: violence}, drawing: {field: drawing}}
levels:
  off: {}
  moderate:
    nudity: &moderate {demote_from: 0.2, hide_from: 0.8, unscored: demote}
    violence: *moderate
    drawing: *moderate
  strict:
    nudity: &strict {hide_from: 0.2, unscored: hide}
    violence: *strict
    drawing: *strict
contexts: [{level: moderate}]
"""
"""Each document below is judged by another one of its three categories, with the same result."""
LEVELS = ("off", "moderate", "strict")
VECTOR = {"type": "dense_vector", "dims": 2, "index": True, "similarity": "l2_norm"}
SAFETY_FIELDS = {
    "properties": {
        "probability": {"type": "float"},
        "model": {"type": "keyword"},
        "status": {"type": "keyword"},
        "override": {"type": "keyword"},
        "matched": {"type": "keyword"},
    }
}
MAPPINGS = {
    "properties": {
        "title": {"type": "text", "fielddata": True},
        "word": {"type": "keyword"},
        "group": {"type": "keyword"},
        "price": {"type": "integer"},
        "when": {"type": "date"},
        "place": {"type": "geo_point"},
        "vector": VECTOR,
        "suggest": {"type": "completion"},
        "parts": {
            "type": "nested",
            "properties": {"word": {"type": "keyword"}, "vector": VECTOR, "n": {"type": "integer"}},
        },
        **dict.fromkeys(("safety", *CATEGORIES), SAFETY_FIELDS),
    }
}
SAFETY = {
    "plain": {"probability": 0.01},
    "plain2": {"probability": 0.02},
    "plain3": {"probability": 0.03},
    "medium": {"probability": 0.5},
    "medium2": {"probability": 0.6},
    "high": {"probability": 0.95},
    "blocked": {"probability": 0.0, "override": "block"},
    "unscored": {},
}
HIDDEN = {
    "off": {"blocked"},
    "moderate": {"blocked", "high"},
    "strict": {"blocked", "high", "medium", "medium2", "unscored"},
}


def document(position: int, name: str) -> dict[str, Any]:
    """Whatever part of a document comes back has its marker in it."""
    marker = f"marker{name}x"
    return {
        "title": f"cat {marker}",
        "word": marker,
        "group": "even" if position % 2 == 0 else "odd",
        "price": 10 - position,
        "when": f"2024-01-{position + 1:02}",
        "place": {"lat": position, "lon": position},
        "vector": [position, 1],
        "suggest": f"cat {marker}",
        "parts": [{"word": marker, "vector": [position, 2], "n": position}],
        "safety": SAFETY[name],
        **{category: {"probability": 0.01} for category in CATEGORIES},
        CATEGORIES[position % 3]: SAFETY[name],
    }


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    client = Elasticsearch(elasticsearch_url, request_timeout=60)
    client.options(ignore_status=404).indices.delete(index=INDEX)
    client.indices.create(index=INDEX, mappings=MAPPINGS, settings={"number_of_shards": 2})
    for position, name in enumerate(SAFETY):
        client.index(index=INDEX, id=f"id{name}x", document=document(position, name))
    client.indices.refresh(index=INDEX)
    yield client
    client.indices.delete(index=INDEX)
    client.close()


@pytest.fixture(scope="module", params=[POLICY, OF_CATEGORIES], ids=["one", "three"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return load_policy(request.param)


@dataclass(frozen=True)
class Surface:
    """One way of asking.

    Attributes:
        name: of the test.
        body: the request as an application would send it; finds all documents.
        refused: levels at which it is refused.
    """

    name: str
    body: dict[str, Any]
    refused: frozenset[str] = frozenset()


MATCH = {"match": {"title": "cat"}}
KNN = {"field": "vector", "query_vector": [6, 1], "k": 10, "num_candidates": 20}
NESTED_KNN = {**KNN, "field": "parts.vector"}
DIFFERENT = {"type": "mmr", "field": "vector", "lambda": 0.5, "rank_window_size": 50, "size": 50}
WORDS = {"terms": {"field": "word", "size": 50}}
TOP = {"top_hits": {"size": 50}}
DEMOTING = frozenset(["moderate"])
ALL = frozenset(LEVELS)


def rescored(**options: Any) -> dict[str, Any]:
    query = {"rescore_query": {"range": {"price": {"gte": 0, "boost": 0.5}}}, **options}
    return {"window_size": 50, "query": query}


QUERIES: dict[str, dict[str, Any]] = {
    "match_all": {"match_all": {}},
    "match": MATCH,
    "match_phrase": {"match_phrase": {"title": "cat"}},
    "match_bool_prefix": {"match_bool_prefix": {"title": "cat"}},
    "match_phrase_prefix": {"match_phrase_prefix": {"title": "ca"}},
    "multi_match": {"multi_match": {"query": "cat", "fields": ["title^2", "word"]}},
    "combined_fields": {"combined_fields": {"query": "cat", "fields": ["title"]}},
    "query_string": {"query_string": {"query": "title:cat OR safety.probability:[0 TO 1]"}},
    "simple_query_string": {"simple_query_string": {"query": "cat marker*"}},
    "intervals": {"intervals": {"title": {"match": {"query": "cat"}}}},
    "term": {"term": {"title": "cat"}},
    "terms": {"terms": {"title": ["cat", "dog"]}},
    "ids": {"ids": {"values": [f"id{name}x" for name in SAFETY]}},
    "exists": {"exists": {"field": "word"}},
    "prefix": {"prefix": {"word": "marker"}},
    "wildcard": {"wildcard": {"word": "*marker*"}},
    "regexp": {"regexp": {"word": "marker.*"}},
    "fuzzy": {"fuzzy": {"title": "cats"}},
    "range": {"range": {"price": {"gte": 0}}},
    "distance_feature": {
        "distance_feature": {"field": "when", "origin": "2024-01-06", "pivot": "1d"}
    },
    "geo_distance": {"geo_distance": {"distance": "9000km", "place": [5, 5]}},
    "geo_bounding_box": {
        "geo_bounding_box": {"place": {"top_left": [-1, 60], "bottom_right": [60, -1]}}
    },
    "span_term": {"span_near": {"clauses": [{"span_term": {"title": "cat"}}], "slop": 1}},
    "more_like_this": {
        "more_like_this": {
            "fields": ["title"],
            "like": "cat",
            "min_term_freq": 1,
            "min_doc_freq": 1,
        }
    },
    "bool": {"bool": {"must": MATCH, "should": [{"match": {"title": "markerhighx"}}]}},
    "bool_should_only": {"bool": {"should": [MATCH, {"match_all": {}}], "minimum_should_match": 1}},
    "boosting": {
        "boosting": {"positive": MATCH, "negative": {"term": {"word": "x"}}, "negative_boost": 0.5}
    },
    "constant_score": {"constant_score": {"filter": MATCH, "boost": 3}},
    "dis_max": {"dis_max": {"queries": [MATCH, {"match_all": {}}]}},
    "function_score": {
        "function_score": {
            "query": MATCH,
            "functions": [{"filter": {"term": {"word": "markerhighx"}}, "weight": 1e6}],
            "boost_mode": "replace",
        }
    },
    "nested": {
        "nested": {
            "path": "parts",
            "query": {"prefix": {"parts.word": "marker"}},
            "inner_hits": {"highlight": {"fields": {"parts.word": {}}}},
        }
    },
    "lists": {"bool": {"must": [MATCH], "filter": [MATCH, {"bool": {"should": [MATCH]}}]}},
    "knn": {"knn": KNN},
    "knn_nested": {"nested": {"path": "parts", "query": {"knn": NESTED_KNN}, "inner_hits": {}}},
    "named": {"bool": {"must": [{"match": {"title": {"query": "cat", "_name": "safety"}}}]}},
}
AGGREGATIONS: dict[str, dict[str, Any]] = {
    "terms": WORDS,
    "terms_of_text": {"terms": {"field": "title", "size": 50}},
    "global": {"global": {}, "aggs": {"words": WORDS, "top": TOP}},
    "filter": {"filter": MATCH, "aggs": {"words": WORDS}},
    "filters": {"filters": {"filters": {"a": MATCH}, "other_bucket": True}, "aggs": {"top": TOP}},
    "anonymous_filters": {"filters": {"filters": [MATCH]}, "aggs": {"top": TOP}},
    "top_hits": {"top_hits": {"size": 50, "highlight": {"fields": {"title": {}}}}},
    "nested": {
        "nested": {"path": "parts"},
        "aggs": {
            "words": {"terms": {"field": "parts.word", "size": 50}},
            "back": {"reverse_nested": {}, "aggs": {"top": TOP}},
        },
    },
    "significant_terms": {
        "significant_terms": {"field": "word", "min_doc_count": 1, "percentage": {}, "size": 50}
    },
    "significant_text": {
        "filter": MATCH,
        "aggs": {
            "text": {
                "significant_text": {
                    "field": "title",
                    "min_doc_count": 1,
                    "percentage": {},
                    "size": 50,
                }
            }
        },
    },
    "composite": {"composite": {"size": 50, "sources": [{"word": {"terms": {"field": "word"}}}]}},
    "rare_terms": {"rare_terms": {"field": "word"}},
    "sampler": {"sampler": {"shard_size": 50}, "aggs": {"words": WORDS}},
    "date_histogram": {
        "date_histogram": {"field": "when", "calendar_interval": "month"},
        "aggs": {"words": WORDS, "n": {"sum": {"field": "price"}}},
    },
    "missing": {"missing": {"field": "absent"}, "aggs": {"words": WORDS}},
}
SURFACES = [
    Surface("nothing", {}),
    *(Surface(f"query_{name}", {"query": query}) for name, query in QUERIES.items()),
    *(
        Surface(f"aggs_{name}", {"size": 0, "query": MATCH, "aggs": {"a": body}})
        for name, body in AGGREGATIONS.items()
    ),
    Surface(
        "aggs_global_of_a_search_that_finds_nothing",
        {"query": {"match_none": {}}, "aggs": {"all": AGGREGATIONS["global"]}},
    ),
    Surface("sort_by_field", {"query": MATCH, "sort": ["price"]}),
    Surface("sort_by_score", {"query": MATCH, "sort": ["_score", {"price": "desc"}]}),
    Surface("sort_by_distance", {"sort": [{"_geo_distance": {"place": [5, 5]}}]}),
    Surface("sort_nested", {"sort": [{"parts.n": {"order": "desc", "nested": {"path": "parts"}}}]}),
    Surface("sort_by_doc", {"query": MATCH, "sort": "_doc"}),
    Surface("sort_with_score_later", {"sort": ["price", "_score"]}, refused=DEMOTING),
    Surface("sort_by_score_ascending", {"sort": {"_score": "asc"}}, refused=DEMOTING),
    Surface("min_score", {"query": MATCH, "min_score": 0.0001}),
    Surface("min_score_and_sort", {"query": MATCH, "min_score": 0.0001, "sort": ["price"]}),
    Surface("rescore", {"query": MATCH, "rescore": rescored()}),
    Surface(
        "rescore_twice",
        {"query": MATCH, "rescore": [rescored(score_mode="multiply"), rescored(score_mode="avg")]},
    ),
    Surface("knn", {"knn": KNN}),
    Surface("knn_nested", {"knn": NESTED_KNN}),
    Surface("knn_nested_inner_hits", {"knn": {**NESTED_KNN, "inner_hits": {}}}),
    Surface("knn_twice", {"knn": [KNN, NESTED_KNN]}),
    Surface("knn_filtered", {"knn": {**KNN, "filter": MATCH}}),
    Surface("knn_and_query", {"knn": KNN, "query": MATCH}),
    Surface("knn_nested_and_query", {"knn": NESTED_KNN, "query": MATCH}),
    Surface("knn_sorted", {"knn": KNN, "sort": ["price"]}),
    Surface(
        "knn_nested_inner_hits_sorted",
        {"knn": {**NESTED_KNN, "inner_hits": {}}, "sort": ["price"]},
    ),
    Surface("knn_rescored", {"knn": KNN, "rescore": rescored()}),
    Surface("knn_and_query_rescored", {"knn": KNN, "query": MATCH, "rescore": rescored()}),
    Surface("knn_min_score", {"knn": KNN, "min_score": 0.0001}),
    Surface("knn_aggs", {"knn": KNN, "aggs": {"w": WORDS, "all": AGGREGATIONS["global"]}}),
    Surface("retriever_standard", {"retriever": {"standard": {"query": MATCH, "filter": MATCH}}}),
    Surface("retriever_standard_bare", {"retriever": {"standard": {}}}),
    Surface("retriever_standard_sort", {"retriever": {"standard": {"sort": ["price"]}}}),
    Surface(
        "retriever_standard_collapse",
        {
            "retriever": {
                "standard": {
                    "query": MATCH,
                    "min_score": 0.0001,
                    "collapse": {"field": "group", "inner_hits": {"name": "rest", "size": 50}},
                }
            }
        },
    ),
    Surface("retriever_knn", {"retriever": {"knn": KNN}}),
    Surface("retriever_knn_nested", {"retriever": {"knn": NESTED_KNN}}),
    Surface(
        "retriever_rescorer",
        {
            "retriever": {
                "rescorer": {
                    "retriever": {"standard": {"query": MATCH}},
                    "rescore": rescored(),
                }
            }
        },
    ),
    Surface(
        "retriever_rescorer_of_knn",
        {"retriever": {"rescorer": {"retriever": {"knn": KNN}, "rescore": rescored()}}},
    ),
    Surface(
        "retriever_diversify",
        {
            "retriever": {"diversify": {"retriever": {"knn": KNN}, **DIFFERENT}},
            "aggs": {"w": WORDS},
        },
    ),
    Surface(
        "retriever_rescorer_of_diversify",
        {
            "retriever": {
                "rescorer": {
                    "retriever": {
                        "diversify": {"retriever": {"standard": {"query": MATCH}}, **DIFFERENT}
                    },
                    "rescore": rescored(),
                }
            }
        },
    ),
    Surface("retriever_aggs", {"retriever": {"knn": KNN}, "aggs": {"w": WORDS}}),
    Surface("post_filter", {"query": MATCH, "post_filter": {"range": {"price": {"gte": 0}}}}),
    Surface(
        "collapse",
        {
            "query": MATCH,
            "collapse": {"field": "group", "inner_hits": {"name": "rest", "size": 50}},
        },
    ),
    Surface(
        "collapse_twice",
        {
            "collapse": {
                "field": "group",
                "inner_hits": [
                    {"name": "cheap", "size": 50, "sort": ["price"]},
                    {"name": "rest", "size": 50},
                ],
            }
        },
    ),
    Surface(
        "collapse_sorted",
        {
            "sort": ["price"],
            "collapse": {
                "field": "group",
                "inner_hits": {"name": "rest", "size": 50, "sort": [{"price": "desc"}]},
            },
        },
    ),
    Surface(
        "collapse_sorted_with_inner_relevance",
        {
            "sort": ["price"],
            "collapse": {"field": "group", "inner_hits": {"name": "r", "size": 50}},
        },
        refused=DEMOTING,
    ),
    Surface(
        "collapse_of_knn",
        {"knn": KNN, "collapse": {"field": "group", "inner_hits": {"name": "rest", "size": 50}}},
    ),
    Surface(
        "collapse_of_knn_and_query",
        {
            "knn": KNN,
            "query": MATCH,
            "collapse": {"field": "group", "inner_hits": {"name": "rest", "size": 50}},
        },
    ),
    Surface("highlight", {"query": MATCH, "highlight": {"fields": {"title": {}}}}),
    Surface(
        "fields",
        {
            "_source": False,
            "fields": ["title", "word"],
            "docvalue_fields": ["word"],
        },
    ),
    Surface("source_filtered", {"_source": ["word"]}),
    Surface("explain_and_profile", {"query": MATCH, "explain": True, "profile": True}),
    Surface(
        "runtime_mappings",
        {
            "runtime_mappings": {"twice": {"type": "keyword"}},
            "query": {"bool": {"must_not": {"exists": {"field": "twice"}}}},
        },
    ),
    Surface("indices_boost", {"query": MATCH, "indices_boost": [{INDEX: 5}]}),
    Surface("indices_boost_and_sort", {"sort": ["price"], "indices_boost": [{INDEX: 5}]}),
    Surface(
        "suggest_term",
        {
            "size": 0,
            "suggest": {
                name: {"text": f"marker{name}", "term": {"field": "title", "min_doc_freq": 0}}
                for name in SAFETY
            },
        },
        refused=ALL,
    ),
    Surface(
        "suggest_completion",
        {
            "size": 0,
            "suggest": {"s": {"prefix": "cat", "completion": {"field": "suggest", "size": 50}}},
        },
        refused=ALL,
    ),
]


def names_in(response: Any) -> set[str]:
    """Names of the documents of which anything came back."""
    text = json.dumps(response)
    return {name for name in SAFETY if f"marker{name}x" in text or f"id{name}x" in text}


def send(node: Elasticsearch, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"accept": "application/json", "content-type": "application/json"}
    index = "" if "pit" in body else f"/{INDEX}"
    response = node.perform_request("POST", f"{index}/_search", body=body, headers=headers)
    return dict(response.body)


def ask(node: Elasticsearch, body: dict[str, Any], decision: Decision) -> dict[str, Any]:
    """Send a body as an application without a safe client does."""
    nearest = None
    if (first := nearest_request(body, decision)) is not None:
        answer = send(node, first)
        assert not names_in(answer) & HIDDEN[decision.level_name]
        nearest = answer["hits"]["hits"]
    return send(node, rewrite_search(body, decision, nearest=nearest))


def named(surface: Surface) -> str:
    return surface.name


@pytest.mark.parametrize("surface", SURFACES, ids=named)
def test_everything_can_be_found_without_a_policy(node: Elasticsearch, surface: Surface) -> None:
    assert names_in(send(node, {"size": 50, **surface.body})) == set(SAFETY)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("surface", SURFACES, ids=named)
def test_a_hidden_document_comes_back_in_no_part_of_the_response(
    node: Elasticsearch, policy: Policy, surface: Surface, level: str
) -> None:
    body = {"size": 50, **surface.body}
    before = json.dumps(body)
    if level in surface.refused:
        with pytest.raises(UnsafeRequest):
            rewrite_search(body, policy.decision_for(level))
        return
    response = ask(node, body, policy.decision_for(level))
    assert names_in(restore_response(response)) == set(SAFETY) - HIDDEN[level]
    assert json.dumps(body) == before


def tupled(value: Any) -> Any:
    """The same request as Python code may write it, with tuples for lists."""
    if isinstance(value, dict):
        return {key: tupled(item) for key, item in value.items()}
    return tuple(map(tupled, value)) if isinstance(value, list) else value


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("surface", SURFACES, ids=named)
def test_a_tuple_is_as_good_as_a_list(policy: Policy, surface: Surface, level: str) -> None:
    decision = policy.decision_for(level)
    if level in surface.refused:
        with pytest.raises(UnsafeRequest):
            rewrite_search(tupled(surface.body), decision)
        return
    found = rewrite_search(tupled(surface.body), decision, nearest=())
    expected = rewrite_search(surface.body, decision, nearest=())
    assert json.dumps(found) == json.dumps(expected)


def test_words_without_a_document_where_nothing_is_hidden(node: Elasticsearch) -> None:
    words = {"terms": {"field": "word", "min_doc_count": 0, "size": 50}}
    body = {"query": {"term": {"group": "odd"}}, "aggs": {"words": words}, "size": 50}
    one = "version: 1\nlevels: {one: %s}\ncontexts: [{level: one}]"
    for level in ("{blocked: show}", "{blocked: show, demote_from: 0.2, unscored: show}"):
        found = send(node, rewrite_search(body, load_policy(one % level).resolve()))
        assert found["aggregations"] == send(node, body)["aggregations"]
        assert {bucket["doc_count"] for bucket in found["aggregations"]["words"]["buckets"]} == {
            0,
            1,
        }
    with pytest.raises(UnsafeRequest, match="min_doc_count"):
        rewrite_search(body, load_policy(one % "{}").resolve())


@pytest.mark.parametrize("level", LEVELS)
def test_slices_of_a_point_in_time(node: Elasticsearch, policy: Policy, level: str) -> None:
    point = node.open_point_in_time(index=INDEX, keep_alive="1m")["id"]
    found: list[str] = []
    for part in range(2):
        body = {"size": 50, "pit": {"id": point}, "slice": {"id": part, "max": 2}}
        response = send(node, rewrite_search(body, policy.decision_for(level)))
        found += [hit["_id"] for hit in response["hits"]["hits"]]
    node.close_point_in_time(id=point)
    assert sorted(found) == sorted(f"id{name}x" for name in set(SAFETY) - HIDDEN[level])
