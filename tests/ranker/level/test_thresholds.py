from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.ranker.level.level import Level
from saferank.ranker.level.thresholds import Interval, Range, demote_range, hide_range, ranges_of

BOTH = Level(demote_from=0.2, hide_from=0.8, unscored="demote")


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        (0.0, Range.BELOW),
        (0.1999999, Range.BELOW),
        (0.2, Range.DEMOTE),
        (0.7999999, Range.DEMOTE),
        (0.8, Range.HIDE),
        (1.0, Range.HIDE),
        (math.nan, Range.BELOW),
    ],
)
def test_a_probability_at_a_threshold_has_reached_it(probability: float, expected: Range) -> None:
    assert ranges_of([float(np.float32(probability))], BOTH) == [expected]


def test_a_level_without_thresholds_has_one_range() -> None:
    assert ranges_of([0.0, 0.5, 1.0], Level()) == [Range.BELOW] * 3
    assert hide_range(Level()) is demote_range(Level()) is None


@given(st.lists(st.floats(0, 1, width=32)), st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_numbers_and_intervals_agree(values: list[float], one: float, other: float) -> None:
    start, end = sorted((one, other))
    if start == end:
        level = Level(hide_from=end, unscored="show")
    else:
        level = Level(demote_from=start, hide_from=end, unscored="show")

    def lies_in(interval: Interval | None, value: float) -> bool:
        if interval is None:
            return False
        bounds = interval.query("p")["range"]["p"]
        return bounds["gte"] <= value < bounds.get("lt", math.inf)

    for value, found in zip(values, ranges_of(values, level), strict=True):
        assert (found == Range.HIDE) == lies_in(hide_range(level), value)
        assert (found == Range.DEMOTE) == lies_in(demote_range(level), value)


def test_the_condition_of_esql_is_the_opposite_of_the_interval() -> None:
    assert Interval(0.25).esql_outside("safety.probability") == "safety.probability < 0.25"
