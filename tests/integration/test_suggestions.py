"""Suggested words and phrases through a safe client, on a real node."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch, helpers
from elasticsearch.dsl import Search

from saferank.errors import UnsafeRequest
from saferank.mappings import template
from saferank.ranker import AsyncSafeSearch, SafeSearch, load_policy, protect
from saferank.ranker.client.suggestions import MOST

INDEX = "test-suggestions"
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
# Title, how many documents have it, and their safety fields.
DOCUMENTS: list[tuple[str, int, Json]] = [
    ("beach house", 3, {"probability": 0.01}),
    ("beech tree", 1, {"probability": 0.01}),
    ("beard", 2, {"probability": 0.5}),
    ("beads beach", 4, {"probability": 0.9}),
    ("leach", 6, {"probability": 0.01, "override": "block"}),
]


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = {
        **template.component_template()["template"]["mappings"]["properties"],
        "title": {"type": "text"},
        "name": {"type": "keyword"},
        "n": {"type": "integer"},
        "parts": {"type": "nested", "properties": {"title": {"type": "text"}}},
    }
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(index=INDEX, mappings={"properties": properties})
        texts = [(title, safety) for title, count, safety in DOCUMENTS for _ in range(count)]
        helpers.bulk(
            client,
            (
                {
                    "_index": INDEX,
                    "title": title,
                    "name": title,
                    "parts": [{"title": title}],
                    "safety": {"status": "scored", **safety},
                }
                for title, safety in texts
            ),
            refresh=True,
        )
        yield client
        client.indices.delete(index=INDEX)


@pytest.fixture
def strict(node: Elasticsearch) -> SafeSearch:
    return SafeSearch(node, POLICY, level="strict")


def term(text: str = "beacd", **options: Any) -> Json:
    return {"s": {"text": text, "term": {"field": "title", "prefix_length": 0, **options}}}


def phrase(text: str = "beacd tree", **options: Any) -> Json:
    return {"s": {"text": text, "phrase": {"field": "title", "confidence": 0, **options}}}


def told(answer: Any, name: str = "s") -> list[list[tuple[str, int | None]]]:
    return [
        [(option["text"], option.get("freq")) for option in part["options"]]
        for part in answer["suggest"][name]
    ]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("off", [("beach", 7), ("beads", 4), ("beard", 2), ("beech", 1)]),
        ("moderate", [("beach", 3), ("beard", 2), ("beech", 1)]),
        ("strict", [("beach", 3), ("beech", 1)]),
    ],
)
def test_words_are_those_of_visible_documents_and_counted_in_them(
    node: Elasticsearch, level: str, expected: list[tuple[str, int]]
) -> None:
    safe = SafeSearch(node, POLICY, level=level)
    (found,) = told(safe.search(index=INDEX, suggest=term(max_edits=2)))
    assert sorted(found) == expected
    assert found[0] == expected[0]


def test_a_word_of_hidden_documents_is_misspelled_as_one_that_is_not_there(
    strict: SafeSearch,
) -> None:
    """By default only words that are not in the index are corrected."""
    assert told(strict.search(index=INDEX, suggest=term("beads"))) == [[("beach", 3)]]
    assert told(strict.search(index=INDEX, suggest=term("beech"))) == [[]]
    off = strict.at_level("off")
    assert told(off.search(index=INDEX, suggest=term("beads"))) == [[]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"suggest_mode": "popular"}, ["beach"]),
        ({"suggest_mode": "ALWAYS", "min_doc_freq": 2}, ["beach"]),
        ({"suggest_mode": "always", "min_doc_freq": 3}, []),
        ({"suggest_mode": "always", "min_doc_freq": 0.75}, ["beach"]),
        ({"suggest_mode": "always", "max_term_freq": 1}, ["beach"]),
        ({"suggest_mode": "always", "max_term_freq": 0}, []),
        ({"suggest_mode": "popular", "size": 1, "shard_size": 1, "sort": "frequency"}, ["beach"]),
    ],
    ids=str,
)
def test_frequencies_that_are_asked_for_are_those_of_visible_documents(
    strict: SafeSearch, options: Json, expected: list[str]
) -> None:
    (found,) = told(strict.search(index=INDEX, suggest=term("beech", **options)))
    assert [text for text, _ in found] == expected


def test_every_form_of_search_takes_words(strict: SafeSearch, elasticsearch_url: str) -> None:
    expected = [[("beach", 3), ("beech", 1)]]
    assert told(strict.search(index=INDEX, body={"suggest": term()})) == expected
    typed = strict.search(index=INDEX, suggest=term(), typed_keys=True)
    assert told(typed, "term#s") == expected
    (answer,) = strict.msearch(searches=[{"index": INDEX}, {"suggest": term()}])["responses"]
    assert told(answer) == expected
    search = Search(index=INDEX).suggest("s", "beacd", term={"field": "title", "prefix_length": 0})
    found = protect(search, strict).execute()
    assert [(option.text, option.freq) for option in found.suggest.s[0].options] == expected[0]
    pit = strict.open_point_in_time(index=INDEX, keep_alive="1m")["id"]
    assert told(strict.search(pit={"id": pit}, suggest=term())) == expected
    strict.close_point_in_time(id=pit)
    shared = {"text": "beacd", "s": {"term": {"field": "title", "prefix_length": 0}}}
    both = strict.search(index=INDEX, suggest=shared, query={"match": {"title": "tree"}})
    assert told(both) == expected
    assert both["hits"]["total"]["value"] == 1
    named = {"text": term()["s"]}
    assert told(strict.search(index=INDEX, suggest=named), "text") == expected

    async def main() -> Any:
        async with AsyncSafeSearch(AsyncElasticsearch(elasticsearch_url), POLICY) as client:
            return await client.search(index=INDEX, suggest=term())

    assert told(asyncio.run(main())) == expected


def test_phrases_are_made_of_the_callers_words_and_of_visible_ones(
    node: Elasticsearch, strict: SafeSearch
) -> None:
    generators = [{"field": "title", "prefix_length": 0, "suggest_mode": "always"}]
    asked = phrase(
        "beacd tree",
        direct_generator=generators,
        highlight={"pre_tag": "<b>", "post_tag": "</b>"},
        size=20,
    )
    plain = {text for text, _ in told(node.search(index=INDEX, suggest=asked))[0]}
    assert {"beads tree", "beard tree", "beach tree"} <= plain
    answer = strict.search(index=INDEX, suggest=asked)
    assert {text for text, _ in told(answer)[0]} == {"beach tree", "beech tree", "beacd tree"}
    assert "<b>beach</b> tree" in json.dumps(answer.body)
    for word in ("beads", "leach", "beard"):
        assert word not in json.dumps(answer.body)


def test_phrases_that_hidden_words_would_crowd_out_are_found(
    node: Elasticsearch, strict: SafeSearch
) -> None:
    """The words nearest to it are of hidden documents, and it is asked for one of them only."""
    asked = phrase("beasd", direct_generator=[{"field": "title", "size": 1}], size=1, confidence=1)
    assert told(node.search(index=INDEX, suggest=asked)) == [[("beads", None)]]
    assert told(strict.search(index=INDEX, suggest=asked)) == [[("beach", None)]]


def test_as_many_words_are_counted_as_a_long_text_needs(strict: SafeSearch) -> None:
    """More than one search counts."""
    letters = "aefgijklmnopqrstuvwxyz"
    words = [f"be{one}c{two}{three}" for one in letters for two in letters for three in "fgh"]
    assert len(words) > MOST
    answer = strict.search(index=INDEX, suggest=term(" ".join(words), max_edits=2))
    parts = {part["text"]: part["options"] for part in answer["suggest"]["s"]}
    assert parts.keys() == set(words)
    found = {option["text"] for options in parts.values() for option in options}
    assert found == {"beach", "beech"}
    for word in ("beacah", "bezczh"):  # The latter would be beyond what one search counts.
        assert (parts[word][0]["text"], parts[word][0]["freq"]) == ("beach", 3)


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize(
    "query",
    [
        {"source": {"match": {"{{field}}": {"query": "{{suggestion}}", "operator": "and"}}}},
        '{"match": {"{{ field }}": {"query": "{{suggestion}}", "operator": "and"}}}',
    ],
    ids=["object", "text"],
)
def test_a_phrase_can_have_to_find_visible_documents(
    strict: SafeSearch, prune: bool, query: Any
) -> None:
    """Hidden documents have "beads beach", visible ones each of the two words of "beach tree"."""
    collate = {"query": query, "params": {"field": "title"}, "prune": prune}
    generators = [{"field": "title", "suggest_mode": "always", "prefix_length": 0}]

    def found(text: str) -> dict[str, Any]:
        asked = phrase(text, collate=collate, direct_generator=generators, size=20)
        (part,) = strict.search(index=INDEX, suggest=asked)["suggest"]["s"]
        return {option["text"]: option.get("collate_match") for option in part["options"]}

    if prune:
        assert found("beacd tree") == {"beach tree": False, "beech tree": True, "beacd tree": False}
        assert found("beads beach")["beads beach"] is False
    else:
        assert found("beacd tree") == {"beech tree": None}
        assert "beads beach" not in found("beads beach")


def test_an_error_of_a_query_that_phrases_are_to_find_by_cites_none_of_them(
    strict: SafeSearch,
) -> None:
    collate = {"query": {"source": {"term": {"n": "{{suggestion}}"}}}}
    with pytest.raises(UnsafeRequest, match="takes no query for what was suggested") as caught:
        strict.search(index=INDEX, suggest=phrase("beacd", collate=collate))
    assert caught.value.key == "suggest.s.phrase.collate"
    assert "beach" not in str(caught.value)


@pytest.mark.parametrize("field", ["_id", "safety.override", "parts.title", "name"])
def test_words_of_odd_fields_are_visible_or_not_suggested(strict: SafeSearch, field: str) -> None:
    """Words are looked up in whole documents, by the field's own kind of term."""
    options = {"field": field, "min_word_length": 1, "prefix_length": 0, "suggest_mode": "always"}
    for text in ("f", "blocj", "beacd", "beads beacg"):
        suggest = {"s": {"text": text, "term": {**options, "analyzer": "keyword"}}}
        answer = strict.search(index=INDEX, suggest=suggest)
        texts = [option["text"] for part in answer["suggest"]["s"] for option in part["options"]]
        assert not {"block", "beads beach"} & set(texts)


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "integrate.md"


