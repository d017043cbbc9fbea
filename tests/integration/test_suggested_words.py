"""Beginnings and misspelled words at every level: no word of hidden documents alone comes back.

Each word of a vocabulary belongs to documents of some kinds: shown, demoted, hidden, blocked. Words
that are suggested are held against an index that has the visible documents and no others; tags and
completions against what they come to, worked out from these documents.

``SAFERANK_SUGGESTED_PREFIXES`` sets how many beginnings are tried at each level, and
``SAFERANK_SUGGESTED_SEED`` which; without them there are 100, always the same.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from elasticsearch import Elasticsearch, helpers

from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy
from saferank.ranker.level.decision import explain

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
PREFIXES = int(os.environ.get("SAFERANK_SUGGESTED_PREFIXES", "100"))
SEED = os.environ.get("SAFERANK_SUGGESTED_SEED", "20")
TOGETHER = 100
"""Most beginnings in one request."""
OF_ONE_VOCABULARY = 5
"""Requests, before there are other words."""
MANY = 500
"""More options than there are."""
SIZE = 5
"""Of completions."""


class Vocabulary(NamedTuple):
    """Words, and documents that have three of them each.

    Attributes:
        words: word -> the kinds of documents that it is in.
        documents: with their kind.
    """

    words: dict[str, list[str]]
    documents: list[Json]

    @classmethod
    def drawn(cls, draw: random.Random) -> Vocabulary:
        """Few words of few letters, so that many begin alike and are nearly the same."""
        drawn = {"".join(draw.choices("abcd", k=draw.randint(4, 6))) for _ in range(100)}
        words = {word: draw.sample(list(SAFETY), draw.choice([1, 1, 2, 3])) for word in drawn}
        words = dict(sorted(words.items()))
        documents: list[Json] = []
        for kind, safety in SAFETY.items():
            own = [word for word, kinds in words.items() if kind in kinds]
            # Each word at least once, and some far more often.
            left = [word for word in own for _ in range(draw.choice([1, 1, 2, 9]))]
            draw.shuffle(left)
            while left:
                three, left = left[:3], left[3:]
                title = {"title": " ".join(three), "words": three, "kind": kind}
                documents.append({**title, "safety": safety})
        # No two weights are equal, so that the order of completions is known.
        weights = draw.sample(range(10_000), len(documents))
        for document, weight in zip(documents, weights, strict=True):
            document["c"] = {"input": [document["title"]], "weight": weight}
        return cls(words, documents)

    def seen_at(self, level: str) -> list[Json]:
        """The documents that a level shows or demotes."""
        return [each for each in self.documents if each["kind"] in VISIBLE[level]]

    def words_at(self, level: str) -> set[str]:
        """The words that may be told at a level."""
        return {word for each in self.seen_at(level) for word in each["words"]}


@contextmanager
def _indexed(node: Elasticsearch, vocabulary: Vocabulary, *levels: str) -> Iterator[None]:
    """An index with all documents, and one a level with those that are visible there."""
    properties = {
        **template.component_template()["template"]["mappings"]["properties"],
        "title": {"type": "text"},
        "words": {"type": "keyword"},
        "c": {"type": "completion"},
        "kind": {"type": "keyword"},
    }
    contents = {ALL: vocabulary.documents}
    contents |= {f"{ALL}-{level}": vocabulary.seen_at(level) for level in levels}
    node.indices.delete(index=list(contents), ignore_unavailable=True)
    for index, documents in contents.items():
        node.indices.create(
            index=index,
            mappings={"properties": properties},
            settings={"number_of_shards": 2 if index == ALL else 1, "number_of_replicas": 0},
        )
        helpers.bulk(node, documents, index=index, refresh=True)
    yield
    node.indices.delete(index=list(contents))


def _misspelled(word: str, draw: random.Random) -> str:
    place = draw.randrange(len(word))
    return word[:place] + draw.choice(["", "a", "e", "ab"]) + word[place + draw.randint(0, 1) :]


def _request(vocabulary: Vocabulary, draw: random.Random, prefixes: int) -> Json:
    """A search with some beginnings, each in all forms of suggestions that there are."""
    known = list(vocabulary.words)
    suggest: Json = {}
    aggregations: Json = {}
    wanted: list[Json] = []
    for number in range(prefixes):
        word = draw.choice(known)
        prefix = word[: draw.randint(1, 4)]
        typo, other = _misspelled(word, draw), _misspelled(draw.choice(known), draw)
        suggest |= {
            f"c{number}": {"prefix": prefix, "completion": {"field": "c", "size": SIZE}},
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
        "size": 20,
    }


def _told(request: Json, answer: Json) -> Iterator[str]:
    """All words that came back, but for the caller's own in the phrases made of them."""
    for name, parts in answer["suggest"].items():
        entry = request["suggest"][name]
        own = entry["text"].split() if "phrase" in entry else []
        for option in (option for part in parts for option in part["options"]):
            texts = [option["text"], option.get("highlighted", "")]
            texts.append(option.get("_source", {}).get("title", ""))
            yield from (word for text in texts for word in text.split() if word not in own)
    for aggregation in answer["aggregations"].values():
        yield from (bucket["key"] for bucket in aggregation["buckets"])
    for hit in answer["hits"]["hits"]:
        for text in [hit["_source"]["title"], *hit.get("highlight", {}).get("title", [])]:
            yield from re.findall(r"[a-e]{3,}", text)


