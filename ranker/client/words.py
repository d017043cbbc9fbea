"""Suggested words and phrases of visible documents, out of more of them than are wanted.

The engine takes them from all documents and says of none where it is from. So the visible documents
that hold a word are counted, and a word that none holds is taken out. Whatever else goes by how
many documents hold a word (``suggest_mode``, ``min_doc_freq``, ``max_term_freq``, the order) is
left out of what the engine is asked, and done here, by visible documents. So the words are those of
an index without the hidden documents.

A phrase is made of words, and its score of how frequent they are, alone and beside each other, in
all documents. That stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from saferank.mappings.float32 import as_float32
from saferank.ranker.bodies import Json, Query, as_list, names
from saferank.ranker.client.completions import Chosen
from saferank.ranker.rewrite.suggest import ByFrequency, collate_query, filled_in, size_of

Word = tuple[str, str]
"""A field, and a word as its index has it."""
Ranked = tuple[int, Word]
"""A word to count, and how soon: 0 first."""


class Visible(NamedTuple):
    """What was counted.

    Attributes:
        holding: how many visible documents hold a word; what is missing was not counted.
        documents: how many there are.
        all_counted: whether every word was counted that had to be.
    """

    holding: Mapping[Word, int]
    documents: int
    all_counted: bool = True


# By how many documents hold a word, which is found out here.
_DECIDED_HERE = names("max_term_freq min_doc_freq shard_size size sort suggest_mode")
_MOST_FREQUENT = 2**30


def first_count(term: Json, most: int) -> int:
    """How many words to look at first: of those that are as near, all have to be looked at.

    Args:
        term: what was asked for.
        most: of the words that can be counted at once, each word of a long text's share.
    """
    size = size_of(term)
    return max(size, min(10 * size + 50, most))


def asking_words(term: Json, count: int) -> Json:
    """A ``term`` suggestion as it is sent, asking for this many words whatever holds them."""
    kept = {key: item for key, item in term.items() if key not in _DECIDED_HERE}
    size = max(count, size_of(term))
    everything = {"suggest_mode": "always", "max_term_freq": _MOST_FREQUENT}
    return {**kept, **everything, "size": size, "shard_size": size}


def words_of_term(part: Json, term: Json) -> Iterator[Ranked]:
    """The words that ``choose_words`` has to know of: the caller's own, and those suggested."""
    if part["options"]:
        for place, item in enumerate((part, *part["options"])):
            yield place, (term["field"], item["text"])


def choose_words(part: Json, term: Json, visible: Visible, count: int) -> Chosen:
    """The best words that visible documents hold, for one word of the caller.

    Args:
        part: of the answer.
        term: what was asked for.
        visible: what was counted.
        count: how many words were looked at.
    """
    field, size, asked = term["field"], size_of(term), ByFrequency.of(term)
    own = visible.holding.get((field, part["text"]), 0)
    least = _least(own, asked, visible.documents)
    if least is None:
        return Chosen([], proved=True)
    found = part["options"]
    options = [
        {**option, "freq": holding}
        for option in found
        if (holding := visible.holding.get((field, option["text"]), 0)) > least
    ]
    options.sort(key=_BEST_FIRST[asked.sort])
    best = options[:size]
    are_all = len(found) < max(count, size)
    # Words that are as near as the last one, but were not looked at, can be more frequent.
    full = len(best) == size and asked.sort == "score" and best[-1]["score"] > found[-1]["score"]
    return Chosen(best, are_all or full)


_BEST_FIRST: dict[str, Callable[[Json], tuple[Any, ...]]] = {
    "score": lambda option: (-option["score"], -option["freq"], option["text"]),
    "frequency": lambda option: (-option["freq"], -option["score"], option["text"]),
}


def _least(own: int, asked: ByFrequency, documents: int) -> int | None:
    """More documents than this have to hold a word; None where nothing is to be suggested.

    As Lucene's ``DirectSpellChecker`` decides by all documents, in numbers of float32.

    Args:
        own: how many visible documents hold the caller's word.
        asked: what was asked for.
        documents: how many visible documents there are.
    """
    if asked.mode == "missing" and own:
        return None
    if own > (asked.most if asked.most >= 1 else math.ceil(as_float32(asked.most * documents))):
        return None
    least = int(asked.least)
    if 0 < asked.least < 1:
        least = int(as_float32(asked.least * documents)) - 1
    return max(least, own if asked.mode == "popular" else 0)


def asking_phrases(phrase: Json, count: int) -> Json:
    """A ``phrase`` suggestion as it is sent, asking for this many phrases."""
    kept = {key: item for key, item in phrase.items() if key not in ("collate", "shard_size")}
    if phrase.get("max_errors", 1) == 1:
        # Each word's own candidates, too; with several errors all their combinations are tried.
        generators = as_list(phrase.get("direct_generator")) or [{"field": phrase["field"]}]
        kept["direct_generator"] = [
            {**generator, "size": 2 * size_of(generator) + 10} for generator in generators
        ]
    return {**kept, "size": max(count, size_of(phrase))}


def words_of_phrase(part: Json, phrase: Json) -> Iterator[Ranked]:
    """The words of phrases that are not the caller's own, in each field that they may be from."""
    own = _own(part)
    for place, option in enumerate(part["options"]):
        for word in option["text"].split(" "):
            if word not in own:
                for field in _fields(phrase):
                    yield place, (field, word)


def visible_phrases(part: Json, phrase: Json, visible: Visible) -> list[Json]:
    """The phrases of which visible documents hold each word that is not the caller's own."""
    own, fields = _own(part), _fields(phrase)
    return [
        option
        for option in part["options"]
        if all(
            word in own or any(visible.holding.get((field, word)) for field in fields)
            for word in option["text"].split(" ")
        )
    ]


def collate_queries(phrases: list[Json], phrase: Json, key: str) -> list[Query]:
    """For each phrase the query that has to find something; none where that was not asked for."""
    collate = phrase.get("collate")
    if collate is None:
        return []
    query, values = collate_query(collate, f"{key}.collate"), collate.get("params", {})
    return [filled_in(query, {**values, "suggestion": option["text"]}) for option in phrases]


def choose_phrases(
    part: Json, phrases: list[Json], finding: list[int], phrase: Json, count: int
) -> Chosen:
    """The best phrases.

    Args:
        part: of the answer.
        phrases: those of its options that may be shown.
        finding: how many documents each query of ``collate_queries`` found.
        phrase: what was asked for.
        count: how many phrases were looked at.
    """
    if finding and phrase["collate"].get("prune"):
        phrases = [
            {**option, "collate_match": bool(found)}
            for option, found in zip(phrases, finding, strict=True)
        ]
    elif finding:
        phrases = [option for option, found in zip(phrases, finding, strict=True) if found]
    size = size_of(phrase)
    are_all = len(part["options"]) < max(count, size)
    return Chosen(phrases[:size], are_all or len(phrases) >= size)


def _own(part: Json) -> frozenset[str]:
    """The caller's own words, as they were written and in small letters."""
    return frozenset(part["text"].split()) | frozenset(part["text"].lower().split())


def _fields(phrase: Json) -> list[str]:
    """The fields that the words of phrases may be from."""
    generators = as_list(phrase.get("direct_generator"))
    return list(dict.fromkeys([phrase["field"], *(item["field"] for item in generators)]))
