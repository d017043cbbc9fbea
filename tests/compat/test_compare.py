"""The judge itself: what it must notice, and what it must let pass."""

from __future__ import annotations

from typing import Any

import pytest
from compare import Reference, Verdict, compare
from play import Asked, Failure, Outcome

ASKED = Asked("search.yml", "a test", 1, to_fail=False)
CALL = ("search", {"index": "i"})
MISSING = Outcome(CALL, failure=Failure(404, "missing", "{}"))
REFUSED = Outcome(CALL, failure=Failure(None, "suggest: words", "suggest"), refused=True)


def found(*hits: dict[str, Any], total: int | None = None, **more: Any) -> Outcome:
    total = len(hits) if total is None else total
    return Outcome(CALL, {"took": 3, "hits": {"total": total, "hits": list(hits)}, **more})


ONE = {"_id": "1", "_score": 0.5}
# The same document, as relevant as it is where twins were written and deleted.
LESS = {"_id": "1", "_score": 0.25}
TWIN = {"_id": "1zztwin", "_score": 0.25}
REFERENCE = Reference(alone=found(ONE), deleted=found(LESS), beside=found(LESS, TWIN))


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (found(ONE), Verdict.EQUAL),
        (found(LESS), Verdict.EQUAL),
        (found(ONE, saferank={"level": "strict"}), Verdict.EQUAL),
        (found({**ONE, "_score": 0.4}), Verdict.DIFFERENT),
        (found(), Verdict.DIFFERENT),
        (found(TWIN), Verdict.LEAKING),
        (found(LESS, total=2), Verdict.LEAKING),
        (found(ONE, profile={"query": "title:catzztwin"}), Verdict.LEAKING),
        (REFUSED, Verdict.REFUSED),
        (MISSING, Verdict.DIFFERENT),
    ],
)
def test_an_answer_is_held_against_those_without_twins(outcome: Outcome, verdict: Verdict) -> None:
    assert compare(ASKED, outcome, REFERENCE)[0] is verdict


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [(MISSING, Verdict.FAILED), (REFUSED, Verdict.FAILED), (found(ONE), Verdict.DIFFERENT)],
)
def test_a_failure_that_is_expected_is_wanted(outcome: Outcome, verdict: Verdict) -> None:
    reference = Reference(MISSING, MISSING, MISSING)
    assert compare(ASKED._replace(to_fail=True), outcome, reference)[0] is verdict


def test_what_the_engine_cannot_answer_is_not_counted() -> None:
    assert compare(ASKED, REFUSED, Reference(MISSING, MISSING, MISSING))[0] is Verdict.SKIPPED


def test_a_twin_that_can_be_read_by_its_id_leaks() -> None:
    asked = ASKED._replace(to_fail=True, of_twin=True)
    reference = Reference(MISSING, MISSING, Outcome(CALL, {"found": True}))
    assert compare(asked, Outcome(CALL, {"found": True}), reference)[0] is Verdict.LEAKING
    assert compare(asked, MISSING, reference)[0] is Verdict.FAILED


def test_what_is_hidden_is_missing_in_the_same_words() -> None:
    other = Outcome(("get", {}), failure=Failure(404, "missing", '{"found": false}'))
    missing = Outcome(("get", {}), failure=MISSING.failure)
    asked = ASKED._replace(to_fail=True)
    assert compare(asked, other, Reference(*3 * [missing]))[0] is Verdict.DIFFERENT
    assert compare(asked, other, Reference(missing, missing, other))[0] is Verdict.LEAKING


def test_the_band_of_a_demoting_level_is_known() -> None:
    plain = found({"_id": "1", "_score": None, "sort": [7]})
    banded = found({"_id": "1", "_score": 1.0, "sort": [1.0, 7]})
    reference = Reference(plain, plain, plain)
    assert compare(ASKED, banded, reference, banded=True)[0] is Verdict.EQUAL
    assert compare(ASKED, banded, reference)[0] is not Verdict.EQUAL