def _completions(answer: Json) -> dict[str, list[tuple[str, float]]]:
    """What was completed, with its weight; a demoted document's is smaller."""
    return {
        name: [
            (option["text"], option.get("score", option.get("_score")))
            for part in parts
            for option in part["options"]
        ]
        for name, parts in answer["suggest"].items()
        if name.startswith("c")
    }


def _expected_completions(
    request: Json, documents: list[Json], level: str
) -> dict[str, list[tuple[str, Any]]]:
    """The same, worked out from the documents that are visible."""
    factors = {
        kind: explain([safety], POLICY.decision_for(level))[0].factor or 0
        for kind, safety in SAFETY.items()
    }
    result = {}
    for name, entry in request["suggest"].items():
        if "prefix" in entry:
            found = [
                (each["title"], each["c"]["weight"] * factors[each["kind"]])
                for each in documents
                if each["title"].startswith(entry["prefix"])
            ]
            best = sorted(found, key=lambda item: item[1], reverse=True)[:SIZE]
            result[name] = [(title, pytest.approx(weight)) for title, weight in best]
    return result


def _expected_tags(request: Json, documents: list[Json]) -> Json:
    """The aggregations, likewise."""
    counts = Counter(word for each in documents for word in set(each["words"]))
    result = {}
    for name, aggregation in request["aggs"].items():
        prefix = aggregation["terms"]["include"].removesuffix(".*")
        found = [(word, count) for word, count in counts.items() if word.startswith(prefix)]
        found.sort(key=lambda item: (-item[1], item[0]))
        buckets = [{"key": word, "doc_count": count} for word, count in found]
        nothing_else = {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0}
        result[name] = {**nothing_else, "buckets": buckets}
    return result


def _of_words(suggest: Json) -> Json:
    """Those of the suggestions, or of their answers, that are words."""
    return {name: part for name, part in suggest.items() if name.startswith("t")}


@pytest.mark.parametrize("level", VISIBLE)
def test_no_word_of_hidden_documents_is_suggested(client: Elasticsearch, level: str) -> None:
    draw = random.Random(f"{SEED} {level}")
    told = asked = 0
    while asked < PREFIXES:
        vocabulary = Vocabulary.drawn(draw)
        with _indexed(client, vocabulary, level):
            safe = SafeSearch(client, POLICY, level=level)
            for _ in range(OF_ONE_VOCABULARY):
                if prefixes := min(TOGETHER, PREFIXES - asked):
                    request = _request(vocabulary, draw, prefixes)
                    where = f"seed {SEED}, after {asked} beginnings"
                    told += _check(client, safe, vocabulary, request, level, where)
                    asked += prefixes
    assert told > 10 * PREFIXES


def _check(
    client: Elasticsearch,
    safe: SafeSearch,
    vocabulary: Vocabulary,
    request: Json,
    level: str,
    where: str,
) -> int:
    """Hold an answer against visible documents; how many words it has."""
    answer = safe.search(index=ALL, **request).body
    words = [*_told(request, answer)]
    assert {*words} - vocabulary.words_at(level) == set(), where
    # Words are as if there were no hidden documents, to the count and the order.
    alone = client.search(index=f"{ALL}-{level}", suggest=_of_words(request["suggest"]), size=0)
    assert _of_words(answer["suggest"]) == alone["suggest"], where
    seen = vocabulary.seen_at(level)
    assert answer["aggregations"] == _expected_tags(request, seen), where
    assert _completions(answer) == _expected_completions(request, seen, level), where
    return len(words)


@pytest.mark.parametrize("level", VISIBLE)
def test_without_a_policy_words_of_hidden_documents_are_seen(
    client: Elasticsearch, level: str
) -> None:
    draw = random.Random(SEED)
    vocabulary = Vocabulary.drawn(draw)
    request = _request(vocabulary, draw, TOGETHER)
    with _indexed(client, vocabulary):
        told = {*_told(request, client.search(index=ALL, **request).body)}
    hidden = vocabulary.words.keys() - vocabulary.words_at(level)
    assert hidden
    assert len(told & hidden) > len(hidden) / 2


def test_stricter_levels_suggest_a_part_of_what_looser_ones_do(client: Elasticsearch) -> None:
    draw = random.Random(SEED)
    vocabulary = Vocabulary.drawn(draw)
    suggest = {
        name: entry
        for name, entry in _request(vocabulary, draw, 20)["suggest"].items()
        if "phrase" not in entry
    }
    for entry in suggest.values():
        if "term" in entry:
            whole = {"size": MANY, "suggest_mode": "always", "max_term_freq": MANY}
            entry["term"] |= {**whole, "min_doc_freq": 0}
        else:
            entry["completion"]["size"] = MANY
    with _indexed(client, vocabulary):
        strict, moderate, off = (
            _suggested(SafeSearch(client, POLICY, level=level).search(index=ALL, suggest=suggest))
            for level in ("strict", "moderate", "off")
        )
    assert strict < moderate < off


def _suggested(answer: Any) -> set[tuple[str, int, str]]:
    """What was suggested, where."""
    return {
        (name, place, option["text"])
        for name, parts in answer["suggest"].items()
        for place, part in enumerate(parts)
        for option in part["options"]
    }
