from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from saferank.ranker.level.decision import Decision, explain
from saferank.ranker.level.demotion import CURVES
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.level.states import STATES
from saferank.ranker.level.verdicts import Action, Range, Rule, verdict

BELOW_0_2 = float(np.nextafter(np.float32(0.2), np.float32(0)))
BELOW_0_8 = float(np.nextafter(np.float32(0.8), np.float32(0)))
MODERATE = Level(demote_from=0.2, hide_from=0.8, unscored="demote")


def judge(
    records: list[dict[str, Any]],
    rules: Level,
    *,
    model: str | None = None,
    curve: str = "exponential",
) -> list[tuple[str, float | None]]:
    """The action on each document, and its factor."""
    demotion = Demotion(curve=curve, floor=0.1)
    decision = Decision.of(level_name="x", level=rules, demotion=demotion, model=model)
    return [(found.action, found.factor) for found in explain(records, decision)]


SHOWN, HIDDEN = (Action.SHOWN, 1), (Action.HIDDEN, None)


def demoted(factor: float) -> tuple[Action, object]:
    return Action.DEMOTED, pytest.approx(factor, rel=1e-6)


def test_every_state_and_treatment() -> None:
    records: list[dict[str, Any]] = [
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
        {"status": "failed", "probability": 0.5},
        {"status": "not_read", "probability": 0.1},
        {"status": ["failed", "not_read"]},
    ]
    rules = Level(
        demote_from=0.2, hide_from=0.8, unscored="demote", not_read="hide", no_image="hide"
    )
    assert judge(records, rules) == [
        *(SHOWN, demoted(0.1**0.5), HIDDEN, demoted(0.1), demoted(0.1), HIDDEN, HIDDEN),
        *(SHOWN, HIDDEN, HIDDEN, HIDDEN, demoted(0.1), HIDDEN, SHOWN, demoted(0.1)),
        *(HIDDEN, HIDDEN),
    ]


def test_a_threshold_belongs_to_what_is_above_it() -> None:
    records = [{"probability": p} for p in (BELOW_0_2, 0.2, BELOW_0_8, 0.8)]
    assert judge(records, MODERATE) == [SHOWN, demoted(1), demoted(0.1), HIDDEN]
    hiding = Level(hide_from=0.8, unscored="show")
    assert judge(records, hiding) == [SHOWN, SHOWN, SHOWN, HIDDEN]
    demoting = Level(demote_from=0.2, unscored="show")
    fallen = demoted(0.1**0.75)
    assert judge(records, demoting) == [SHOWN, demoted(1), fallen, fallen]


@pytest.mark.parametrize(
    ("treatment", "action", "falls_to"), [("show", "shown", 1), ("demote", "demoted", 0.1)]
)
def test_blocked_is_treated_as_the_level_says_and_by_nothing_else(
    treatment: str, action: str, falls_to: float
) -> None:
    rules = Level(hide_from=0.8, demote_from=0.1, unscored="hide", blocked=treatment)
    assert judge([{"override": "block", "probability": 0.9}], rules) == [(action, falls_to)]


@pytest.mark.parametrize("curve", CURVES)
def test_what_is_above_one_falls_as_far_as_one(curve: str) -> None:
    rules = Level(demote_from=0.2, unscored="show")
    records = [{"probability": 1.0}, {"probability": 9.0}]
    assert judge(records, rules, curve=curve) == [demoted(0.1), demoted(0.1)]


def test_an_infinite_probability_is_above_every_threshold_there_is() -> None:
    records = [{"probability": float("inf")}, {"probability": 1e300}]
    assert judge(records, Level(hide_from=1.0, unscored="show")) == [HIDDEN, HIDDEN]
    demoting = Level(demote_from=1.0, unscored="show")
    assert judge(records, demoting) == [demoted(0.1), demoted(0.1)]
    assert judge(records, Level()) == [SHOWN, SHOWN]


def test_a_probability_of_another_model_does_not_count() -> None:
    records = [{"probability": 0.9, "model": "old"}, {"probability": 0.9, "model": ["new"]}]
    assert judge(records, Level(hide_from=0.8, unscored="show"), model="new") == [SHOWN, HIDDEN]


