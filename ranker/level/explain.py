"""What was done to each hit, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saferank.ranker.level.level import shortest
from saferank.ranker.level.states import States
from saferank.ranker.level.verdicts import Action, Rule

if TYPE_CHECKING:
    from saferank.ranker.level.decision import Decision


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
    return [
        Explanation(**{**told, "action": Action(told["action"]), "rule": Rule(told["rule"])})
        for told in decision.describe(States.of(list(records), decision.model))
    ]


def _short(value: float | None) -> float | None:
    return None if value is None else shortest(value)
