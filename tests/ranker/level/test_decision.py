from __future__ import annotations

import pickle

from saferank.ranker.level.decision import Decision
from saferank.ranker.level.explain import explain
from saferank.ranker.level.level import Level


def test_a_decision_can_be_given_to_another_process() -> None:
    rules = Level(demote_from=0.2, hide_from=0.8, unscored="demote")
    decision = Decision(level="moderate", rules=rules, context_rule=2)
    records = [{"probability": 0.5}, {"probability": 0.9}, {}]
    found = explain(records, decision)
    assert decision.functions
    copy = pickle.loads(pickle.dumps(decision))
    assert copy == decision
    assert explain(records, copy) == found
    assert copy.cache_key == decision.cache_key
