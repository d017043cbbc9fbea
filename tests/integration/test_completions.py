"""Completions through a safe client: those of visible documents, as if there were no others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from elasticsearch.dsl import Search

from saferank.mappings import template
from saferank.ranker import AsyncSafeSearch, SafeSearch, load_policy, protect
from saferank.ranker.client.suggestions import MOST

WITH, WITHOUT = "test-completions-with", "test-completions-without"
POLICY = load_policy("""\
version: 1
levels:
  open:     {blocked: show}
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: strict}]
""")
Json = dict[str, Any]
# Text, weight, place, probability: at strict all but the plain ones are hidden.
PLAIN = [(f"cat {number // 2:02}", 10 + number, "ab"[number % 2], 0.01) for number in range(30)]
MEDIUM = [(f"cat medium {number}", 25 + number, "a", 0.5) for number in range(10)]
HIDDEN = [(f"cat {number:02}", 30 + number, "ab"[number % 2], 0.9) for number in range(60)]


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = template.component_template()["template"]["mappings"]["properties"]
    contexts = [{"name": "place", "type": "category"}]
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=f"{WITH},{WITHOUT}", ignore_unavailable=True)
        for index, documents in {WITH: [*HIDDEN, *MEDIUM, *PLAIN], WITHOUT: PLAIN}.items():
            client.indices.create(
                index=index,
                settings={"number_of_shards": 2},
                mappings={
                    "properties": {
                        **properties,
                        "c": {"type": "completion"},
                        "in": {"type": "completion", "contexts": contexts},
                        "n": {"type": "integer"},
                    }
                },
            )
            operations: list[Json] = []
            for text, weight, place, probability in documents:
                name = f"{text} {weight} {probability}"
                value = {"input": [text], "weight": weight}
                safety = {"probability": probability, "status": "scored"}
                if probability == 0.9:
                    safety["override"] = "block"
                document = {"c": value, "in": {**value, "contexts": {"place": place}}, "n": weight}
                operations += [{"index": {"_id": name}}, {**document, "safety": safety}]
            client.bulk(index=index, operations=operations, refresh=True)
        yield client
        client.indices.delete(index=f"{WITH},{WITHOUT}")


@pytest.fixture
def strict(node: Elasticsearch) -> SafeSearch:
    return SafeSearch(node, POLICY, level="strict")


def completion(prefix: str = "cat", field: str = "c", **options: Any) -> Json:
    return {"s": {"prefix": prefix, "completion": {"field": field, **options}}}


def told(answer: Any, name: str = "s") -> list[tuple[str, float]]:
    (part,) = answer["suggest"][name]
    return [(option["_id"], option["_score"]) for option in part["options"]]


SUGGESTIONS: dict[str, Json] = {
    "plain": completion(),
    "many": completion(size=50),
    "one": completion(size=1),
    "nothing": completion("dog"),
    "fuzzy": completion("cot", fuzzy={"fuzziness": 1}, size=3),
    "regex": {"s": {"regex": "c.t 0[0-4]", "completion": {"field": "c"}}},
    "in_a_context": completion(field="in", contexts={"place": "a"}),
    "boosted_contexts": completion(field="in", contexts={"place": [{"context": "b", "boost": 3}]}),
    "different": completion(skip_duplicates=True, size=8),
    "text_for_all": {"text": "cat", "s": {"completion": {"field": "c"}}},
    "shard_size": completion(shard_size=2, size=2),
}


@pytest.mark.parametrize("suggest", SUGGESTIONS.values(), ids=SUGGESTIONS)
def test_completions_are_as_if_there_were_no_hidden_documents(
    node: Elasticsearch, strict: SafeSearch, suggest: Json
) -> None:
    expected = told(node.search(index=WITHOUT, suggest=suggest))
    for answer in (
        strict.search(index=WITH, suggest=suggest),
        strict.search(index=WITH, body={"suggest": suggest, "size": 0}),
        strict.msearch(searches=[{"index": WITH}, {"suggest": suggest}])["responses"][0],
    ):
        if suggest is SUGGESTIONS["different"]:  # Of equal texts the engine's choice may differ.
            assert len(told(answer)) == len(expected)
            texts = [option["text"] for option in answer["suggest"]["s"][0]["options"]]
            assert len(set(texts)) == len(texts)
        else:
            assert told(answer) == expected
        assert "0.9" not in json.dumps(answer["suggest"])


def test_a_search_for_completions_alone_looks_for_no_documents(
    node: Elasticsearch, strict: SafeSearch
) -> None:
    suggest = completion()
    expected = node.search(index=WITH, suggest=suggest)["hits"]
    assert expected["total"]["value"] == 0
    for answer in (
        strict.search(index=WITH, suggest=suggest),
        strict.search(index=WITH, suggest=suggest, size=5),
        strict.search(index=WITH, body={"suggest": suggest}),
        strict.msearch(searches=[{"index": WITH}, {"suggest": suggest}])["responses"][0],
    ):
        assert answer["hits"] == expected
        assert told(answer)
    for more in (
        {"q": "n:39"},
        {"query": {"match_all": {}}},
        {"aggs": {"n": {"max": {"field": "n"}}}},
    ):
        assert strict.search(index=WITH, suggest=suggest, **more)["hits"]["total"]["value"]


def test_options_have_their_sources_and_say_what_was_done(strict: SafeSearch) -> None:
    answer = strict.search(index=WITH, suggest=completion(size=1), size=2, query={"match_all": {}})
    (option,) = answer["suggest"]["s"][0]["options"]
    assert option["_source"]["n"] == 39
    assert option["saferank"]["action"] == "shown"
    assert "fields" not in option
    assert len(answer["hits"]["hits"]) == 2
    filtered = strict.search(index=WITH, suggest=completion(size=1), source=["n"])
    assert filtered["suggest"]["s"][0]["options"][0]["_source"] == {"n": 39}
    bare = strict.search(index=WITH, suggest=completion(size=1), source=False, typed_keys=True)
    assert "_source" not in bare["suggest"]["completion#s"][0]["options"][0]


def test_demoted_documents_are_completed_by_their_demoted_weight(node: Elasticsearch) -> None:
    safe = SafeSearch(node, POLICY, level="moderate")
    factor = 0.1**0.5
    weights = {
        f"{text} {weight} {probability}": weight * (factor if probability == 0.5 else 1)
        for text, weight, _, probability in [*PLAIN, *MEDIUM]
    }
    expected = sorted(weights.values(), reverse=True)
    for size in (1, 5, 20, 40):
        found = told(safe.search(index=WITH, suggest=completion(size=size)))
        assert [score for _, score in found] == pytest.approx(expected[:size])
        assert all(score == pytest.approx(weights[name]) for name, score in found)


def test_where_nothing_is_hidden_suggestions_are_passed_on(node: Elasticsearch) -> None:
    safe = SafeSearch(node, POLICY, level="open")
    suggest = {"t": {"text": "cut", "term": {"field": "c"}}, **completion()}
    assert told(safe.search(index=WITH, suggest=suggest)) == told(
        node.search(index=WITH, suggest=suggest)
    )


def test_it_is_not_looked_further_down_for_ever(strict: SafeSearch, index_name: str) -> None:
    node = strict.client
    template.add_to_index(node, _created(node, index_name))
    blocked = {"safety": {"override": "block"}, "c": {"input": ["cat"], "weight": 9}}
    operations: list[Json] = [part for _ in range(MOST) for part in ({"index": {}}, blocked)]
    node.bulk(index=index_name, operations=operations)
    shown = {"safety": {"override": "allow"}, "c": {"input": ["cat"], "weight": 1}}
    node.index(index=index_name, id="shown", document=shown, refresh=True)
    assert told(strict.search(index=index_name, suggest=completion())) == []


@pytest.mark.parametrize("size", [1, 3, 20])
def test_what_else_hidden_documents_begin_with_takes_no_place(
    strict: SafeSearch, index_name: str, size: int
) -> None:
    """The engine counts inputs that fit, and gives a document once."""
    node = strict.client
    template.add_to_index(node, _created(node, index_name))
    operations: list[Json] = []
    for number in range(50):
        decided = "block" if number >= 10 else "allow"
        value = {"input": ["cat", "cats", f"cat {number}"], "weight": number}
        operations += [{"index": {}}, {"c": value, "safety": {"override": decided}}]
    node.bulk(index=index_name, operations=operations, refresh=True)
    found = [
        score for _, score in told(strict.search(index=index_name, suggest=completion(size=size)))
    ]
    assert found == list(range(9, -1, -1))[:size]


def _created(node: Elasticsearch, index: str) -> str:
    node.indices.create(index=index, mappings={"properties": {"c": {"type": "completion"}}})
    return index


def test_every_form_of_search_takes_completions(strict: SafeSearch, elasticsearch_url: str) -> None:
    expected = told(strict.search(index=WITH, suggest=completion()))
    search = Search(index=WITH).suggest("s", "cat", completion={"field": "c"})
    found = protect(search, strict).execute()
    assert [(option._id, option._score) for option in found.suggest.s[0].options] == expected
    pit = strict.open_point_in_time(index=WITH, keep_alive="1m")["id"]
    assert told(strict.search(pit={"id": pit}, suggest=completion())) == expected
    strict.close_point_in_time(id=pit)
    many = strict.msearch(
        index=WITH, searches=[{}, {"size": 1}, {}, {"suggest": completion()}, {}, {"sort": "none"}]
    )["responses"]
    assert [len(many[0]["hits"]["hits"]), told(many[1]), many[2]["status"]] == [1, expected, 400]

    async def main() -> Any:
        async with AsyncSafeSearch(AsyncElasticsearch(elasticsearch_url), POLICY) as client:
            return await client.search(index=WITH, suggest=completion())

    assert told(asyncio.run(main())) == expected


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("off", [("red 3", 3), ("red 2", 2), ("red 1", 1)]),
        ("moderate", [("red 1", 1), ("red 2", pytest.approx(2 * 0.1**0.5))]),
        ("strict", [("red 1", 1)]),
    ],
)
def test_completions_in_nested_objects_are_judged_by_their_document(
    node: Elasticsearch, index_name: str, level: str, expected: list[tuple[str, float]]
) -> None:
    properties = template.component_template()["template"]["mappings"]["properties"]
    parts = {"type": "nested", "properties": {"c": {"type": "completion"}}}
    node.indices.create(index=index_name, mappings={"properties": {**properties, "parts": parts}})
    operations: list[Json] = []
    for weight, probability in enumerate((0.01, 0.5, 0.9), start=1):
        safety = {"probability": probability, "status": "scored"}
        value = {"input": f"red {weight}", "weight": weight}
        operations += [{"index": {"_id": f"red {weight}"}}, {"parts": [{"c": value}]}]
        operations[-1]["safety"] = safety
    node.bulk(index=index_name, operations=operations, refresh=True)
    client = SafeSearch(node, POLICY, level=level)
    found = client.search(index=index_name, suggest=completion("red", "parts.c"))
    assert told(found) == expected


def test_of_one_id_under_two_routings_a_nested_completion_is_shown_only_if_both_are(
    node: Elasticsearch, index_name: str
) -> None:
    properties = template.component_template()["template"]["mappings"]["properties"]
    parts = {"type": "nested", "properties": {"c": {"type": "completion"}}}
    node.indices.create(
        index=index_name,
        settings={"number_of_shards": 2},
        mappings={"properties": {**properties, "parts": parts}},
    )
    client = SafeSearch(node, POLICY, level="strict")
    for routing, probability, expected in (("a", 0.01, 1), ("b", 0.01, 2), ("c", 0.9, 0)):
        document = {"parts": [{"c": "red"}], "safety": {"probability": probability}}
        node.index(index=index_name, id="1", routing=routing, document=document, refresh=True)
        found = client.search(index=index_name, suggest=completion("red", "parts.c"))
        assert len(told(found)) == expected


def test_suggestions_that_fail_leave_the_other_searches_of_an_msearch(strict: SafeSearch) -> None:
    lines: list[Json] = []
    for suggest in (completion(field="n"), completion("cat 1", size=1)):
        lines += [{"index": WITH}, {"suggest": suggest}]
    failed, found = strict.msearch(searches=lines)["responses"]
    assert failed["status"] == 400
    assert "Field [n] is not a completion suggest field" in str(failed["error"])
    assert "suggest" not in failed
    assert told(found) == [("cat 14 39 0.01", 39.0)]
