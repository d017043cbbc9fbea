"""Beginnings and misspelled words at every level: no word of hidden documents alone comes back.

Each word of a vocabulary belongs to documents of some kinds: shown, demoted, hidden, blocked. What
is suggested is held against an index that has the visible documents and no others.

``SAFERANK_SUGGESTED_PREFIXES`` sets how many beginnings are tried at each level, and
``SAFERANK_SUGGESTED_SEED`` which; without them there are 60, always the same.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch, helpers

from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy

Json = dict[str, Any]
ALL = "test-suggested"
POLICY = load_policy("""\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: strict}]
""")
SAFETY: dict[str, Json] = {
    "shown": {"probability": 0.01, "status": "scored"},
    "demoted": {"probability": 0.5, "status": "scored"},
    "hidden": {"probability": 0.9, "status": "scored"},
    "blocked": {"probability": 0.01, "status": "scored", "override": "block"},
}
VISIBLE = {
    "off": ["shown", "demoted", "hidden"],
    "moderate": ["shown", "demoted"],
    "strict": ["shown"],
}
PREFIXES = int(os.environ.get("SAFERANK_SUGGESTED_PREFIXES", "60"))
SEED = os.environ.get("SAFERANK_SUGGESTED_SEED", "20")
TOGETHER = 20
"""Beginnings in one request."""
MANY = 500
"""More options than there are."""


def _vocabulary() -> dict[str, list[str]]:
    """Word -> the kinds of documents that it is in. Of few letters, so that many are alike."""
    draw = random.Random(7)
    words = {"".join(draw.choices("abcde", k=draw.randint(4, 6))) for _ in range(500)}
    return {word: draw.sample(list(SAFETY), draw.choice([1, 1, 2, 3])) for word in sorted(words)}


VOCABULARY = _vocabulary()


def _documents() -> list[Json]:
    draw = random.Random(8)
    documents = []
    for kind, safety in SAFETY.items():
        own = [word for word, kinds in VOCABULARY.items() if kind in kinds]
        # Each word at least once, and some far more often.
        left = [word for word in own for _ in range(draw.choice([1, 1, 2, 9]))]
        draw.shuffle(left)
        while left:
            words, left = left[:3], left[3:]
            value = {"input": [" ".join(words)], "weight": draw.randrange(10_000)}
            title = {"title": " ".join(words), "words": words, "c": value, "kind": kind}
            documents.append({**title, "safety": safety})
    return documents


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    properties = {
        **template.component_template()["template"]["mappings"]["properties"],
        "title": {"type": "text"},
        "words": {"type": "keyword"},
        "c": {"type": "completion"},
        "kind": {"type": "keyword"},
    }
    documents = _documents()
    kinds = {ALL: list(SAFETY), **{f"{ALL}-{level}": shown for level, shown in VISIBLE.items()}}
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=list(kinds), ignore_unavailable=True)
        for index, shown in kinds.items():
            client.indices.create(
                index=index,
                mappings={"properties": properties},
                settings={"number_of_shards": 2 if index == ALL else 1},
            )
            helpers.bulk(
                client,
                ({"_index": index, "_source": each} for each in documents if each["kind"] in shown),
                refresh=True,
            )
        yield client
        client.indices.delete(index=list(kinds))


def _misspelled(word: str, draw: random.Random) -> str:
    place = draw.randrange(len(word))
    return word[:place] + draw.choice(["", "a", "e", "ab"]) + word[place + draw.randint(0, 1) :]


def _request(draw: random.Random) -> Json:
    """A search with some beginnings, each in all forms of suggestions that there are."""
    suggest: Json = {}
    aggregations: Json = {}
    wanted: list[Json] = []
    for number in range(TOGETHER):
        word = draw.choice(list(VOCABULARY))
        prefix = word[: draw.randint(1, 4)]
        typo, other = _misspelled(word, draw), _misspelled(draw.choice(list(VOCABULARY)), draw)
        suggest |= {
            f"c{number}": {"prefix": prefix, "completion": {"field": "c", "size": 5}},
            f"t{number}": {
                "text": f"{typo} {other}",
                "term": {
                    "field": "title",
                    "size": draw.choice([1, 5, MANY]),
                    "suggest_mode": draw.choice(["missing", "popular", "always"]),
                    "sort": draw.choice(["score", "frequency"]),
                    "prefix_length": draw.choice([0, 1]),
                    "min_doc_freq": draw.choice([0, 1, 0.002]),
                    "max_term_freq": draw.choice([0.01, 5]),
                    "max_inspections": MANY,  # Else the engine looks at the nearest few only.
                },
            },
            f"p{number}": {
                "text": f"{typo} {other}",
                "phrase": {
                    "field": "title",
                    "max_errors": draw.choice([1, 2]),
                    "confidence": draw.choice([0, 1]),
                    "highlight": {"pre_tag": "", "post_tag": ""},
                },
            },
        }
        aggregations[f"w{number}"] = {
            "terms": {"field": "words", "include": f"{prefix}.*", "size": MANY}
        }
        wanted.append({"match_bool_prefix": {"title": f"{other} {prefix}"}})
    return {
        "suggest": suggest,
        "aggs": aggregations,
        "query": {"bool": {"should": wanted}},
        "highlight": {"fields": {"title": {}}},
        "size": 50,
    }


def _texts(answer: Json) -> Iterator[str]:
    """All that came back, but for the caller's own words."""
    for parts in answer["suggest"].values():
        for part in parts:
            for option in part["options"]:
                yield option["text"]
                yield option.get("highlighted", "")
                yield option.get("_source", {}).get("title", "")
    for aggregation in answer["aggregations"].values():
        yield from (bucket["key"] for bucket in aggregation["buckets"])
    for hit in answer["hits"]["hits"]:
        yield hit["_source"]["title"]
        yield from hit.get("highlight", {}).get("title", [])


