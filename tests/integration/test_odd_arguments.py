"""Arguments that are not what a call takes: the engine refuses them, or we do, and nothing else.

An application may hand on what a visitor sent. Whatever it is, what comes back is an answer or one
of the errors that the application knows: of the engine, of its client, or ours.
"""

import copy
import uuid
from collections.abc import Iterator
from traceback import walk_tb
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch
from elasticsearch.dsl import Search

from saferank.errors import ConfigurationError, ContextError, SaferankError, UnsafeRequest
from saferank.mappings import add_to_index
from saferank.mappings.overrides import OverrideRecord, Overrides
from saferank.mappings.record import Override
from saferank.ranker import SafeSearch, protect, rerank
from saferank.ranker.policy.load import load_policy

LEVELS = ("off", "moderate", "strict")
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: moderate}]
""")
VECTOR = {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"}
MATCH = {"match": {"title": "red"}}
KNN = {"field": "vector", "query_vector": [1, 2], "k": 3, "num_candidates": 9, "filter": MATCH}
RESCORE = {"window_size": 10, "query": {"rescore_query": MATCH, "query_weight": 1}}
COMPLETION = {"field": "words", "size": 3}
LIKE = {"_index": "i", "_id": "1"}
BOOL = {
    "must": [MATCH],
    "filter": {"term": {"tag": "a"}},
    "should": [{"function_score": {"query": MATCH, "functions": [{"filter": MATCH, "weight": 2}]}}],
}
TOP_HITS = {"size": 1, "_source": ["title"], "sort": [{"tag": "desc"}]}
TERMS = {"field": "tag", "size": 3, "order": {"_count": "desc"}, "include": ["a"]}
BODIES: list[dict[str, Any]] = [
    {"query": {"bool": BOOL}, "from": 0, "size": 5, "min_score": 0.1, "highlight": {"fields": {}}},
    {"query": MATCH, "sort": [{"tag": {"order": "desc"}}, "_score"], "search_after": ["a", 2]},
    {"query": MATCH, "collapse": {"field": "tag", "inner_hits": [{"name": "x", "size": 2}]}},
    {"query": {"more_like_this": {"fields": ["title"], "like": [LIKE, "red"], "unlike": LIKE}}},
    {"query": {"dis_max": {"queries": [MATCH], "tie_breaker": 0.1}}, "rescore": [RESCORE]},
    {"query": MATCH, "suggest": {"s": {"prefix": "a", "completion": COMPLETION}}},
    {"query": MATCH, "script_fields": {"x": {"script": "1"}}, "explain": True, "profile": True},
    {"query": {"multi_match": {"query": "red", "fields": ["title^0"]}}, "size": 3},
    {"knn": KNN, "size": 3},
    {"knn": [KNN], "query": MATCH},
    {"retriever": {"standard": {"query": MATCH, "filter": [MATCH], "min_score": 0.1}}},
    {"retriever": {"rescorer": {"rescore": RESCORE, "retriever": {"knn": KNN}}}},
    {"size": 0, "aggs": {"a": {"terms": TERMS, "aggs": {"t": {"top_hits": TOP_HITS}}}}},
    {"size": 0, "aggs": {"g": {"global": {}, "aggs": {"f": {"filters": {"filters": [MATCH]}}}}}},
    {"aggs": {"b": {"max_bucket": {"buckets_path": "a>x"}}, "n": {"nested": {"path": "p"}}}},
]
CALLS: dict[str, list[dict[str, Any]]] = {
    "count": [{"index": "i", "query": MATCH, "min_score": 1, "body": {}}],
    "exists": [{"index": "i", "id": "1"}],
    "explain": [{"index": "i", "id": "1", "query": MATCH, "source": True}],
    "get": [{"index": "i", "id": "1", "source": True, "routing": "a", "stored_fields": ["title"]}],
    "get_source": [{"index": "i", "id": "1", "source_includes": ["title"]}],
    "mget": [
        {"index": "i", "docs": [{"_index": "i", "_id": "1", "routing": "x"}], "source": True},
        {"index": "i", "ids": ["1", "2"], "body": {}},
    ],
    "msearch": [{"index": "i", "searches": [{"index": "i"}, {"query": MATCH}, {}, {"size": 1}]}],
    "mtermvectors": [{"index": "i", "docs": [{"_id": "1", "fields": ["title"]}]}],
    "search": [
        {"index": "i", "q": "red", "size": 1, "from_": 1, "sort": "tag:desc", "scroll": "1m"},
        {"index": ["i"], "expand_wildcards": ["open"], "source_includes": ["a"], "body": {}},
    ],
    "search_template": [{"index": "i", "source": '{"size": "{{n}}"}', "params": {"n": 1}}],
    "termvectors": [{"index": "i", "id": "1", "fields": ["title"], "body": {}}],
}
ODD: list[Any] = [
    None,
    5,
    -1,
    10**400,
    float("nan"),
    True,
    "text",
    b"bytes",
    [],
    [[]],
    [None],
    [5],
    ["text"],
    {},
    [{}],
    {"a": None},
    {"a": []},
    {1: 2},
    {"a set"},
    object(),
]


@pytest.fixture(scope="module")
def index(elasticsearch_url: str) -> Iterator[str]:
    name = f"test-odd-{uuid.uuid4().hex[:8]}"
    fields = {
        "title": {"type": "text"},
        "tag": {"type": "keyword"},
        "vector": VECTOR,
        "words": {"type": "completion"},
    }
    with Elasticsearch(elasticsearch_url) as node:
        node.indices.create(index=name, mappings={"properties": fields})
        add_to_index(node, name)
        node.index(index=name, id="1", document={"title": "red", "tag": "a"}, refresh=True)
        yield name
        node.indices.delete(index=name)


@pytest.fixture(params=LEVELS)
def client(request: pytest.FixtureRequest, elasticsearch_url: str) -> Iterator[SafeSearch]:
    with SafeSearch(Elasticsearch(elasticsearch_url), POLICY, level=request.param) as client:
        yield client


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of everything inside a value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with something else at a place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


def named(value: Any, index: str) -> Any:
    """Arguments that name the index."""
    if isinstance(value, dict):
        return {key: named(part, index) for key, part in value.items()}
    if isinstance(value, list):
        return [named(part, index) for part in value]
    return index if value == "i" else value


def check_answered(client: SafeSearch, call: str, arguments: dict[str, Any]) -> None:
    """See that there is an answer, or an error that an application may expect."""
    try:
        getattr(client, call)(**arguments)
    except (ApiError, SaferankError):
        pass
    except Exception as error:
        raised_in = [frame.f_globals["__name__"] for frame, _ in walk_tb(error.__traceback__)][-1]
        own = raised_in.split(".")[0] in ("elasticsearch", "elastic_transport")
        if not own:
            raise AssertionError(f"{call}({arguments}) failed in {raised_in}") from error


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_a_search_with_something_odd_anywhere(client: SafeSearch, index: str, number: int) -> None:
    body = named(BODIES[number], index)
    for place in places(body):
        for odd in ODD:
            check_answered(client, "search", {"index": index, "body": put(body, place, odd)})


@pytest.mark.parametrize("call", CALLS)
def test_a_call_with_something_odd_anywhere(client: SafeSearch, index: str, call: str) -> None:
    for given in CALLS[call]:
        arguments = named(given, index)
        for place in places(arguments):
            for odd in ODD:
                check_answered(client, call, put(arguments, place, odd))


def too_deep(value: Any) -> Any:
    for _ in range(5000):
        value = [value]
    return value


def test_something_too_deep(client: SafeSearch, index: str) -> None:
    query: dict[str, Any] = MATCH
    for _ in range(5000):
        query = {"bool": {"must": query}}
    with pytest.raises(UnsafeRequest, match="deeper than Python follows"):
        client.search(index=index, query=query)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"index": 5}, "index"),
        ({"index": ["a", 5]}, "index"),
        ({"body": {1: 2}}, "body"),
        ({"index": "\ud800"}, "index"),
        ({"params": "q=red"}, "params"),
        ({"params": {1: "red"}}, "params"),
        ({"query": MATCH, "aggs": {"a": 5}}, "aggs.a"),
    ],
)
def test_the_error_names_the_place(
    client: SafeSearch, index: str, arguments: dict[str, Any], key: str
) -> None:
    with pytest.raises(UnsafeRequest) as refused:
        client.search(**{"index": index, **arguments})
    assert refused.value.key == key


@pytest.mark.parametrize("call", ["exists", "exists_source", "get", "get_source", "termvectors"])
def test_an_empty_name_is_refused_as_the_plain_client_does(client: SafeSearch, call: str) -> None:
    for arguments in ({"index": None, "id": "1"}, {"index": "", "id": "1"}):
        with pytest.raises(ValueError, match="Empty value passed for parameter 'index'") as plain:
            getattr(client.client, call)(**arguments)
        with pytest.raises(ValueError, match=str(plain.value)):
            getattr(client, call)(**arguments)


@pytest.mark.parametrize("context", [["audience"], "adult", 5, too_deep([])])
def test_a_context_that_is_none(elasticsearch_url: str, context: Any) -> None:
    client = SafeSearch(Elasticsearch(elasticsearch_url), POLICY)
    with pytest.raises(ContextError, match="a context is a mapping of attributes"):
        client.search(context=context)


def test_names_and_values_that_are_too_deep_for_a_message(elasticsearch_url: str) -> None:
    client = SafeSearch(Elasticsearch(elasticsearch_url), POLICY)
    with pytest.raises(ContextError, match="'requested' must be text"):
        client.search(context={"requested": too_deep([])})
    with pytest.raises(ContextError, match="there is no level"):
        client.at_level(too_deep([]))
    with pytest.raises(UnsafeRequest, match="names must be text"):
        client.search(filter_path=too_deep([]))


def test_operations_that_no_one_can_read(client: SafeSearch, index: str) -> None:
    lines = '{"update":{"_id":"1","_source":true}}\n{"doc":{}}\n'.encode("utf-16")
    with pytest.raises(UnsafeRequest, match="returns the document"):
        client.bulk(index=index, operations=lines)


def test_a_copy_searches_as_the_client_does(client: SafeSearch, index: str) -> None:
    assert copy.copy(client).count(index=index)["count"] == client.count(index=index)["count"]


def test_a_client_that_is_not_safe_protects_nothing(elasticsearch_url: str) -> None:
    plain: Any = Elasticsearch(elasticsearch_url)
    with pytest.raises(ConfigurationError, match="not a safe client"):
        protect(Search[Any](), plain)


def test_hits_whose_document_nobody_can_tell() -> None:
    blocked = Overrides({"i": {"5": OverrideRecord(Override.BLOCK, "ann")}})
    decision = POLICY.decision_for("strict").knowing(blocked)
    safe = {"safety": {"probability": 0.1, "status": "scored"}}
    assert rerank([{"_index": "i", "_id": 5, "_source": safe}], decision) == []
    odd: list[Any] = [None, "text", {"_index": ["i"], "_id": "5"}, {"_index": "i", "_id": b"5"}]
    for hit in [*odd, {"_index": "i", "_id": 5.0}]:
        with pytest.raises(UnsafeRequest, match=r"hits\.0"):
            rerank([hit], decision)


def test_numbers_larger_than_any_score() -> None:
    decision = POLICY.decision_for("strict")
    scored = {"status": "scored", "probability": 10**400}
    assert rerank([{"_source": {"safety": scored}}], decision) == []
    with pytest.raises(UnsafeRequest, match="no number"):
        rerank([{"_score": 10**400, "_source": {"safety": {**scored, "probability": 0}}}], decision)
