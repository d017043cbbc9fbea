from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.errors import UnsafeRequest
from saferank.mappings.overrides import OverrideRecord, Overrides
from saferank.mappings.record import Override
from saferank.ranker import rerank
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Level
from saferank.ranker.rerank import demote_score

MODERATE = Decision.of(
    level_name="moderate", level=Level(demote_from=0.2, hide_from=0.8, unscored="demote")
)


def hit(name: str, score: float | None, **safety: Any) -> dict[str, Any]:
    return {"_id": name, "_score": score, "_source": {"safety": safety}}


def test_hidden_hits_are_gone_and_demoted_ones_further_down() -> None:
    hits = [
        hit("high", 9.0, probability=0.9),
        hit("medium", 8.0, probability=0.5),
        hit("allowed", 7.0, probability=0.95, override="allow"),
        hit("zero", 6.0, probability=0.0),
        hit("blocked", 5.0, probability=0.0, override="block"),
        {"_id": "unscored", "_score": 4.0, "_source": {}},
    ]
    result = rerank(hits, MODERATE)
    assert [(found["_id"], round(found["_score"], 4)) for found in result] == [
        ("allowed", 7.0),
        ("zero", 6.0),
        ("medium", round(8 * 0.1**0.5, 4)),
        ("unscored", 0.4),
    ]
    assert result[2]["saferank"]["action"] == "demoted"
    assert hits[1] == hit("medium", 8.0, probability=0.5)


@pytest.mark.parametrize("given", [None, 5, True])
def test_what_is_no_list_of_hits_is_refused(given: Any) -> None:
    with pytest.raises(UnsafeRequest, match=f"give a list of hits; {given} is none"):
        rerank(given, MODERATE)


@pytest.mark.parametrize("score", [None, 0.0, -0.0])
def test_hits_that_a_factor_cannot_move_are_ordered_by_it(score: float | None) -> None:
    hits = [
        hit("demoted", score, probability=0.5),
        hit("unscored", score),
        hit("shown", score, probability=0.1),
        hit("further", score, probability=0.7),
        hit("also shown", score, probability=0.0),
        hit("also demoted", score, probability=0.5),
    ]
    found = rerank(hits, MODERATE)
    names = ["shown", "also shown", "demoted", "also demoted", "further", "unscored"]
    assert [item["_id"] for item in found] == names
    assert {item["_score"] for item in found} == {score}


def test_scores_of_zero_are_between_those_above_and_those_below() -> None:
    hits = [
        hit("above", 1e-30, probability=0.7),
        hit("zero demoted", 0.0, probability=0.5),
        hit("zero shown", 0.0, probability=0.1),
        hit("below", -1e-30, probability=0.1),
    ]
    names = ["above", "zero shown", "zero demoted", "below"]
    assert [item["_id"] for item in rerank(hits, MODERATE)] == names


def test_hits_may_lack_the_score_altogether() -> None:
    hits = [{"_id": "a", "_source": {}}, {"_id": "b", "_source": {}, "_score": None}]
    assert [item["_score"] for item in rerank(hits, MODERATE)] == [None, None]


def test_equal_scores_stay_in_the_order_given() -> None:
    hits = [hit(str(number), 1.0, probability=0.0) for number in range(50)]
    assert [found["_id"] for found in rerank(hits, MODERATE)] == [str(n) for n in range(50)]


def test_doc_values_count_before_the_source() -> None:
    hits = [{"_id": "x", "_score": 1.0, "fields": {"safety.probability": [0.9]}}]
    assert rerank(hits, MODERATE) == []


def test_infinite_scores_are_scores() -> None:
    infinite = float("inf")
    hits = [hit("a", -infinite), hit("b", infinite), hit("c", 1.0)]
    assert [item["_id"] for item in rerank(hits, MODERATE)] == ["b", "c", "a"]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int64, Decimal])
def test_scores_of_other_types_become_plain_numbers(kind: Callable[[float], Any]) -> None:
    shown, demoted = hit("a", kind(2), probability=0.1), hit("b", kind(-3), probability=0.5)
    found = [item["_score"] for item in rerank([shown, demoted], MODERATE)]
    assert [type(score) for score in found] == [float, float]
    assert found == pytest.approx([2, -3 / 0.1**0.5])


def test_no_hits_give_no_hits() -> None:
    assert rerank([], MODERATE) == []


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ((1.0, None), r"'hits\.1\._score' was refused: it is missing, and others have one"),
        ((float("nan"), 1.0), r"'hits\.0\._score' was refused: it is no number"),
        ((1.0, "2.0"), r"'hits\.1\._score' was refused: it is no number"),
    ],
)
def test_scores_that_cannot_be_ordered_are_refused(scores: Any, message: str) -> None:
    with pytest.raises(UnsafeRequest, match=message) as caught:
        rerank([hit(str(n), score) for n, score in enumerate(scores)], MODERATE)
    assert isinstance(caught.value, ValueError)  # As versions before 0.2 raised it.


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1))
def test_a_factor_never_raises_a_score(score: float, factor: float) -> None:
    assert demote_score(score, factor) <= score
    assert demote_score(score, 1) == score


BLOCK = OverrideRecord(Override.BLOCK, "ann")
KEPT = dataclasses.replace(MODERATE, overrides_index="kept")
BLOCKING = KEPT.knowing(Overrides({"photos": {"1": BLOCK}, "alias": {"2": BLOCK}}))


def of_index(index: str, name: str) -> dict[str, Any]:
    return {**hit(name, 1.0, probability=0.0), "_index": index}


def test_what_is_blocked_outside_of_its_document_is_taken_out() -> None:
    hits = [of_index("photos", name) for name in ("1", "3")]
    assert [found["_id"] for found in rerank(hits, BLOCKING)] == ["3"]
    assert [found["_id"] for found in rerank(hits, KEPT.knowing(Overrides()))] == ["1", "3"]


def test_nothing_is_taken_for_unblocked_that_is_not_known() -> None:
    with pytest.raises(UnsafeRequest, match="here read them with 'saferank"):
        rerank([of_index("photos", "3")], KEPT)
    with pytest.raises(UnsafeRequest, match=r"'hits\.1\._index' was refused: it is missing"):
        rerank([of_index("photos", "3"), hit("4", 1.0, probability=0.0)], BLOCKING)
    with pytest.raises(UnsafeRequest, match="blocked in 'alias', and only the cluster can tell"):
        rerank([of_index("photos", "2")], BLOCKING)


def test_a_level_that_shows_what_is_blocked_asks_for_no_overrides() -> None:
    level = Level(demote_from=0.2, unscored="show", blocked="show")
    decision = dataclasses.replace(KEPT, categories=Decision.of("x", level).categories)
    assert rerank([hit("1", 1.0, probability=0.0)], decision)
