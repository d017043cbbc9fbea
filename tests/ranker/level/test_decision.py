from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from saferank.ranker import load_policy
from saferank.ranker.level.decision import Decision, explain
from saferank.ranker.level.level import Level


def test_a_decision_can_be_given_to_another_process() -> None:
    rules = Level(demote_from=0.2, hide_from=0.8, unscored="demote")
    decision = dataclasses.replace(Decision.of("moderate", rules), context_rule=2)
    records = [{"probability": 0.5}, {"probability": 0.9}, {}]
    found = explain(records, decision)
    assert decision.functions
    copy = pickle.loads(pickle.dumps(decision))
    assert copy == decision
    assert explain(records, copy) == found
    assert copy.cache_key == decision.cache_key


MIXED = Level(
    demote_from=0.2,
    hide_from=0.8,
    unscored="demote",
    failed="hide",
    not_read="demote",
    no_image="show",
    blocked="demote",
)


@pytest.mark.parametrize(
    ("record", "action", "rule", "factor"),
    [
        ({"probability": 0.0}, "shown", "below_thresholds", 1),
        ({"probability": 0.1999999}, "shown", "below_thresholds", 1),
        ({"probability": 0.2}, "demoted", "demote_from", 1),
        ({"probability": 0.5}, "demoted", "demote_from", 0.1**0.5),
        ({"probability": 0.8}, "hidden", "hide_from", None),
        ({}, "demoted", "unscored", 0.1),
        ({"status": "failed"}, "hidden", "failed", None),
        ({"status": "failed", "probability": 0.9}, "hidden", "hide_from", None),
        ({"status": "not_read", "probability": 0.1}, "demoted", "not_read", 0.1),
        ({"status": ["failed", "not_read"]}, "hidden", "failed", None),
        ({"status": "no_image"}, "shown", "no_image", 1),
        ({"probability": 0.9, "override": "allow"}, "shown", "override_allow", 1),
        ({"probability": 0.1, "override": "block"}, "demoted", "override_block", 0.1),
    ],
)
def test_each_document_is_told_apart(
    record: dict[str, Any], action: str, rule: str, factor: float | None
) -> None:
    (found,) = explain([record], Decision.of(level_name="moderate", level=MIXED))
    assert (found.action, found.rule) == (action, rule)
    assert found.factor == (None if factor is None else pytest.approx(factor, rel=1e-6))


def test_a_failed_document_that_is_demoted_anyway_names_the_smaller_factor() -> None:
    rules = Level(demote_from=0.2, unscored="show", failed="demote")
    (found,) = explain(
        [{"status": "failed", "probability": 0.21}], Decision.of(level_name="x", level=rules)
    )
    assert (found.rule, found.factor) == ("failed", 0.1)


def test_the_dictionary_has_short_numbers() -> None:
    (found,) = explain([{"probability": 0.3}], Decision.of(level_name="moderate", level=MIXED))
    assert found.to_dict() == {
        "action": "demoted",
        "blur": False,
        "rule": "demote_from",
        "factor": pytest.approx(0.1 ** (1 / 6), rel=1e-6),
        "probability": 0.3,
        "blur_from": None,
        "demote_from": 0.2,
        "hide_from": 0.8,
        "level": "moderate",
    }


def test_what_falls_to_the_floor_because_of_any_category_is_one_function() -> None:
    policy = load_policy(
        "version: 2\n"
        "categories: {a: {field: one}, b: {field: other}, c: {field: third}}\n"
        "levels:\n"
        "  moderate:\n"
        "    a: {demote_from: 0.2, hide_from: 0.8, unscored: demote}\n"
        "    b: {demote_from: 0.3, unscored: show, failed: demote}\n"
        "    c: {hide_from: 0.5, unscored: show, blocked: demote}\n"
        "contexts: [{level: moderate}]\n"
    )
    decision = policy.resolve()
    for functions in (decision.scoring["functions"], decision.scoring_few["functions"]):
        assert [next(iter(one.get("exp", one))) for one in functions] == [
            "one.probability",
            "other.probability",
            "filter",
        ]
        clauses = functions[-1]["filter"]["bool"]["should"]
        assert functions[-1]["weight"] == 0.1
        # Unscored or failed by a, failed by b, and the three ways to be blocked by c.
        assert [str(clause).count("third.") > 0 for clause in clauses] == [
            False,
            False,
            True,
            True,
            True,
        ]
