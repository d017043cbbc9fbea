from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from saferank.mappings.fields import SafetyFields
from saferank.ranker.level.decision import Decision, explain
from saferank.ranker.level.demotion import CURVES, Band, functions
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.level.states import StateQueries

BELOW_0_2 = float(np.nextafter(np.float32(0.2), np.float32(0)))
BELOW_0_8 = float(np.nextafter(np.float32(0.8), np.float32(0)))
MODERATE = Level(demote_from=0.2, hide_from=0.8, unscored="demote")


def at(probability: float, curve: str = "exponential", rules: Level = MODERATE) -> float:
    """The factor of a band, as if it went on forever."""
    band = Band.of(rules, Demotion(curve=curve, floor=0.1))
    assert band is not None
    return band.factor(float(np.float32(probability)))


def factor_of(probability: float, curve: str, rules: Level = MODERATE) -> float | None:
    """The factor of a document with this probability."""
    decision = Decision.of(level_name="x", level=rules, demotion=Demotion(curve=curve, floor=0.1))
    return explain([{"probability": probability}], decision)[0].factor


@pytest.mark.parametrize(
    ("curve", "at_start", "in_the_middle", "at_end"),
    [
        ("exponential", 1.0, 0.1**0.5, 0.1),
        ("linear", 1.0, 0.55, 0.1),
        ("step", 0.1, 0.1, 0.1),
    ],
)
def test_the_curves(curve: str, at_start: float, in_the_middle: float, at_end: float) -> None:
    assert factor_of(BELOW_0_2, curve) == 1.0
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
    assert factor_of(0.9999999, curve, rules) == 1.0


def test_a_level_that_only_hides_has_no_band() -> None:
    assert Band.of(Level(hide_from=0.8, unscored="show"), Demotion()) is None


def test_what_is_demoted_falls_by_its_probability_or_to_the_floor() -> None:
    decision = Decision.of(level_name="x", level=MODERATE, demotion=Demotion(floor=0.1))
    records = [{"probability": 0.5}, {"probability": BELOW_0_2}, {}, {"probability": np.nan}]
    factors = [found.factor for found in explain(records, decision)]
    assert factors == [pytest.approx(0.1**0.5, rel=1e-6), 1, 0.1, 0.1]


def test_a_floor_of_one_needs_no_functions() -> None:
    assert functions([(MODERATE, StateQueries(SafetyFields()))], Demotion(floor=1)) == []


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
    decision = Decision.of(level_name="x", level=rules, demotion=demotion)
    found = explain([{"probability": less}, {"probability": more}], decision)
    milder, harder = (item.factor or 0 for item in found)
    assert harder <= milder <= 1
    for item in found:
        assert item.factor is None or demotion.floor * (1 - 1e-9) <= item.factor


@given(bands(), st.sampled_from(["exponential", "linear"]), st.floats(0.01, 0.9))
def test_factors_fall_strictly_and_without_a_jump(rules: Level, curve: str, floor: float) -> None:
    assert rules.demote_from is not None
    assert rules.hide_from is not None
    assume(rules.hide_from - rules.demote_from > 1e-3)
    band = Band.of(rules, Demotion(curve=curve, floor=floor))
    assert band is not None
    grid = np.linspace(rules.demote_from, rules.hide_from, 101).astype(np.float32)
    found = [band.factor(value) for value in grid.tolist()]
    falls = -np.diff(found)
    assert (falls > 0).all()
    # The steepest a hundredth of the band can be, doubled for the rounding of the grid.
    assert falls.max() < 2 * max(1 - floor, -np.log(floor)) / 100
    assert found[0] == pytest.approx(1, abs=0.1)
    assert found[-1] == pytest.approx(floor, abs=0.1)
