"""What is said of scores, faults and frequencies tells nothing of blocked documents."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch

from saferank.errors import MappingError, UnsafeRequest
from saferank.mappings import SafetyFields, add_to_index, check_index
from saferank.mappings.override_index import install_overrides, override
from saferank.mappings.overrides import OverrideRecord
from saferank.mappings.record import Override
from saferank.ranker.client.client import SafeSearch
from saferank.ranker.policy.load import load_policy

SECRET = ("zqsecret1", "zqsecret2")
LEVELS = ("strict", "moderate", "off")


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def kept(node: Elasticsearch) -> Iterator[str]:
    name = f"test-kept-{uuid.uuid4().hex[:8]}"
    install_overrides(node, name)
    yield name
    node.indices.delete(index=name)


@pytest.fixture(scope="module")
def index(node: Elasticsearch, kept: str) -> Iterator[str]:
    name = f"test-told-{uuid.uuid4().hex[:8]}"
    node.indices.create(
        index=name,
        mappings={"properties": {"title": {"type": "text"}, "when": {"type": "date"}}},
        settings={"number_of_shards": 1},
    )
    add_to_index(node, name)
    safety = {"probability": 0.01, "status": "scored"}
    for at in range(6):
        document = {"title": "red beach", "when": "2024-01-01", "safety": safety}
        node.index(index=name, id=f"v{at}", document=document)
    for at, id in enumerate(SECRET):
        document = {"title": "red secret", "when": f"1911-03-0{at + 1}", "safety": safety}
        node.index(index=name, id=id, document=document, refresh=True)
        record = OverrideRecord(Override.BLOCK, "ann")
        override(node, kept, SafetyFields(), name, id, record)
    node.indices.refresh(index=name)
    yield name
    node.indices.delete(index=name)


@pytest.fixture(params=LEVELS)
def safe(request: pytest.FixtureRequest, node: Elasticsearch, kept: str) -> SafeSearch:
    policy = load_policy(
        f"version: 1\noverrides: {kept}\nlevels:\n  off: {{}}\n"
        "  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}\n"
        "  strict: {hide_from: 0.2, unscored: hide}\ncontexts:\n  - {level: strict}\n"
    )
    return SafeSearch(node, policy, level=request.param)


def tells_ids(answer: Any) -> bool:
    """Whether an id of a blocked document is in there, as it is or as Lucene prints it."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    printed = (" ".join(f"{byte:x}" for byte in id.encode()) for id in SECRET)
    return any(secret in text for secret in (*SECRET, *printed))


EXPLAINED: tuple[dict[str, Any], ...] = (
    {"match_all": {}},
    {"match": {"title": "red"}},
    {"match": {"title": "nothing"}},
    {"bool": {"must_not": [{"match": {"title": "nothing"}}]}},
    {"ids": {"values": ["v1", "v2"]}},
    {"query_string": {"query": "title:red OR *:*"}},
)


@pytest.mark.parametrize("query", EXPLAINED, ids=lambda query: next(iter(query)))
def test_explanations_name_no_blocked_document(
    safe: SafeSearch, index: str, query: dict[str, Any]
) -> None:
    answers = [
        safe.search(index=index, query=query, explain=True, size=10).body,
        safe.search(index=index, explain=True, size=1).body,
        safe.explain(index=index, id="v1", query=query).body,
        safe.msearch(searches=[{"index": index}, {"query": query, "explain": True}]).body,
        safe.search(
            index=index, retriever={"standard": {"query": query}}, explain=True, size=10
        ).body,
    ]
    assert all("explanation" in json.dumps(answer) for answer in answers[1:3])
    assert not any(map(tells_ids, answers))


