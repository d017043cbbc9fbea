"""Overrides outside of the documents, in the queries of a level."""

import pytest

from saferank.errors import PolicyError, UnsafeRequest
from saferank.mappings.fields import SafetyFields
from saferank.mappings.overrides import OverrideRecord, Overrides
from saferank.mappings.record import Override
from saferank.ranker.client.every_level import check_request
from saferank.ranker.client.flow import Knowledge, know_overrides
from saferank.ranker.esql import where
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Level, Treatment
from saferank.ranker.level.states import StateQueries
from saferank.ranker.policy.load import load_policy
from saferank.ranker.rewrite.search import rewrite_search

LEVELS = "levels:\n  all: {blocked: show}\n  off: {}\ncontexts: [{level: off}]\n"
POLICY = load_policy(f"version: 1\noverrides: kept\n{LEVELS}")
BLOCK = OverrideRecord(Override.BLOCK, "ann")
OVERRIDES = Overrides({"x": {"1": BLOCK, "0": BLOCK}})
QUERIES = StateQueries(SafetyFields())
BLOCKED = QUERIES.blocked
ELSEWHERE = {"bool": {"filter": [{"term": {"_index": "x"}}, {"terms": {"_id": ["0", "1"]}}]}}


def test_they_hide_beside_what_documents_say() -> None:
    decision = POLICY.decision_for("off").knowing(OVERRIDES)
    assert decision.hidden == [*BLOCKED, ELSEWHERE]
    assert decision.visible == {"must_not": [*BLOCKED, ELSEWHERE, QUERIES.unmapped_fails]}
    assert POLICY.decision_for("off").knowing(Overrides()).hidden == BLOCKED


def test_a_level_that_hides_more_looks_for_them_apart_from_its_filter() -> None:
    level = Level(hide_from=0.5, unscored=Treatment.HIDE)
    visible = Decision.of("strict", level, overrides=OVERRIDES).visible
    assert ELSEWHERE in visible["must_not"]


def test_every_level_is_tried_without_knowing_them() -> None:
    assert check_request({"query": {"match_all": {}}}, POLICY) == {}


def test_what_is_not_known_is_not_taken_for_nothing() -> None:
    with pytest.raises(UnsafeRequest, match=r"decision\.knowing"):
        rewrite_search({}, POLICY.decision_for("off"))
    with pytest.raises(UnsafeRequest, match=r"ES\|QL cannot look"):
        where(POLICY.decision_for("off").knowing(OVERRIDES))


def test_a_level_that_shows_what_is_blocked_needs_none() -> None:
    decision = POLICY.decision_for("all")
    assert decision.hidden == []
    assert where(decision)
    with pytest.raises(StopIteration) as stop:
        next(know_overrides(decision, Knowledge()))
    assert stop.value.value is decision


@pytest.mark.parametrize("treatment", ["blur", "demote"])
def test_a_level_that_does_not_hide_what_is_blocked_is_refused(treatment: str) -> None:
    with pytest.raises(PolicyError, match=r"line 4: .*can hide, not blur nor demote"):
        load_policy(
            f"version: 1\noverrides: kept\nlevels:\n  off: {{blocked: {treatment}}}\n"
            "contexts: [{level: off}]\n"
        )


def test_results_are_cached_apart_from_those_without_overrides() -> None:
    without = load_policy(f"version: 1\n{LEVELS}")
    decision = POLICY.decision_for("off")
    assert decision.cache_key != without.decision_for("off").cache_key
    assert decision.knowing(OVERRIDES).cache_key == decision.cache_key
