"""Holds answers against those that the engine gives where there are no twins."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from enum import StrEnum
from http.client import NOT_FOUND
from typing import Any, NamedTuple

from play import Asked, Outcome
from twins import MARK

__all__ = ["Difference", "Reference", "Verdict", "compare"]

# Different whenever a request is sent again, or of the safe client on purpose.
_VOLATILE = ("_scroll_id", "_seq_no", "pit_id", "profile", "saferank", "skipped", "took")
# Of an explanation its value; how it came about shows the safe client's clauses.
_EXPLANATIONS = ("_explanation", "explanation")
# What depends on the words of all documents, twins among them; see ``twins``.
_RELEVANCE = ("hits", "explanation")
_ABSENT = "nothing"


class Verdict(StrEnum):
    """What became of a call."""

    EQUAL = "equal"
    FAILED = "failed alike"
    REFUSED = "refused"
    DIFFERENT = "different"
    EXPLAINED = "explained"
    LEAKING = "leaking"
    SKIPPED = "skipped"


class Difference(NamedTuple):
    """A part of an answer that is not as it should be."""

    path: str
    wanted: Any
    given: Any


class Reference(NamedTuple):
    """What plain clients said.

    Attributes:
        alone: where there never were twins.
        deleted: where twins were written and deleted.
        beside: where there are twins.
    """

    alone: Outcome
    deleted: Outcome
    beside: Outcome


def compare(
    asked: Asked, outcome: Outcome, reference: Reference, *, banded: bool = False
) -> tuple[Verdict, list[Difference]]:
    """Judge what came of a call.

    Args:
        asked: the call.
        outcome: of the client that is tested.
        reference: of plain clients.
        banded: that client puts a band in front of sort values, as ``surfaces.md`` says.
    """
    if _shows_twins(asked, outcome):
        return Verdict.LEAKING, []
    failed = reference.alone.failure is not None
    if outcome.refused and not failed:
        return Verdict.REFUSED, []
    alone, deleted, beside = map(_view, reference)
    found = list(_differences(_view(outcome), alone, deleted, banded=banded))
    by_twins = {str(difference) for difference in _differences(beside, alone, None)}
    if not by_twins.isdisjoint(map(str, found)):
        return Verdict.LEAKING, found
    if failed and (outcome.refused or not found):
        return Verdict.FAILED if asked.to_fail else Verdict.SKIPPED, []
    return Verdict.DIFFERENT if found else Verdict.EQUAL, found


def _shows_twins(asked: Asked, outcome: Outcome) -> bool:
    """Whether a twin's id or word is anywhere in what was said."""
    if asked.of_twin:
        return False  # The id was asked for; anything more than that is a difference.
    said = json.dumps(outcome.answer) if outcome.failure is None else outcome.failure.text
    return MARK in said.lower()


def _view(outcome: Outcome) -> Any:
    """What is compared of an outcome."""
    failure = outcome.failure
    if failure is not None:
        # What is hidden is to be missing in the very same words; a scroll's have its number.
        in_words = failure.status == NOT_FOUND and outcome.call[0] != "scroll"
        return failure.text if in_words else f"failed: {failure.status}"
    return _steady(outcome.answer)


def _steady(value: Any) -> Any:
    """An answer without what is different each time."""
    if isinstance(value, list):
        return [_steady(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {"value": item["value"]}
        if key in _EXPLANATIONS and isinstance(item, dict)
        else _steady(item)
        for key, item in value.items()
        if key not in _VOLATILE
    }


def _differences(
    given: Any, wanted: Any, also: Any, path: tuple[Any, ...] = (), *, banded: bool = False
) -> Iterator[Difference]:
    """Parts that are neither as wanted nor, where relevance counts, as in ``also``."""
    last = path[-1] if path else None
    if banded and last == "sort" and isinstance(given, list) and len(given) == len(wanted) + 1:
        given = given[1:]
    relevance = also is not None and last in _RELEVANCE
    if relevance and not any(_differences(given, also, None, path, banded=banded)):
        return
    if isinstance(given, dict) and isinstance(wanted, dict):
        for key in sorted({*given, *wanted}):
            parts = (value.get(key, _ABSENT) for value in (given, wanted))
            more = also.get(key) if isinstance(also, dict) else None
            yield from _differences(*parts, more, (*path, key), banded=banded)
    elif isinstance(given, list) and isinstance(wanted, list) and len(given) == len(wanted):
        for number, parts in enumerate(zip(given, wanted, strict=True)):
            same_length = isinstance(also, list) and len(also) == len(wanted)
            more = also[number] if same_length else None
            yield from _differences(*parts, more, (*path, number), banded=banded)
    elif not _same(given, wanted) and not (banded and last in _SCORES and wanted is None):
        yield Difference(".".join(map(str, path)), wanted, given)


_SCORES = ("_score", "max_score")


def _same(given: Any, wanted: Any) -> bool:
    if isinstance(given, float) or isinstance(wanted, float):
        numbers = isinstance(given, int | float) and isinstance(wanted, int | float)
        return numbers and math.isclose(given, wanted, rel_tol=1e-6)
    return type(given) is type(wanted) and bool(given == wanted)