@pytest.mark.parametrize(
    "query",
    [
        {"range": {"when": {"lt": "1911-03-01"}}},
        {"bool": {"filter": [{"range": {"when": {"gte": "1911-03-02"}}}]}},
        {"exists": {"field": "when"}},
        {"query_string": {"query": "when:[* TO 1911-03-01]"}},
        {"query_string": {"query": "when:<1912"}},
        {"query_string": {"query": "_exists_:when"}},
        {"query_string": {"query": "when:*"}},
        {"query_string": {"query": "*", "fields": ["when"]}},
        {"simple_query_string": {"query": "*", "fields": ["when"]}},
    ],
    ids=str,
)
def test_what_the_engine_simplifies_by_hidden_values_is_not_explained(
    safe: SafeSearch, index: str, query: dict[str, Any]
) -> None:
    for refused in (
        lambda: safe.search(index=index, query=query, explain=True),
        lambda: safe.explain(index=index, id="v1", query=query),
    ):
        with pytest.raises(UnsafeRequest, match="tells words or values of hidden documents"):
            refused()
    assert safe.search(index=index, query=query)["hits"]["hits"] is not None
    assert safe.search(
        index=index,
        query={"match": {"title": "red"}},
        explain=True,
        aggs={"old": {"range": {"field": "when", "ranges": [{"to": "2000-01-01"}]}}},
    )


@pytest.mark.parametrize("kind", ["term", "match", "match_phrase"])
def test_why_a_document_does_not_match_tells_no_least_value(
    safe: SafeSearch, index: str, kind: str
) -> None:
    # Before all documents, on the day of a hidden one, between that and the visible ones.
    days = ("1911-02-28", "1911-03-01", "1950-01-01")
    told = [
        safe.explain(index=index, id="v1", query={kind: {"when": day}}).body["explanation"]
        for day in days
    ]
    assert told[0] == told[1] == told[2]
    matched = safe.explain(index=index, id="v1", query={kind: {"when": "2024-01-01"}}).body
    assert matched["matched"]
    assert "when" not in json.dumps(matched["explanation"])


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "body",
    [
        {"min_score": NAN},
        {"query": {"match_all": {"boost": NAN}}},
        {"query": {"term": {"when": INFINITY}}},
        {"query": {"match": {"title": {"query": '; line: 1, column: 1]"', "boost": NAN}}}},
        {"aggs": {"a": {"histogram": {"field": "when", "interval": NAN}}}},
    ],
    ids=str,
)
def test_a_fault_cites_nothing_of_the_request_as_it_was_sent(
    safe: SafeSearch, index: str, body: dict[str, Any]
) -> None:
    for call in (
        lambda: safe.search(index=index, **body),
        lambda: safe.msearch(searches=[{"index": index}, body]).body,
    ):
        try:
            told = json.dumps(call(), default=str)
        except ApiError as error:
            told = f"{error} {error.body}"
        assert not tells_ids(told)
        assert "safety" not in told


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object()], ids=["set", "bytes", "object"])
def test_a_value_that_is_no_json_is_refused_without_the_request(
    safe: SafeSearch, index: str, value: object
) -> None:
    with pytest.raises(UnsafeRequest, match="has a value that JSON has no form for") as caught:
        safe.search(index=index, query={"terms": {"title": value}})
    assert not tells_ids(str(caught.value))


def test_an_argument_that_is_not_known_is_the_same_fault_for_hidden_and_missing(
    safe: SafeSearch, index: str
) -> None:
    said = set()
    for id in ("nobody", SECRET[0]):
        with pytest.raises(TypeError) as caught:
            safe.exists(index=index, id=id, params={"bogus": 1})
        said.add(str(caught.value))
    assert len(said) == 1


def test_term_vectors_choose_no_words_by_their_frequency(safe: SafeSearch, index: str) -> None:
    chosen = {"min_doc_freq": 7}
    with pytest.raises(UnsafeRequest, match=r"filter.*counts hidden documents"):
        safe.termvectors(index=index, id="v1", fields=["title"], filter=chosen)
    with pytest.raises(UnsafeRequest, match=r"filter.*counts hidden documents"):
        safe.mtermvectors(index=index, docs=[{"_id": "v1", "filter": chosen}])
    found = safe.termvectors(index=index, id="v1", fields=["title"])
    assert set(found["term_vectors"]["title"]["terms"]) == {"red", "beach"}


def test_the_index_of_overrides_takes_no_safety_fields(node: Elasticsearch, kept: str) -> None:
    for call in (add_to_index, check_index):
        with pytest.raises(MappingError, match="one of saferank's own"):
            call(node, kept)


def test_parts_of_an_answer_that_a_body_asks_for_show_no_hidden_document(
    safe: SafeSearch, index: str
) -> None:
    for call in (safe.mget, safe.mtermvectors):
        with pytest.raises(UnsafeRequest, match="filter_path"):
            call(index=index, body={"ids": list(SECRET), "filter_path": "docs._source"})
