"""What ``saferank alias install`` says about aliases is what the engine does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from engines import ENGINE
from typer.testing import CliRunner

from saferank.cli import app
from saferank.mappings import template
from saferank.ranker import load_policy
from saferank.ranker.alias import LEAVES_OPEN, PROTECTS, install_aliases
from saferank.settings import Engine, get_settings

INDEX = "test-alias"
STRICT, OFF = f"{INDEX}-strict", f"{INDEX}-off"
WORD = "zzhiddenword"
POLICY = """\
version: 1
levels:
  off: {}
  strict: {hide_from: 0.2, unscored: hide}
contexts: [{level: strict}]
"""
VECTOR = [10, 1]
KNN = {"field": "v", "query_vector": VECTOR, "k": 3, "num_candidates": 10}
WORDS = {"terms": {"field": "word"}}
TOP = {"top_hits": {"size": 50}}


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(
            index=INDEX,
            settings={"number_of_shards": 1},
            mappings={
                "properties": {
                    **properties,
                    "title": {"type": "text"},
                    "word": {"type": "keyword"},
                    "c": {"type": "completion"},
                    "v": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"},
                    "parts": {"type": "nested", "properties": {"word": {"type": "keyword"}}},
                }
            },
        )
        for number in range(6):
            hidden = number >= 4
            word = WORD if hidden else "zzvisible"
            document = {
                "title": f"cat {word}",
                "word": word,
                "c": f"cat {word}",
                "v": [number, 1],
                "group": "one",
                "parts": [{"word": word}],
                "safety": {"probability": 0.9 if hidden else 0.01, "status": "scored"},
            }
            client.index(index=INDEX, id=f"{word}-{number}", document=document)
        client.indices.refresh(index=INDEX)
        install_aliases(client, INDEX, load_policy(POLICY))
        yield client
        client.indices.delete(index=INDEX)


HIDDEN = f"{WORD}-4"
LOOKUP = {"index": INDEX, "id": HIDDEN, "path": "word"}
Ask = Callable[[Elasticsearch], Any]


def search(**body: Any) -> Ask:
    return lambda node: node.search(index=STRICT, size=50, **body)


def in_pages(node: Elasticsearch) -> list[Any]:
    pit = node.open_point_in_time(index=STRICT, keep_alive="1m")["id"]
    answers = [node.search(pit={"id": pit}, size=50), node.search(index=STRICT, scroll="1m")]
    node.close_point_in_time(id=pit)
    node.clear_scroll(scroll_id=answers[1]["_scroll_id"])
    return [answer.body for answer in answers]


def terms_that_begin(node: Elasticsearch) -> Any:
    """A call that OpenSearch lacks."""
    return node.terms_enum(index=STRICT, field="word", string="zz")


KEPT_OUT: dict[str, list[Ask]] = {
    "hits": [
        search(),
        search(query={"ids": {"values": [HIDDEN, "zzvisible-0"]}}),
        search(sort=["word"], track_total_hits=True),
        search(query={"match": {"title": "cat"}}, post_filter={"prefix": {"word": "zz"}}),
        lambda node: node.msearch(searches=[{"index": STRICT}, {"size": 50}]),
        lambda node: {"zz" if node.count(index=STRICT)["count"] == 4 else WORD: 1},
    ],
    "aggregations": [
        search(aggs={"all": {"global": {}, "aggs": {"words": WORDS, "top": TOP}}}),
        search(aggs={"s": {"significant_terms": {"field": "word", "min_doc_count": 1}}}),
    ],
    "neighbours": [
        search(knn=KNN),
        search(query={"knn": KNN}),
        search(retriever={"knn": KNN}),
    ],
    "groups": [
        search(collapse={"field": "group.keyword", "inner_hits": {"name": "g", "size": 50}}),
        search(query={"nested": {"path": "parts", "query": {"match_all": {}}, "inner_hits": {}}}),
    ],
    "pages": [in_pages],
}
TOLD: dict[str, list[Ask]] = {
    "reads": [
        lambda node: node.get(index=STRICT, id=HIDDEN),
        lambda node: node.mget(index=STRICT, ids=[HIDDEN]),
        lambda node: node.get_source(index=STRICT, id=HIDDEN),
        lambda node: {WORD: 1} if node.exists(index=STRICT, id=HIDDEN) else {},
        lambda node: node.termvectors(index=STRICT, id=HIDDEN, fields=["title"]),
        lambda node: node.explain(index=STRICT, id=HIDDEN, query={"term": {"title": WORD}}),
        lambda node: node.update(index=STRICT, id=HIDDEN, doc={"group": "one"}, source=True),
    ],
    "lookups": [
        # What is found shows the value that was looked up.
        lambda node: _like(
            node, {"terms": {"title": {"index": INDEX, "id": HIDDEN, "path": "word"}}}
        ),
        lambda node: _like(
            node,
            {
                "more_like_this": {
                    "fields": ["title"],
                    "like": [{"_id": HIDDEN}],
                    "min_term_freq": 1,
                    "min_doc_freq": 1,
                }
            },
        ),
    ],
    "suggestions": [
        search(suggest={"s": {"prefix": "cat", "completion": {"field": "c"}}}),
        search(suggest={"s": {"text": "zzhiddenwort", "term": {"field": "title"}}}),
        search(
            suggest={
                "s": {
                    "text": "cat zzhiddenwort",
                    "phrase": {"field": "title", "max_errors": 2, "confidence": 0},
                }
            }
        ),
    ],
    "profile": [
        search(query={"prefix": {"title": "zz"}}, profile=True),
        search(query={"match_phrase_prefix": {"title": "cat zz"}}, explain=True),
    ],
    "words": [
        search(aggs={"w": {"terms": {"field": "word", "min_doc_count": 0}}}),
        *([] if ENGINE is Engine.OPENSEARCH else [terms_that_begin]),
    ],
    "numbers": [
        lambda node: {
            WORD: node.indices.stats(index=STRICT)["_all"]["primaries"]["docs"]["count"] > 8
        }
    ],
    "names": [
        lambda node: node.search(index=INDEX, size=50),
        lambda node: node.search(index=f"{INDEX}*", size=50),
        lambda node: node.search(index=OFF, size=50),
        lambda node: node.search(index=f"{STRICT},{OFF}", size=50),
    ],
    "writes": [
        lambda node: node.update(index=STRICT, id=HIDDEN, doc={"group": "one"}),
        lambda node: node.bulk(index=STRICT, operations=[{"delete": {"_id": f"{WORD}-5"}}]),
    ],
}


def _like(node: Elasticsearch, query: Any) -> dict[str, Any]:
    """Whether a word is found that is in no visible document but the one written for this."""
    twin = {"title": WORD, "safety": {"probability": 0.0, "status": "scored"}}
    node.index(index=INDEX, id="twin", document=twin, refresh=True)
    try:
        found = node.search(index=STRICT, query=query)["hits"]["hits"]
    finally:
        node.delete(index=INDEX, id="twin", refresh=True)
    return {hit["_source"]["title"]: 1 for hit in found}


def told(answer: Any) -> str:
    body = getattr(answer, "body", answer)
    return json.dumps(body if isinstance(body, Mapping | list) else str(body))


def test_every_sentence_is_tested() -> None:
    assert set(KEPT_OUT) == set(PROTECTS)
    assert set(TOLD) == set(LEAVES_OPEN)


@pytest.mark.parametrize("what", KEPT_OUT)
def test_what_an_alias_keeps_hidden_documents_out_of(node: Elasticsearch, what: str) -> None:
    for ask in KEPT_OUT[what]:
        answer = told(ask(node))
        assert WORD not in answer
        assert "zz" in answer or "buckets" in answer


@pytest.mark.parametrize("what", TOLD)
def test_what_passes_an_alias_by(node: Elasticsearch, what: str) -> None:
    for ask in TOLD[what]:
        assert WORD in told(ask(node))


def test_the_installation_says_so(
    node: Elasticsearch,
    elasticsearch_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(POLICY)
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
    get_settings.cache_clear()
    output = CliRunner().invoke(app, ["alias", "install", INDEX, "--policy", str(path)]).output
    get_settings.cache_clear()
    for what in (*PROTECTS.values(), *LEAVES_OPEN.values()):
        assert what in output