def test_the_recipe_for_tags_gives_visible_ones(strict: SafeSearch) -> None:
    (code,) = re.findall(r"```python\n(import re\n.*?)```", PAGE.read_text(), re.DOTALL)
    code = code.replace('"tags", "include"', '"name", "include"').replace('"photos"', f'"{INDEX}"')
    recipe: dict[str, Any] = {}
    exec(code, recipe)
    tags = recipe["tags_that_begin"]
    assert tags(strict, "be", {}) == ["beach house", "beech tree"]
    assert tags(strict.at_level("off"), "bea", {}) == ["beads beach", "beach house", "beard"]
    for prefix in ("be.", "b*", ".", "BE", '"', "be\\", "~", "#", "<1-9>"):
        assert tags(strict, prefix, {}) == []
    assert tags(strict, "beach ", {}) == ["beach house"]


@pytest.mark.parametrize(
    ("suggest", "key", "reason"),
    [
        ({"a": {"prefix": "c", "other": {}}}, "suggest.a.other", "not known"),
        ({"a": {"completion": {"payload": 1}}}, "suggest.a.completion.payload", "not known"),
        ({"a": {"prefix": "c"}}, "suggest.a", "one kind"),
        ({"a": {"term": {"field": "t"}, "phrase": {"field": "t"}}}, "suggest.a", "one kind"),
        ({"a": []}, "suggest.a", "an object is expected"),
        ({"text": {"prefix": "c", "other": {}}}, "suggest.text.other", "not known"),
        ([], "suggest", "an object is expected"),
        ({"a": {"term": {}}}, "suggest.a.term.field", "name of a field"),
        ({"a": {"term": {"field": "t", "size": 0}}}, "suggest.a.term.size", "1 or more"),
        ({"a": {"term": {"field": "t", "sort": "x"}}}, "suggest.a.term.sort", "'frequency'"),
        (
            {"a": {"term": {"field": "t", "suggest_mode": 1}}},
            "suggest.a.term.suggest_mode",
            "'popular'",
        ),
        (
            {"a": {"term": {"field": "t", "min_doc_freq": -1}}},
            "suggest.a.term.min_doc_freq",
            "a number of documents",
        ),
        (
            {"a": {"phrase": {"field": "t", "direct_generator": [{"field": "t", "x": 1}]}}},
            "suggest.a.phrase.direct_generator.0.x",
            "not known",
        ),
        (
            {"a": {"phrase": {"field": "t", "collate": {"query": {"id": "mine"}}}}},
            "suggest.a.phrase.collate.query",
            "stored",
        ),
        (
            {"a": {"phrase": {"field": "t", "collate": {"query": {"source": {"other": {}}}}}}},
            "suggest.a.phrase.collate.query.other",
            "kind of query",
        ),
        (
            {"a": {"phrase": {"field": "t", "collate": {"query": "{{#a}}1{{/a}}"}}}},
            "suggest.a.phrase.collate.query",
            "as an object",
        ),
    ],
)
def test_what_is_not_understood_is_refused(
    strict: SafeSearch, suggest: Any, key: str, reason: str
) -> None:
    for level in ("off", "moderate", "strict"):
        safe = strict.at_level(level)
        with pytest.raises(UnsafeRequest, match=reason) as caught:
            safe.search(index=INDEX, suggest=suggest)
        assert caught.value.key == key
        with pytest.raises(UnsafeRequest, match=reason):
            safe.msearch(index=INDEX, searches=[{}, {"suggest": suggest}])
