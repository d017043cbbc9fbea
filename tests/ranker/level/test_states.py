"""States as read from documents, and the query side of states, hiding and demotion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from saferank.mappings.fields import SafetyFields
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.demotion import demoted, functions, functions_for_few
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.level.states import STATES, StateQueries, States, any_of
from saferank.ranker.level.thresholds import Interval
from saferank.ranker.level.verdicts import hidden

QUERIES = StateQueries(SafetyFields())
DECIDED = {"terms": {"safety.override": ["allow", "block"]}}
EXISTS = {"exists": {"field": "safety.probability"}}
ACCOUNTED = {"terms": {"safety.status": ["failed", "no_image"]}}
BLOCKED = {"term": {"safety.override": "block"}}
FAILED = {"term": {"safety.status": "failed"}}
NO_IMAGE = {"term": {"safety.status": "no_image"}}
UNSCORED = {"bool": {"must_not": [EXISTS, ACCOUNTED]}}


def undecided(condition: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"filter": [condition], "must_not": [DECIDED]}}


def probability(**bounds: float) -> dict[str, Any]:
    return {"range": {"safety.probability": bounds}}


def either(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"should": list(conditions)}}


def test_states_are_told_apart() -> None:
    assert QUERIES.unscored == UNSCORED
    assert QUERIES.failed == FAILED
    assert QUERIES.no_image == NO_IMAGE
    assert QUERIES.blocked == BLOCKED
    assert any_of([FAILED]) is FAILED
    assert any_of([FAILED, NO_IMAGE]) == either(FAILED, NO_IMAGE)


def test_bounds_on_the_probability() -> None:
    assert QUERIES.in_range(Interval(0.5)) == [probability(gte=0.5)]
    assert QUERIES.in_range(Interval(0.25, 0.5)) == [probability(gte=0.25, lt=0.5)]
    (query,) = QUERIES.in_range(Interval(0.0))
    zero = query["range"]["safety.probability"]["gte"]
    assert str(zero) == "-0.0"


def test_only_scores_of_the_named_model_count() -> None:
    queries = StateQueries(SafetyFields("a", "people"), "m")
    model = {"term": {"a.model": "m"}}
    bounds = {"range": {"a.probability": {"gte": 0.5}}}
    assert queries.in_range(Interval(0.5)) == [{"bool": {"filter": [bounds, model]}}]
    assert queries.in_range(None) == []
    scored = {"bool": {"filter": [{"exists": {"field": "a.probability"}}, model]}}
    accounted = {"terms": {"a.status": ["failed", "no_image"]}}
    assert queries.unscored == {"bool": {"must_not": [scored, accounted]}}
    assert queries.blocked == {"term": {"people.override": "block"}}


@pytest.mark.parametrize(
    ("curve", "function"),
    [
        ("exponential", "exp"),
        ("linear", "linear"),
    ],
)
def test_a_decay_behind_a_filter(curve: str, function: str) -> None:
    rules = Level(demote_from=0.25, hide_from=0.75, unscored="show")
    shape = {"origin": 0, "offset": 0.25, "scale": 0.5, "decay": 0.1}
    assert functions(rules, Demotion(curve=curve), QUERIES) == [
        {
            "filter": undecided(probability(gte=0.25, lt=0.75)),
            function: {"safety.probability": shape, "multi_value_mode": "max"},
        }
    ]


def test_a_step_and_everything_unusual() -> None:
    rules = Level(
        demote_from=0.25, unscored="demote", failed="demote", no_image="demote", blocked="demote"
    )
    unusual = [undecided(either(UNSCORED, FAILED, NO_IMAGE)), BLOCKED]
    assert functions(rules, Demotion(curve="step", floor=0.5), QUERIES) == [
        {"filter": undecided(probability(gte=0.25)), "weight": 0.5},
        {"filter": either(*unusual), "weight": 0.5},
    ]
    everything = either(probability(gte=0.25), UNSCORED, FAILED, NO_IMAGE)
    assert demoted(rules, QUERIES) == [undecided(everything), BLOCKED]
    decision = Decision(level_name="x", level=rules)
    assert decision.demoted == either(undecided(everything), BLOCKED)


def test_a_level_that_demotes_nothing() -> None:
    rules = Level(hide_from=0.5, unscored="hide")
    assert functions(rules, Demotion(), QUERIES) == []
    assert demoted(rules, QUERIES) == []


def test_the_unusual_alone_can_be_demoted() -> None:
    rules = Level(hide_from=0.5, unscored="show", failed="demote")
    assert functions(rules, Demotion(floor=0.2), QUERIES) == [
        {"filter": undecided(FAILED), "weight": 0.2}
    ]
    assert demoted(rules, QUERIES) == [undecided(FAILED)]


def test_the_hidden_and_the_visible() -> None:
    rules = Level(hide_from=0.5, unscored="show", failed="hide")
    conditions = [probability(gte=0.5), FAILED]
    decision = Decision(level_name="x", level=rules)
    assert decision.hidden == hidden(rules, QUERIES) == [undecided(either(*conditions)), BLOCKED]
    assert decision.visible == {
        "filter": [either({"bool": {"must_not": conditions}}, DECIDED)],
        "must_not": [BLOCKED],
    }


def test_the_visible_of_mild_levels() -> None:
    blocked_only = Decision(level_name="x", level=Level())
    assert blocked_only.hidden == [BLOCKED]
    assert blocked_only.visible == {"must_not": [BLOCKED]}
    everything = Decision(level_name="x", level=Level(blocked="show"))
    assert everything.hidden == []
    assert everything.visible == {}
    level = Level(hide_from=0.5, unscored="show", blocked="show")
    unblocked = Decision(level_name="x", level=level)
    hides = {"bool": {"must_not": [probability(gte=0.5)]}}
    assert unblocked.visible == {"filter": [either(hides, DECIDED)]}


@pytest.mark.parametrize("probability", [None, np.nan, "nan", "high", {"a": 1}, [], [None]])
def test_what_is_no_probability(probability: object) -> None:
    states = States.of([{"probability": probability}])
    assert list(states.codes) == [STATES["unscored"]]
    assert np.isnan(states.probabilities).all()


def test_of_several_probabilities_the_highest_counts() -> None:
    states = States.of([{"probability": [0.5, None, 0.75]}, {"probability": ["0.75", 0.5]}])
    assert states.probabilities == [0.75, 0.75]


def test_a_probability_is_rounded_as_the_engine_does() -> None:
    states = States.of([{"probability": 0.2}, {}])
    assert states.probabilities[0] == float(np.float32(0.2)) != 0.2
    assert states.values == [0.2, None]


def test_a_probability_of_another_model_does_not_count() -> None:
    records = [{"probability": 0.9, "model": "old"}, {"probability": 0.9, "model": ["new"]}]
    assert list(States.of(records, model="new").codes) == [STATES["unscored"], 0]


def few(**rules: Any) -> list[tuple[Any, Any]]:
    """Filter and weight of each function; the curve has no weight."""
    level = Level(demote_from=0.2, hide_from=0.8, **rules)
    found = functions_for_few(level, Demotion(floor=0.1), QUERIES)
    return [(item.get("filter"), item.get("weight")) for item in found]


def test_the_functions_for_few_documents_are_in_the_order_of_the_verdicts() -> None:
    assert few(unscored="show") == [(DECIDED, 1), (EXISTS, None)]
    assert few(unscored="show", failed="demote", blocked="demote") == [
        (BLOCKED, 0.1),
        (DECIDED, 1),
        (FAILED, 0.1),
        (EXISTS, None),
    ]
    assert few(unscored="demote") == [
        (DECIDED, 1),
        ({"terms": {"safety.status": ["failed", "no_image"]}}, 0.1),
        (EXISTS, None),
        (None, 0.1),
    ]
    assert few(unscored="demote", failed="show", no_image="hide") == [
        (DECIDED, 1),
        (EXISTS, None),
        (FAILED, 1),
        (None, 0.1),
    ]


def test_steps_have_no_form_for_few_documents() -> None:
    level = Level(demote_from=0.2, hide_from=0.8, unscored="demote")
    steps = Demotion(curve="step", floor=0.1)
    decision = Decision(level_name="x", level=level, demotion=steps)
    assert functions_for_few(level, steps, QUERIES) == []
    assert decision.scoring_few is decision.scoring
    assert functions_for_few(level, Demotion(floor=1), QUERIES) == []
    none = Level(hide_from=0.8, unscored="demote")
    assert functions_for_few(none, Demotion(), QUERIES) == []


@pytest.mark.parametrize(("curve", "kind"), [("exponential", "exp"), ("linear", "linear")])
def test_both_forms_have_the_same_curve(curve: str, kind: str) -> None:
    level = Level(demote_from=0.25, hide_from=0.75, unscored="show")
    decision = Decision(level_name="x", level=level, demotion=Demotion(curve=curve, floor=0.1))
    shape = {"origin": 0, "offset": 0.25, "scale": 0.5, "decay": 0.1}
    curve_query = {kind: {"safety.probability": shape, "multi_value_mode": "max"}}
    band = undecided(probability(gte=0.25, lt=0.75))
    assert decision.scoring == {
        "functions": [{"filter": band, **curve_query}],
        "score_mode": "min",
    }
    assert decision.scoring_few == {
        "functions": [{"filter": DECIDED, "weight": 1}, {"filter": EXISTS, **curve_query}],
        "score_mode": "first",
    }
