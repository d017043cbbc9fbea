"""What was done to each hit, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from saferank.ranker.decision import Decision, Judgement
from saferank.ranker.levels import shortest
from saferank.ranker.states import States
from saferank.ranker.verdicts import Action, Rule


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was done to one document, and why.

    Attributes:
        action: what happens to it.
        rule: which part of the level decided.
        factor: on its relevance, in (0, 1]; None when hidden.
        probability: its probability, 0..1; None without one that counts.
        demote_from, hide_from: the thresholds of the level, None where it has none.
        level: name of the level.
    """

    action: Action
    rule: Rule
    factor: float | None
    probability: float | None
    demote_from: float | None
    hide_from: float | None
    level: str

    def to_dict(self) -> dict[str, Any]:
        """As put into a hit, under the key ``saferank``; numbers as short as float32 allows."""
        return {
            "action": str(self.action),
            "rule": str(self.rule),
            "factor": self.factor,
            "probability": _short(self.probability),
            "demote_from": _short(self.demote_from),
            "hide_from": _short(self.hide_from),
            "level": self.level,
        }


def explain(records: Iterable[Mapping[str, Any]], decision: Decision) -> list[Explanation]:
    """Explain what the decision does to documents.

    Args:
        records: one a document, as ``States.of`` takes them; ``record_of`` reads one from a hit.
        decision: the level that holds.
    """
    _, described = describe(States.of(list(records), decision.model), decision)
    return [
        Explanation(**{**told, "action": Action(told["action"]), "rule": Rule(told["rule"])})
        for told in described
    ]


def describe(states: States, decision: Decision) -> tuple[Judgement, list[dict[str, Any]]]:
    """As ``explain``, in the form that is put into hits; made for every search, so it is fast.

    Returns:
        The judgement of the documents, and for each a dictionary that is the caller's own.
    """
    judged = decision.judge(states)
    verdicts = judged.verdict.tolist()
    templates = {place: _template(place, decision) for place in set(verdicts)}
    # Copied first and changed then: twice as fast as made of parts.
    result = [templates[place].copy() for place in verdicts]
    for told, value in zip(result, states.values, strict=True):
        told["probability"] = value
    factors = judged.factor.tolist()
    for number in judged.demoted.nonzero()[0].tolist():
        result[number]["factor"] = factors[number]
    return judged, result


def _template(place: int, decision: Decision) -> dict[str, Any]:
    """What is the same for all documents of a verdict."""
    verdict, rules = decision.verdicts.table[place], decision.rules
    return {
        "action": str(verdict.action),
        "rule": str(verdict.rule),
        "factor": 1.0 if verdict.action is Action.SHOWN else None,
        "probability": None,
        "demote_from": _short(rules.demote_from),
        "hide_from": _short(rules.hide_from),
        "level": decision.level,
    }


@lru_cache(maxsize=4096)
def _short(value: float | None) -> float | None:
    return None if value is None else shortest(value)
