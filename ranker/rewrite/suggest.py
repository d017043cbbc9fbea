"""Suggestions: documents for a beginning, and words of an index; no query filters either."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from saferank.errors import UnsafeRequest
from saferank.mappings.float32 import as_float32
from saferank.ranker.bodies import LISTS, Json, Query, a_count, an_object, as_list, names
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.query import safe_query

_ENTRY = names("prefix regex text")
_SPELLING = names(
    """
    accuracy field max_edits max_inspections max_term_freq min_doc_freq min_word_length
    prefix_length size sort string_distance suggest_mode
    """
)
_GENERATOR = _SPELLING | names("post_filter pre_filter")
# Kind -> its options.
_KINDS = {
    "completion": names(
        "analyzer contexts field fuzzy regex shard_size size skip_duplicates",
    ),
    "phrase": names(
        """
        analyzer collate confidence direct_generator field force_unigrams gram_size highlight
        max_errors real_word_error_likelihood separator shard_size size smoothing token_limit
        """
    ),
    "term": _SPELLING | names("analyzer shard_size"),
}


def kind_of(entry: Json) -> str:
    """The kind of a checked suggestion: ``completion``, ``phrase`` or ``term``."""
    return next(kind for kind in _KINDS if kind in entry)


def entries_of(suggest: Json) -> Json:
    """The suggestions by name, without the text for all of them; one can be named ``text``."""
    return {
        name: entry for name, entry in suggest.items() if name != "text" or isinstance(entry, dict)
    }


def size_of(options: Json, key: str = "suggest") -> int:
    """How many options a suggestion is to have.

    Args:
        options: of its kind, or of one generator.
        key: their place in the request, for errors.

    Raises:
        UnsafeRequest: that is no whole number above 0.
    """
    size = a_count(options.get("size", _DEFAULT_SIZE), f"{key}.size")
    if size < 1:
        raise UnsafeRequest(f"{key}.size", "it has to be 1 or more")
    return size


class ByFrequency(NamedTuple):
    """What a ``term`` suggestion says about how many documents hold a word.

    Attributes:
        mode: ``missing``, ``popular`` or ``always``.
        sort: ``score`` or ``frequency``.
        most: of the caller's word; below 1 a share of all documents.
        least: of a suggested word, likewise.
    """

    mode: str
    sort: str
    most: float
    least: float

    @classmethod
    def of(cls, term: Json, key: str = "suggest") -> ByFrequency:
        """What a suggestion says, with the engine's defaults.

        Raises:
            UnsafeRequest: a value that is not known.
        """
        return cls(
            _one_of(_MODES, term, "suggest_mode", key),
            _one_of(_SORTS, term, "sort", key),
            _frequency(term.get("max_term_freq", 0.01), f"{key}.max_term_freq"),
            _frequency(term.get("min_doc_freq", 0), f"{key}.min_doc_freq"),
        )


_DEFAULT_SIZE = 5
# The first is the engine's default.
_MODES = ("missing", "popular", "always")
_SORTS = ("score", "frequency")


def _one_of(known: tuple[str, ...], term: Json, option: str, key: str) -> str:
    value = str(term.get(option, known[0])).lower()
    if value not in known:
        raise UnsafeRequest(f"{key}.{option}", f"one of {', '.join(map(repr, known))} is expected")
    return value


def _frequency(value: Any, key: str) -> float:
    try:
        frequency = as_float32(float(value))
    except (TypeError, ValueError, OverflowError):
        frequency = -1.0
    if not 0 <= frequency < math.inf:
        raise UnsafeRequest(key, "a number of documents is expected, or below 1 a share of them")
    return frequency


def check_suggestions(suggest: Any, key: str, decision: Decision) -> None:
    """See that every part of the suggestions is understood.

    Args:
        suggest: name -> suggestion; beside them may be a text for all of them.
        key: its place in the request, for errors.
        decision: the level that holds.

    Raises:
        UnsafeRequest: a kind or an option that is not understood.
    """
    for name, entry in entries_of(an_object(suggest, key)).items():
        _check_suggestion(entry, f"{key}.{name}", decision)


def _check_suggestion(entry: Any, key: str, decision: Decision) -> None:
    kinds = [part for part in an_object(entry, key) if part not in _ENTRY]
    for part in kinds:
        if part not in _KINDS:
            raise UnsafeRequest(f"{key}.{part}", "this key is not known to be safe")
    if len(kinds) != 1:
        raise UnsafeRequest(key, "a suggestion has one kind: 'completion', 'phrase' or 'term'")
    here = f"{key}.{kinds[0]}"
    _check_options(entry[kinds[0]], _KINDS[kinds[0]], here)
    if kinds[0] == "term":
        ByFrequency.of(entry["term"], here)
    if kinds[0] == "phrase":
        for number, generator in enumerate(as_list(entry["phrase"].get("direct_generator"))):
            _check_options(generator, _GENERATOR, f"{here}.direct_generator.{number}")
        if entry["phrase"].get("collate") is not None:
            query = collate_query(entry["phrase"]["collate"], f"{here}.collate")
            safe_query(query, f"{here}.collate.query", decision)


def _check_options(options: Any, known: frozenset[str], key: str) -> None:
    for option in an_object(options, key):
        if option not in known:
            raise UnsafeRequest(f"{key}.{option}", "this key is not known to be safe")
    if not isinstance(options.get("field"), str):
        raise UnsafeRequest(f"{key}.field", "the name of a field is expected")
    size_of(options, key)


_COLLATE = names("params prune query")
_PLACE = re.compile(r"(?<!\{)\{\{\s*(\w+)\s*\}\}(?!\})")


def collate_query(collate: Any, key: str) -> Query:
    """The query that the phrases of a suggestion have to find something by, its places unfilled.

    The engine would fill in and send it for phrases of hidden documents, too, and cite them in an
    error. So it is filled in here, for phrases that may be shown.

    Args:
        collate: as the engine takes it.
        key: its place in the request, for errors.

    Raises:
        UnsafeRequest: it is none, or more of a template than names in double braces.
    """
    for part in an_object(collate, key):
        if part not in _COLLATE:
            raise UnsafeRequest(f"{key}.{part}", "this key is not known to be safe")
    an_object(collate.get("params", {}), f"{key}.params")
    query, here = collate.get("query"), f"{key}.query"
    if isinstance(query, dict):
        if set(query) != {"source"}:
            raise UnsafeRequest(here, "it has a 'source' and nothing else; a stored one is unknown")
        query = query["source"]
    if isinstance(query, str):
        try:
            query = json.loads(query)
        except (ValueError, RecursionError) as error:
            raise UnsafeRequest(here, "give it as an object, and not as text") from error
    if _has_more(query):
        raise UnsafeRequest(here, "only {{name}} is filled in here, and no other template")
    return an_object(query, here)


def _has_more(query: Any) -> bool:
    """Whether a text in a template has braces of other meanings."""
    if isinstance(query, dict):
        return any(_has_more(part) for item in query.items() for part in item)
    if isinstance(query, LISTS):
        return any(map(_has_more, query))
    return isinstance(query, str) and "{{" in _PLACE.sub("", query)


def filled_in(query: Any, values: Mapping[str, Any]) -> Any:
    """The query with values in the places of their names; what has no value is empty.

    Args:
        query: as ``collate_query`` gave it.
        values: name -> value.
    """
    if isinstance(query, dict):
        return {filled_in(key, values): filled_in(item, values) for key, item in query.items()}
    if isinstance(query, LISTS):
        return [filled_in(item, values) for item in query]
    if isinstance(query, str):
        return _PLACE.sub(lambda place: str(values.get(place[1], "")), query)
    return query
