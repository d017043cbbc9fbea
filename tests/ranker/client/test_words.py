"""Which of the words that an engine suggests are given out, against all words of an index."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.ranker.client.words import (
    Visible,
    asking_phrases,
    asking_words,
    choose_phrases,
    choose_words,
    collate_queries,
    visible_phrases,
    words_of_phrase,
    words_of_term,
)

Json = dict[str, Any]
# Word -> its likeness to the caller's, and how many visible and hidden documents hold it.
DICTIONARIES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.tuples(st.sampled_from([0.5, 0.7, 0.9]), st.integers(0, 3), st.integers(0, 3)),
    max_size=12,
)
OWN = "own"


def suggested(dictionary: dict[str, tuple[float, int, int]], count: int) -> Json:
    """What an engine suggests that was asked for this many words."""
    options = [
        {"text": word, "score": score, "freq": visible + hidden}
        for word, (score, visible, hidden) in dictionary.items()
        if visible + hidden
    ]
    options.sort(key=lambda option: (-option["score"], -option["freq"], option["text"]))
    return {"text": OWN, "offset": 0, "length": 3, "options": options[:count]}


@given(
    dictionary=DICTIONARIES,
    own=st.integers(0, 2),
    size=st.integers(1, 4),
    count=st.integers(1, 13),
    mode=st.sampled_from(["missing", "popular", "always"]),
    sort=st.sampled_from(["score", "frequency"]),
    least=st.integers(0, 2),
)
def test_proved_words_are_the_best_of_all_that_visible_documents_hold(
    dictionary: dict[str, tuple[float, int, int]],
    own: int,
    size: int,
    count: int,
    mode: str,
    sort: str,
    least: int,
) -> None:
    term = {"field": "t", "size": size, "suggest_mode": mode, "sort": sort, "min_doc_freq": least}
    term["max_term_freq"] = 1
    part = suggested(dictionary, asking_words(term, count)["size"])
    holding = {("t", word): visible for word, (_, visible, _) in dictionary.items()}
    visible = Visible({**holding, ("t", OWN): own}, documents=100)
    chosen = choose_words(part, term, visible, count)

    floor = max(least, own if mode == "popular" else 0)
    if own > 1 or (mode == "missing" and own):
        expected = []
    else:
        first = 0 if sort == "score" else 1
        held = [
            ((-found[first], -found[1 - first], word), (word, found[1]))
            for word, found in dictionary.items()
            if found[1] > floor
        ]
        expected = [given_out for _, given_out in sorted(held)[:size]]
    given_out = [(option["text"], option["freq"]) for option in chosen.options]
    if chosen.proved:
        assert given_out == expected
    else:
        assert all(visible.holding["t", word] == freq > 0 for word, freq in given_out)
    if count > len(dictionary):
        assert chosen.proved


@pytest.mark.parametrize(
    ("most", "own", "suggests"),
    [(0.01, 2, True), (0.01, 3, False), (0.5, 75, True), (1, 1, True), (1, 2, False), (2, 2, True)],
)
def test_a_frequent_word_is_not_corrected(most: float, own: int, suggests: bool) -> None:
    term = {"field": "t", "suggest_mode": "always", "max_term_freq": most}
    visible = Visible({("t", OWN): own, ("t", "a"): 1}, documents=150)
    chosen = choose_words(suggested({"a": (0.9, 1, 0)}, 9), term, visible, 10)
    assert bool(chosen.options) is suggests


def test_the_engine_is_asked_for_words_whatever_holds_them() -> None:
    term = {"field": "t", "min_doc_freq": 3, "sort": "frequency", "shard_size": 2, "accuracy": 0.4}
    assert asking_words(term, 30) == {
        "field": "t",
        "accuracy": 0.4,
        "suggest_mode": "always",
        "max_term_freq": 2**30,
        "size": 30,
        "shard_size": 30,
    }
    assert asking_words({**term, "size": 70}, 30)["size"] == 70
    assert list(words_of_term(suggested({"a": (0.9, 1, 0)}, 9), term)) == [
        (0, ("t", OWN)),
        (1, ("t", "a")),
    ]
    assert list(words_of_term(suggested({}, 9), term)) == []


PHRASE: Json = {
    "field": "t",
    "direct_generator": [{"field": "t"}, {"field": "back", "post_filter": "reverse"}],
}
PART: Json = {
    "text": "My Beacd house",
    "options": [
        {"text": text, "score": 0.5}
        for text in ("my beach house", "my beads house", "my beach hidden", "my Beacd house")
    ],
}


def test_words_of_a_phrase_are_looked_up_in_each_field_that_they_may_be_from() -> None:
    assert set(words_of_phrase(PART, PHRASE)) == {
        (place, (field, word))
        for place, word in [(0, "beach"), (1, "beads"), (2, "beach"), (2, "hidden")]
        for field in ("t", "back")
    }
    for field in ("t", "back"):
        found = visible_phrases(PART, PHRASE, Visible({(field, "beach"): 1}, 9))
        assert [option["text"] for option in found] == ["my beach house", "my Beacd house"]
    nothing = visible_phrases(PART, PHRASE, Visible({("other", "beach"): 1, ("t", "beach"): 0}, 9))
    assert [option["text"] for option in nothing] == ["my Beacd house"]


@pytest.mark.parametrize(("count", "size", "proved"), [(4, 4, False), (4, 2, True), (5, 4, True)])
def test_more_phrases_are_asked_for_until_there_are_enough(
    count: int, size: int, proved: bool
) -> None:
    phrases = visible_phrases(PART, PHRASE, Visible({("t", "beach"): 1}, 9))
    chosen = choose_phrases(PART, phrases, [], {**PHRASE, "size": size}, count)
    assert chosen == (phrases[:size], proved)


def test_phrases_that_find_nothing_are_left_out_or_said_to() -> None:
    collate: Json = {"query": {"source": {"match": {"{{f}}": "{{suggestion}}"}}}}
    phrase = {"field": "t", "collate": {**collate, "params": {"f": "title", "suggestion": "x"}}}
    phrases = [{"text": 'a "b'}, {"text": "c"}]
    assert collate_queries(phrases, phrase, "k") == [
        {"match": {"title": 'a "b'}},
        {"match": {"title": "c"}},
    ]
    assert choose_phrases(PART, phrases, [0, 2], phrase, 5).options == [{"text": "c"}]
    phrase["collate"]["prune"] = True
    assert choose_phrases(PART, phrases, [0, 2], phrase, 5).options == [
        {"text": 'a "b', "collate_match": False},
        {"text": "c", "collate_match": True},
    ]
    assert collate_queries(phrases, {"field": "t"}, "k") == []


@pytest.mark.parametrize(("errors", "size"), [({}, 20), ({"max_errors": 1.0}, 20)])
def test_each_word_of_a_phrase_has_more_candidates_where_that_is_cheap(
    errors: Json, size: int
) -> None:
    assert asking_phrases({"field": "t", **errors}, 20)["direct_generator"] == [
        {"field": "t", "size": size}
    ]
    several = {"field": "t", "max_errors": 2, "shard_size": 3, "collate": {}}
    assert asking_phrases(several, 20) == {"field": "t", "max_errors": 2, "size": 20}
