from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from saferank.mappings.fields import SafetyFields
from saferank.ranker.demotion import CURVES, factor, factors, functions, is_demoted
from saferank.ranker.hiding import is_hidden
from saferank.ranker.levels import Demotion, Level
from saferank.ranker.states import StateQueries, States

BELOW_0_2 = float(np.nextafter(np.float32(0.2), np.float32(0)))
BELOW_0_8 = float(np.nextafter(np.float32(0.8), np.float32(0)))
MODERATE = Level(demote_from=0.2, hide_from=0.8, unscored="demote")


def at(probability: float, curve: str = "exponential", rules: Level = MODERATE) -> float:
    return float(factor(probability, rules, Demotion(curve=curve, floor=0.1)))


@pytest.mark.parametrize(
    ("curve", "at_start", "in_the_middle", "at_end"),
    [
        ("exponential", 1.0, 0.1**0.5, 0.1),
        ("linear", 1.0, 0.55, 0.1),
        ("step", 0.1, 0.1, 0.1),
    ],
)
def test_the_curves(curve: str, at_start: float, in_the_middle: float, at_end: float) -> None:
    assert at(BELOW_0_2, curve) == 1.0
    assert at(0.2, curve) == at_start
    assert at(0.5, curve) == pytest.approx(in_the_middle, rel=1e-6)
    assert at(BELOW_0_8, curve) == pytest.approx(at_end, rel=1e-6)
    assert at(0.8, curve) == at(1.0, curve) == pytest.approx(at_end, rel=1e-12)


def test_a_quarter_into_the_band() -> None:
    assert at(0.35) == pytest.approx(0.1**0.25, rel=1e-6)
    assert at(0.35, "linear") == pytest.approx(0.775, rel=1e-6)


def test_without_hide_from_the_band_ends_at_one() -> None:
    rules = Level(demote_from=0.5, unscored="show")
    assert at(0.75, rules=rules) == pytest.approx(0.1**0.5)
    assert at(1.0, rules=rules) == pytest.approx(0.1)


@pytest.mark.parametrize("curve", CURVES)
def test_a_band_of_one_point_falls_to_the_floor(curve: str) -> None:
    rules = Level(demote_from=1.0, unscored="show")
    assert at(1.0, curve, rules) == pytest.approx(0.1)
    assert at(0.9999999, curve, rules) == 1.0


def test_no_probability_and_no_demotion_leave_the_relevance_alone() -> None:
    assert at(np.nan) == 1.0
    assert at(0.5, rules=Level(hide_from=0.8, unscored="show")) == 1.0


def test_shapes_are_kept() -> None:
    result = factor(np.full((2, 3), 0.5), MODERATE, Demotion())
    assert (result.shape, result.dtype) == ((2, 3), np.float64)


def test_every_state_and_treatment() -> None:
    states = States.of(
        [
            {"probability": 0.0},
            {"probability": 0.5},
            {"probability": 0.9},
            {},
            {"status": "failed"},
            {"status": "failed", "probability": 0.9},
            {"status": ["no_image"], "probability": [None]},
            {"probability": 0.9, "override": "allow"},
            {"probability": 0.0, "override": ["block"]},
            {"probability": [0.1, 0.9]},
            {"probability": "0.9"},
            {"probability": "high", "status": "scored"},
            {"probability": 0.0, "override": ["allow", "block"]},
            {"status": "failed", "override": "allow"},
        ]
    )
    rules = Level(
        demote_from=0.2, hide_from=0.8, unscored="demote", failed="demote", no_image="hide"
    )
    assert is_hidden(states, rules).tolist() == [
        *(False, False, True, False, False, True, True),
        *(False, True, True, True, False, True, False),
    ]
    assert is_demoted(states, rules).tolist() == [
        *(False, True, True, True, True, True, False),
        *(False, False, True, True, True, False, False),
    ]
    found = factors(states, rules, Demotion(floor=0.1))
    shown = ~is_hidden(states, rules)
    expected = [1, 0.1**0.5, 0.1, 0.1, 1, 0.1, 1]
    assert found[shown].tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("probability", [None, np.nan, "nan", "high", {"a": 1}, [], [None]])
def test_what_is_no_probability(probability: object) -> None:
    assert States.of([{"probability": probability}]).unscored.tolist() == [True]


def test_of_several_probabilities_the_highest_counts() -> None:
    states = States.of([{"probability": [0.5, None, 0.75]}, {"probability": ["0.75", 0.5]}])
    assert states.probability.tolist() == [0.75, 0.75]


def test_a_threshold_belongs_to_what_is_above_it() -> None:
    states = States.of([{"probability": p} for p in (BELOW_0_2, 0.2, BELOW_0_8, 0.8)])
    assert is_demoted(states, MODERATE).tolist() == [False, True, True, True]
    assert is_hidden(states, MODERATE).tolist() == [False, False, False, True]


def test_blocked_is_treated_as_the_level_says_and_by_nothing_else() -> None:
    states = States.of([{"override": "block", "probability": 0.9}])
    for treatment, hidden, falls_to in (("show", False, 1), ("demote", False, 0.1)):
        rules = Level(hide_from=0.8, demote_from=0.1, unscored="hide", blocked=treatment)
        assert is_hidden(states, rules).tolist() == [hidden]
        assert factors(states, rules, Demotion(floor=0.1)).tolist() == [falls_to]
        assert is_demoted(states, rules).tolist() == [treatment == "demote"]


def test_a_probability_of_another_model_does_not_count() -> None:
    records = [{"probability": 0.9, "model": "old"}, {"probability": 0.9, "model": ["new"]}]
    states = States.of(records, model="new")
    assert states.unscored.tolist() == [True, False]
    assert is_hidden(states, Level(hide_from=0.8, unscored="show")).tolist() == [False, True]


def test_a_floor_of_one_needs_no_functions() -> None:
    assert functions(MODERATE, Demotion(floor=1), StateQueries(SafetyFields())) == []


floats32 = st.floats(0, 1, width=32)
demotions = st.builds(Demotion, curve=st.sampled_from(sorted(CURVES)), floor=st.floats(1e-6, 0.99))


@st.composite
def bands(draw: st.DrawFn) -> Level:
    start, end = sorted((draw(floats32), draw(st.none() | floats32) or 1.0))
    assume(start < end)
    return Level(demote_from=start, hide_from=end, unscored="show")


@given(bands(), demotions, floats32, floats32)
def test_factors_are_in_range_and_fall(
    rules: Level, demotion: Demotion, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    milder, harder = factor([less, more], rules, demotion)
    assert demotion.floor * (1 - 1e-9) <= harder <= milder <= 1


@given(bands(), st.sampled_from(["exponential", "linear"]), st.floats(0.01, 0.9))
def test_factors_fall_strictly_and_without_a_jump(rules: Level, curve: str, floor: float) -> None:
    assert rules.demote_from is not None
    assert rules.hide_from is not None
    assume(rules.hide_from - rules.demote_from > 1e-3)
    grid = np.linspace(rules.demote_from, rules.hide_from, 101).astype(np.float32)
    found = factor(grid, rules, Demotion(curve=curve, floor=floor))
    falls = -np.diff(found)
    assert (falls > 0).all()
    # The steepest a hundredth of the band can be, doubled for the rounding of the grid.
    assert falls.max() < 2 * max(1 - floor, -np.log(floor)) / 100
    assert found[0] == pytest.approx(1, abs=0.1)
    assert found[-1] == pytest.approx(floor, abs=0.1)
