"""States as read from documents, and the query side of states, hiding and demotion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from saferank.mappings.fields import SafetyFields
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.demotion import demoted, functions, functions_for_few
from saferank.ranker.level.level import Demotion, Level, Treatment
from saferank.ranker.level.states import STATES, StateQueries, States, any_of, none_of
from saferank.ranker.level.thresholds import Interval
from saferank.ranker.level.verdicts import hidden

QUERIES = StateQueries(SafetyFields())
OVERRIDDEN = {"exists": {"field": "safety.override"}}
MATCHED = {"exists": {"field": "safety.matched"}}
DECIDED = {"bool": {"should": [OVERRIDDEN, MATCHED]}}
ALLOW = {"term": {"safety.override": "allow"}}
BLOCK = {"term": {"safety.override": "block"}}
ALLOW_BY_MATCH = {
    "bool": {
        "filter": [{"term": {"safety.matched": "allow"}}],
        "must_not": [{"term": {"safety.matched": "block"}}, OVERRIDDEN],
    }
}
BLOCKED = [
    BLOCK,
    {"bool": {"filter": [OVERRIDDEN], "must_not": [ALLOW]}},
    {"bool": {"filter": [MATCHED], "must_not": [OVERRIDDEN, ALLOW_BY_MATCH]}},
]
EXISTS = {"exists": {"field": "safety.probability"}}
NEGATIVE = {"range": {"safety.probability": {"lt": -0.0}}}
BEYOND = {"bool": {"should": [{"range": {"safety.probability": {"gt": 1}}}, NEGATIVE]}}


def either(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"should": list(conditions)}}


def status_but_none_of(*known: str) -> dict[str, Any]:
    among = (
        {"term": {"safety.status": known[0]}}
        if len(known) == 1
        else {"terms": {"safety.status": list(known)}}
    )
    return {"bool": {"filter": [{"exists": {"field": "safety.status"}}], "must_not": [among]}}


FAILED = either(
    {"term": {"safety.status": "failed"}}, status_but_none_of("scored", "not_read", "no_image")
)
NO_IMAGE = {"term": {"safety.status": "no_image"}}
NOT_READ = {"term": {"safety.status": "not_read"}}
BOTH_BUT_FAILED = {"terms": {"safety.status": ["not_read", "no_image"]}}
FAILING = either(
    {"terms": {"safety.status": ["failed", "not_read"]}}, status_but_none_of("scored", "no_image")
)
ANY = either(
    {"terms": {"safety.status": ["failed", "not_read", "no_image"]}}, status_but_none_of("scored")
)
WITHOUT = {"bool": {"must_not": [EXISTS]}}
NOTHING = {"terms": ["saferank"], "minimum_should_match_field": "safety.probability"}
UNMAPPED_FAILS = {"terms_set": {"safety.status": NOTHING}}


def undecided(condition: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"filter": [condition], "must_not": [OVERRIDDEN, MATCHED]}}


def probability(**bounds: float) -> dict[str, Any]:
    return {"range": {"safety.probability": bounds}}


def test_states_are_told_apart() -> None:
    assert QUERIES.status("failed") == FAILED
    assert QUERIES.status("no_image") == NO_IMAGE
    assert QUERIES.status("not_read") == NOT_READ
    assert QUERIES.status("failed", "not_read") == FAILING
    assert QUERIES.status("failed", "not_read", "no_image") == ANY
    assert QUERIES.blocked == BLOCKED
    assert any_of([FAILED]) is FAILED
    assert any_of([FAILED, NO_IMAGE]) == either(FAILED, NO_IMAGE)


@pytest.mark.parametrize(
    ("shown", "conditions"),
    [
        ((), [ANY, WITHOUT]),
        (("failed",), [BOTH_BUT_FAILED, {"bool": {"must_not": [EXISTS, FAILED]}}]),
        (("no_image",), [FAILING, {"bool": {"must_not": [EXISTS, NO_IMAGE]}}]),
        (("failed", "not_read"), [NO_IMAGE, {"bool": {"must_not": [EXISTS, FAILING]}}]),
        (("failed", "not_read", "no_image"), [{"bool": {"must_not": [EXISTS, ANY]}}]),
        (("unscored",), [ANY]),
        (("unscored", "failed"), [BOTH_BUT_FAILED]),
        (("unscored", "failed", "no_image"), [NOT_READ]),
    ],
)
def test_an_unscored_document_is_one_that_no_status_accounts_for(
    shown: tuple[str, ...], conditions: list[dict[str, Any]]
) -> None:
    treatments = dict.fromkeys(("unscored", "failed", "not_read", "no_image"), "hide")
    level = Level(**{**treatments, **dict.fromkeys(shown, "show")})
    assert QUERIES.unusual(level, Treatment.HIDE) == conditions


def test_bounds_on_the_probability() -> None:
    assert QUERIES.in_range(Interval(0.5)) == [probability(gte=0.5), NEGATIVE]
    assert QUERIES.in_range(Interval(0.25, 0.5)) == [probability(gte=0.25, lt=0.5)]
    zero, negative = QUERIES.in_range(Interval(0.0))
    assert str(zero["range"]["safety.probability"]["gte"]) == "-0.0"
    assert str(negative["range"]["safety.probability"]["lt"]) == "-0.0"


def test_only_scores_of_the_named_model_count() -> None:
    queries = StateQueries(SafetyFields("a", "people", matches=False), "m")
    model = {"term": {"a.model": "m"}}
    bounds = [{"range": {"a.probability": bound}} for bound in ({"gte": 0.5}, {"lt": -0.0})]
    counting = [{"bool": {"filter": [bound, model]}} for bound in bounds]
    assert queries.in_range(Interval(0.5)) == counting
    assert queries.in_range(None) == []
    scored = {"bool": {"filter": [{"exists": {"field": "a.probability"}}, model]}}
    assert queries.scored == scored
    assert queries.beyond["bool"]["filter"][1] == model
    assert queries.decided == {"exists": {"field": "people.override"}}


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
    assert functions([(rules, QUERIES)], Demotion(curve=curve)) == [
        {
            "filter": undecided(probability(gte=0.25, lt=0.75)),
            function: {"safety.probability": shape, "multi_value_mode": "max"},
        }
    ]


def test_a_step_and_everything_unusual() -> None:
    rules = Level(
        demote_from=0.25, unscored="demote", failed="demote", no_image="demote", blocked="demote"
    )
    everything = either(probability(gte=0.25), NEGATIVE, ANY, WITHOUT)
    assert demoted(rules, QUERIES) == [undecided(everything), *BLOCKED]
    # All that is in the band has the factor of all that falls to its end.
    assert functions([(rules, QUERIES)], Demotion(curve="step", floor=0.5)) == [
        {"filter": either(undecided(everything), *BLOCKED), "weight": 0.5}
    ]
    decision = Decision.of(level_name="x", level=rules)
    assert decision.demoted == either(undecided(everything), *BLOCKED)


def test_a_level_that_demotes_nothing() -> None:
    rules = Level(hide_from=0.5, unscored="hide")
    assert functions([(rules, QUERIES)], Demotion()) == []
    assert demoted(rules, QUERIES) == []


def test_the_unusual_alone_can_be_demoted() -> None:
    rules = Level(hide_from=0.5, unscored="show", failed="demote", not_read="show")
    assert functions([(rules, QUERIES)], Demotion(floor=0.2)) == [
        {"filter": undecided(FAILED), "weight": 0.2}
    ]
    assert demoted(rules, QUERIES) == [undecided(FAILED)]


def test_the_hidden_and_the_visible() -> None:
    rules = Level(hide_from=0.5, unscored="show", failed="hide")
    conditions = [probability(gte=0.5), NEGATIVE, FAILING]
    decision = Decision.of(level_name="x", level=rules)
    assert decision.hidden == hidden(rules, QUERIES) == [undecided(either(*conditions)), *BLOCKED]
    undecided_or = [*flat(*conditions), OVERRIDDEN, MATCHED]
    assert decision.visible == {
        "filter": [either({"bool": {"must_not": undecided_or}}, ALLOW, ALLOW_BY_MATCH)],
        "must_not": [BLOCK, UNMAPPED_FAILS],
    }


def flat(*conditions: dict[str, Any]) -> list[dict[str, Any]]:
    """Each of several that are enough, in the place of the one around them."""
    return [part for item in conditions for part in item.get("bool", {}).get("should", [item])]


def test_none_of_several_conditions_in_few_queries() -> None:
    strange = status_but_none_of("scored")
    named = {"terms": {"safety.status": ["failed", "not_read", "no_image"]}}
    assert none_of([ANY, WITHOUT, BLOCK]) == {
        "bool": {
            "must_not": [named, strange, WITHOUT, BLOCK],
        }
    }


def test_the_visible_of_mild_levels() -> None:
    blocked_only = Decision.of(level_name="x", level=Level())
    assert blocked_only.hidden == BLOCKED
    assert blocked_only.visible == {"must_not": [*BLOCKED, UNMAPPED_FAILS]}
    everything = Decision.of(level_name="x", level=Level(blocked="show"))
    assert everything.hidden == []
    assert everything.visible == {}
    level = Level(hide_from=0.5, unscored="show", blocked="show")
    unblocked = Decision.of(level_name="x", level=level)
    hides = {"bool": {"must_not": [probability(gte=0.5), NEGATIVE]}}
    assert unblocked.visible == {
        "filter": [either(hides, DECIDED)],
        "must_not": [UNMAPPED_FAILS],
    }


@pytest.mark.parametrize(
    "probability", [None, np.nan, "nan", "high", {"a": 1}, [], [None], True, [[]]]
)
def test_what_is_no_probability(probability: object) -> None:
    states = States.of([{"probability": probability}])
    assert list(states.codes) == [STATES["unscored"]]
    assert np.isnan(states.probabilities).all()


@pytest.mark.parametrize(
    "probability", [-1, 2.0, -1e-30, 1.0000002, math.inf, -math.inf, 1e300, "2", [0.1, -1], [2, 0]]
)
def test_a_probability_outside_0_to_1_counts_as_1(probability: object) -> None:
    states = States.of([{"probability": probability}])
    assert (states.values, list(states.codes)) == ([1.0], [0])


@pytest.mark.parametrize("probability", [-1e-50, -0.0, 1.00000001])
def test_what_is_stored_as_0_or_1_is_no_odd_value(probability: float) -> None:
    assert States.of([{"probability": probability}]).values == [probability]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("FAILED", "failed"),
        ("", "failed"),
        (["scored ", None], "failed"),
        (True, "failed"),
        ({"a": 1}, "failed"),
        (["scored", "FAILED"], None),
        (["scored", "failed"], "failed"),
        (["no_image", "x"], "no_image"),
        (["scored", "not_read"], "not_read"),
        ([None], None),
    ],
)
def test_an_unknown_status_counts_as_failed(status: object, state: str | None) -> None:
    states = States.of([{"probability": 0.01, "status": status}])
    assert list(states.codes) == [STATES[state] if state else 0]


@pytest.mark.parametrize(
    ("override", "state"),
    [
        ("BLOCK", "blocked"),
        ("blocked", "blocked"),
        ("Allow", "blocked"),
        ("", "blocked"),
        (False, "blocked"),
        ({"a": 1}, "blocked"),
        (["allow", "block"], "blocked"),
        (["allow", None], "allowed"),
        (["allow", "BLOCK"], "allowed"),
        ([None], None),
        ([], None),
    ],
)
def test_a_decision_that_is_not_allow_blocks(override: object, state: str | None) -> None:
    states = States.of([{"probability": 0.01, "override": override}])
    assert list(states.codes) == [STATES[state] if state else 0]


@pytest.mark.parametrize(
    ("override", "matched", "state"),
    [
        (None, "block", "blocked"),
        (None, "allow", "allowed"),
        ("allow", "block", "allowed"),
        ("block", "allow", "blocked"),
        (None, ["allow", "block"], "blocked"),
        (None, "else", "blocked"),
        ([None], "block", "blocked"),
        (None, [None], None),
    ],
)
def test_what_is_said_of_the_document_comes_before_its_match(
    override: object, matched: object, state: str | None
) -> None:
    record = {"probability": 0.01, "override": override, "matched": matched}
    assert list(States.of([record]).codes) == [STATES[state] if state else 0]


def test_matches_need_not_count() -> None:
    fields = SafetyFields(matches=False)
    assert "safety.matched" not in str(hidden(Level(), StateQueries(fields)))
    assert fields.deciding == SafetyFields().deciding[:-1]


def test_of_several_probabilities_the_highest_counts() -> None:
    several = [[0.5, None, 0.75], ["0.75", 0.5], [[0.5], [[0.75]]], ["high", 0.75, True]]
    states = States.of([{"probability": values} for values in several])
    assert states.probabilities == [0.75] * 4


def test_a_document_can_have_failed_and_hold_what_is_not_read() -> None:
    states = States.of([{"status": ["failed", "not_read"]}])
    assert list(states.codes) == [STATES["failed"] | STATES["not_read"]]


def test_a_state_is_found_among_several_values() -> None:
    states = States.of([{"probability": 0.5, "status": [["failed"], "scored"], "override": [[]]}])
    assert list(states.codes) == [STATES["failed"]]


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
        (either(*BLOCKED), 0.1),
        (DECIDED, 1),
        (FAILING, 0.1),
        (EXISTS, None),
    ]
    assert few(unscored="demote") == [
        (DECIDED, 1),
        (ANY, 0.1),
        (EXISTS, None),
        (None, 0.1),
    ]
    assert few(unscored="demote", failed="show", no_image="hide") == [
        (DECIDED, 1),
        (EXISTS, None),
        (FAILING, 1),
        (None, 0.1),
    ]
    assert few(unscored="demote", failed="show", not_read="demote", no_image="hide") == [
        (DECIDED, 1),
        (NOT_READ, 0.1),
        (EXISTS, None),
        (FAILED, 1),
        (None, 0.1),
    ]


def test_without_hide_from_what_counts_as_one_falls_to_the_floor_before_the_curve() -> None:
    level = Level(demote_from=0.2, unscored="show")
    found = functions_for_few(level, Demotion(floor=0.1), QUERIES)
    assert [item["filter"] for item in found] == [DECIDED, BEYOND, EXISTS]
    assert found[1]["weight"] == 0.1


def test_steps_have_no_form_for_few_documents() -> None:
    level = Level(demote_from=0.2, hide_from=0.8, unscored="demote")
    steps = Demotion(curve="step", floor=0.1)
    decision = Decision.of(level_name="x", level=level, demotion=steps)
    assert functions_for_few(level, steps, QUERIES) == []
    assert decision.scoring_few is decision.scoring
    assert functions_for_few(level, Demotion(floor=1), QUERIES) == []
    none = Level(hide_from=0.8, unscored="demote")
    assert functions_for_few(none, Demotion(), QUERIES) == []


@pytest.mark.parametrize(("curve", "kind"), [("exponential", "exp"), ("linear", "linear")])
def test_both_forms_have_the_same_curve(curve: str, kind: str) -> None:
    level = Level(demote_from=0.25, hide_from=0.75, unscored="show")
    decision = Decision.of(level_name="x", level=level, demotion=Demotion(curve=curve, floor=0.1))
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
