from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.ranker.level.level import Level
from saferank.ranker.level.thresholds import (
    Interval,
    Range,
    Ranges,
    curve_range,
    demote_range,
    hide_range,
)

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
    assert Ranges.of(BOTH).each([float(np.float32(probability))]) == [expected]


def test_a_level_without_thresholds_has_one_range() -> None:
    assert Ranges.of(Level()).each([0.0, 0.5, 1.0]) == [Range.BELOW] * 3
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
        bounds = [query["range"]["p"] for query in interval.queries("p")]
        return any(
            bound.get("gte", -math.inf) <= value < bound.get("lt", math.inf) for bound in bounds
        )

    for value, found in zip(values, Ranges.of(level).each(values), strict=True):
        assert (found == Range.HIDE) == lies_in(hide_range(level), value)
        assert (found == Range.DEMOTE) == lies_in(demote_range(level), value)


@given(
    st.lists(st.floats(0, 1, width=32)),
    st.none() | st.floats(0, 0.5, width=32),
    st.none() | st.floats(0, 0.5, width=32),
    st.none() | st.floats(0.75, 1, width=32),
)
def test_blur_and_demotion_are_told_apart(
    values: list[float], blur: float | None, demote: float | None, hide: float | None
) -> None:
    level = Level(blur_from=blur, demote_from=demote, hide_from=hide, unscored="show")
    values += [value for value in (blur, demote, hide) if value is not None]
    for value, found in zip(values, Ranges.of(level).each(values), strict=True):
        hidden = hide is not None and value >= hide
        assert (found is Range.HIDE) == hidden
        assert found.blurs == (not hidden and blur is not None and value >= blur)
        assert found.demotes == (not hidden and demote is not None and value >= demote)


def test_the_condition_of_esql_is_the_opposite_of_the_interval() -> None:
    assert Interval(0.25).esql_outside("a.b") == "(a.b >= 0 AND a.b < 0.25)"


def test_what_is_outside_0_to_1_is_in_the_highest_range() -> None:
    assert Interval(0.25).queries("p") == [
        {"range": {"p": {"gte": 0.25}}},
        {"range": {"p": {"lt": -0.0}}},
    ]
    assert Interval(0.25, 0.5).queries("p") == [{"range": {"p": {"gte": 0.25, "lt": 0.5}}}]
    assert curve_range(Level()) is None
    assert curve_range(BOTH) == demote_range(BOTH)
    alone = curve_range(Level(demote_from=0.25, unscored="show"))
    assert alone == Interval(0.25, float(np.nextafter(np.float32(1), np.float32(2))))