def _words(answer: Json) -> list[str]:
    return [word for text in _texts(answer) for word in re.findall(r"\b[a-e]{3,}\b", text)]


def _completions(answer: Json) -> dict[str, list[Any]]:
    """What was completed, and how."""
    return {
        name: [
            [
                (option["text"], option.get("score", option.get("_score")))
                for option in part["options"]
            ]
            for part in parts
        ]
        for name, parts in answer["suggest"].items()
        if name.startswith("c")
    }


def _of_words(answer: Json) -> dict[str, list[Any]]:
    return {
        name: [[dict(option) for option in part["options"]] for part in parts]
        for name, parts in answer["suggest"].items()
        if name.startswith("t")
    }


def _own(request: Json) -> set[str]:
    texts = [entry.get("text", "") for entry in request["suggest"].values()]
    return {word for text in texts for word in text.split()}


@pytest.mark.parametrize("level", VISIBLE)
def test_no_word_of_hidden_documents_is_suggested(node: Elasticsearch, level: str) -> None:
    draw = random.Random(f"{SEED} {level}")
    safe = SafeSearch(node, POLICY, level=level)
    visible = {word for word, kinds in VOCABULARY.items() if set(kinds) & set(VISIBLE[level])}
    told = 0
    for number in range(max(1, PREFIXES // TOGETHER)):
        request = _request(draw)
        answer = safe.search(index=ALL, **request).body
        words = _words(answer)
        stray = set(words) - visible - _own(request)
        assert not stray, f"seed {SEED}, request {number}: {sorted(stray)}"
        told += len(words)
        if not number:  # Without a policy it would have been seen.
            plain = set(_words(node.search(index=ALL, **request).body))
            assert len(plain - visible - _own(request)) > 10
        expected = node.search(index=f"{ALL}-{level}", **request).body
        # Words are as if there were no hidden documents, to the count and the order.
        assert _of_words(answer) == _of_words(expected), f"seed {SEED}, request {number}"
        assert answer["aggregations"] == expected["aggregations"]
        if level != "moderate":  # There the weights of demoted documents are smaller.
            assert _completions(answer) == _completions(expected)
    assert told > 1000


def test_stricter_levels_suggest_a_part_of_what_looser_ones_do(node: Elasticsearch) -> None:
    draw = random.Random(SEED)
    suggest = {
        name: entry for name, entry in _request(draw)["suggest"].items() if "phrase" not in entry
    }
    for entry in suggest.values():
        if "term" in entry:
            whole = {"size": MANY, "suggest_mode": "always", "max_term_freq": MANY}
            entry["term"] |= {**whole, "min_doc_freq": 0}
        else:
            entry["completion"]["size"] = MANY
    strict, moderate, off = (
        _suggested(SafeSearch(node, POLICY, level=level).search(index=ALL, suggest=suggest).body)
        for level in ("strict", "moderate", "off")
    )
    assert strict < moderate < off


def _suggested(answer: Json) -> set[tuple[str, int, str]]:
    """What was suggested, where."""
    return {
        (name, place, option["text"])
        for name, parts in answer["suggest"].items()
        for place, part in enumerate(parts)
        for option in part["options"]
    }
