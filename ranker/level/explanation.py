"""What a level did to one document, and why, as hits and responses say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from saferank.mappings.float32 import shortest
from saferank.ranker.level.verdicts import Action, Rule


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was done to one document, and why.

    Attributes:
        action: what happens to it.
        blur: whether it is to be blurred, as a demoted document can be, too.
        rule: which part of the level decided.
        factor: on its relevance, in (0, 1]; None when hidden.
        probability: its probability, 0..1; None without one that counts.
        blur_from, demote_from, hide_from: the thresholds of the level, None where it has none.
        level_name: of the level.
        category: the one that decided, whose rule, probability and thresholds these are; None in a
            policy of version 1.
        probabilities: of all categories, by name; empty in a policy of version 1.
    """

    action: Action
    blur: bool
    rule: Rule
    factor: float | None
    probability: float | None
    blur_from: float | None
    demote_from: float | None
    hide_from: float | None
    level_name: str
    category: str | None = None
    probabilities: Mapping[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As put into a hit, under the key ``saferank``; numbers as short as float32 allows."""
        told = {
            "action": str(self.action),
            "blur": self.blur,
            "rule": str(self.rule),
            "factor": self.factor,
            "probability": _short(self.probability),
            "blur_from": _short(self.blur_from),
            "demote_from": _short(self.demote_from),
            "hide_from": _short(self.hide_from),
            "level": self.level_name,
        }
        if self.category is None:
            return told
        probabilities = {name: _short(value) for name, value in self.probabilities.items()}
        return {**told, "category": self.category, "probabilities": probabilities}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Explanation:
        """Read what ``to_dict`` gave."""
        values = dict(told)
        name, action, rule = values.pop("level"), values.pop("action"), values.pop("rule")
        return cls(action=Action(action), rule=Rule(rule), level_name=name, **values)


def _short(value: float | None) -> float | None:
    return None if value is None else shortest(value)
