"""What was done to each hit, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from saferank.mappings.fields import SafetyFields
from saferank.ranker.decision import Decision
from saferank.ranker.levels import Level, Treatment
from saferank.ranker.states import States


class Action(StrEnum):
    """What a level does to a document."""

    SHOWN = "shown"
    DEMOTED = "demoted"
    HIDDEN = "hidden"


class Rule(StrEnum):
    """Which part of a level decided about a document."""

    ALLOWED = "override_allow"
    BLOCKED = "override_block"
    HIDE_FROM = "hide_from"
    DEMOTE_FROM = "demote_from"
    UNSCORED = "unscored"
    FAILED = "failed"
    NO_IMAGE = "no_image"
    BELOW_THRESHOLDS = "below_thresholds"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was done to one document, and why.

    Attributes:
        action: what happens to it.
        rule: which part of the level decided.
        factor: on its relevance, in (0, 1]; None when hidden.
        probability: its probability, 0..1, as float32; None without one that counts.
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
    states = States.of(records, decision.model)
    judged = decision.judge(states)
    rules = decision.rules
    result = []
    for number in range(len(judged.factor)):
        hidden, demoted = bool(judged.hidden[number]), bool(judged.demoted[number])
        action = Action.HIDDEN if hidden else Action.DEMOTED if demoted else Action.SHOWN
        probability = float(states.probability[number])
        result.append(
            Explanation(
                action=action,
                rule=_rule(states, number, rules, action),
                factor=None if hidden else float(judged.factor[number]),
                probability=None if np.isnan(probability) else probability,
                demote_from=rules.demote_from,
                hide_from=rules.hide_from,
                level=decision.level,
            )
        )
    return result


def _rule(states: States, number: int, rules: Level, action: Action) -> Rule:
    """The part of the level that led to this action."""
    if states.allowed[number]:
        return Rule.ALLOWED
    if states.blocked[number]:
        return Rule.BLOCKED
    thresholds = {Action.HIDDEN: rules.hide_from, Action.DEMOTED: rules.demote_from}
    threshold = thresholds.get(action)
    over = threshold is not None and states.probability[number] >= np.float32(threshold)
    treatment = _TREATMENTS[action]
    for kind in rules.treats(treatment):
        # Of two reasons for a factor, the floor is the smaller one.
        if getattr(states, kind)[number] and not (over and action is Action.HIDDEN):
            return Rule(kind)
    if over:
        return Rule.HIDE_FROM if action is Action.HIDDEN else Rule.DEMOTE_FROM
    return Rule.BELOW_THRESHOLDS


_TREATMENTS = {
    Action.SHOWN: Treatment.SHOW,
    Action.DEMOTED: Treatment.DEMOTE,
    Action.HIDDEN: Treatment.HIDE,
}


def record_of(hit: Mapping[str, Any], fields: SafetyFields) -> dict[str, Any]:
    """The safety fields of a hit: from its ``fields`` where they are there, else its ``_source``.

    A hit that was asked for neither looks as if it had no probability.
    """
    found = hit.get("fields") or {}
    source = hit.get("_source") or {}
    paths = {
        "probability": fields.probability,
        "model": fields.model,
        "status": fields.status,
        "override": fields.override,
    }
    if any(path in found for path in paths.values()):
        return {key: found.get(path) for key, path in paths.items()}
    return {key: _lookup(source, path.split(".")) for key, path in paths.items()}


def _lookup(value: Any, path: Sequence[str]) -> Any:
    """The value at a path of a source, whose keys may have dots in them; None if there is none."""
    if not path:
        return value
    if not isinstance(value, Mapping):
        return None
    for end in range(1, len(path) + 1):
        key = ".".join(path[:end])
        if key in value and (found := _lookup(value[key], path[end:])) is not None:
            return found
    return None


def _short(value: float | None) -> float | None:
    """The shortest number that rounds to the same float32: 0.2, not 0.20000000298."""
    return None if value is None else float(str(np.float32(value)))