ACTIONS = {
    "show": Action.SHOWN,
    "blur": Action.BLURRED,
    "demote": Action.DEMOTED,
    "hide": Action.HIDDEN,
}
TREATMENTS = tuple(ACTIONS)
HARDNESS = {
    Range.BELOW: 0,
    Range.BLUR: 1,
    Range.DEMOTE: 2,
    Range.DEMOTE_AND_BLUR: 2,
    Range.HIDE: 3,
}


@pytest.mark.parametrize("kind", ["unscored", "failed", "not_read", "no_image"])
@pytest.mark.parametrize("treatment", TREATMENTS)
def test_of_a_state_and_a_probability_the_harder_holds(kind: str, treatment: str) -> None:
    others = ("unscored", "failed", "not_read", "no_image")
    treatments = {**dict.fromkeys(others, "show"), kind: treatment}
    rules = Level(demote_from=0.2, hide_from=0.8, **treatments)
    actions = list(ACTIONS.values())
    for probability, hardness in HARDNESS.items():
        found = verdict(rules, {kind}, probability)
        state = TREATMENTS.index(treatment)
        assert found.action is actions[max(state, hardness)]
        # The floor is the smallest factor, so it is the state that is named.
        equal_by_probability = found.action in (Action.HIDDEN, Action.BLURRED)
        by_probability = hardness > state or (hardness == state and equal_by_probability)
        assert (found.rule == kind) is not by_probability
        assert found.by_probability is (found.action is Action.DEMOTED and by_probability)


def test_what_is_demoted_can_be_blurred_as_well_and_what_is_hidden_is_not() -> None:
    rules = Level(blur_from=0.5, demote_from=0.2, hide_from=0.8, unscored="demote", not_read="blur")
    records: list[dict[str, Any]] = [
        {"probability": 0.3},
        {"probability": 0.5},
        {"probability": 0.8},
        {"status": "failed"},
        {"status": "failed", "probability": 0.6},
        {"status": "not_read", "probability": 0.3},
        {"status": "not_read", "probability": 0.1},
        {"status": ["failed", "not_read"]},
        {"probability": 0.6, "override": "allow"},
    ]
    told = [
        (found.action, found.blur, found.rule)
        for found in explain(records, Decision.of(level_name="x", level=rules))
    ]
    assert told == [
        ("demoted", False, "demote_from"),
        ("demoted", True, "demote_from"),
        ("hidden", False, "hide_from"),
        ("demoted", False, "failed"),
        ("demoted", True, "failed"),
        ("demoted", True, "demote_from"),
        ("blurred", True, "not_read"),
        ("demoted", True, "failed"),
        ("shown", False, "override_allow"),
    ]


def test_what_is_blurred_keeps_its_relevance() -> None:
    rules = Level(blur_from=0.2, demote_from=0.5, unscored="blur", blocked="blur")
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    records: list[dict[str, Any]] = [{"probability": below}, {}, {"override": "block"}]
    assert judge(records, rules) == [(Action.BLURRED, 1)] * 3


@pytest.mark.parametrize("treatments", list(product(TREATMENTS, repeat=2)))
def test_of_two_states_the_harder_holds(treatments: tuple[str, str]) -> None:
    failed, not_read = treatments
    rules = Level(failed=failed, not_read=not_read)
    found = verdict(rules, {"failed", "not_read"}, Range.BELOW)
    harder = max(treatments, key=TREATMENTS.index)
    assert found.action is ACTIONS[harder]
    assert found.rule == ("failed" if failed == harder else "not_read")


def test_a_persons_decision_is_the_only_thing_that_counts() -> None:
    others = ("unscored", "failed", "not_read", "no_image")
    for mask, probability, treatment in product(range(16), Range, TREATMENTS):
        state = {kind for kind in others if mask & STATES[kind]}
        rules = Level(demote_from=0.2, hide_from=0.8, unscored="hide", blocked=treatment)
        allowed = verdict(rules, {*state, "allowed"}, probability)
        assert (allowed.action, allowed.rule) == (Action.SHOWN, Rule.ALLOWED)
        blocked = verdict(rules, {*state, "blocked"}, probability)
        assert (blocked.action, blocked.rule) == (ACTIONS[treatment], Rule.BLOCKED)
        assert (allowed.blur, blocked.blur) == (False, treatment == "blur")
