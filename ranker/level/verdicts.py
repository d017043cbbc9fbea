"""What a level does to a document: one table, by the document's state and its probability.

The first line that applies decides:

===================  ==========================================================================
allowed              shown
blocked              what the level says about ``blocked``
``hide_from`` on     hidden
a state to hide      hidden: failed, no image, unscored, as the level says
a state to demote    demoted to the floor, the smallest factor there is
``demote_from`` on   demoted, by the factor of the probability
anything else        shown
===================  ==========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from saferank.ranker.level.level import Level, Treatment
from saferank.ranker.level.states import KINDS


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


class Range(IntEnum):
    """Where a probability lies; none at all lies below."""

    BELOW = 0
    DEMOTE = 1
    HIDE = 2


_BELOW, _DEMOTE, _HIDE = map(int, Range)
_RANGES = len(Range)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to a document, and which part of the level said so."""

    action: Action
    rule: Rule

    @property
    def by_probability(self) -> bool:
        """Whether it is demoted by as much as its probability says."""
        return self.action is Action.DEMOTED and self.rule is Rule.DEMOTE_FROM


def verdict(rules: Level, state: Set[str], probability: Range) -> Verdict:
    """The verdict on a document.

    Args:
        rules: the level.
        state: names out of ``KINDS``; none for a document that is scored and undecided.
        probability: where its probability lies.
    """
    if "allowed" in state:
        return Verdict(Action.SHOWN, Rule.ALLOWED)
    if "blocked" in state:
        return Verdict(_ACTIONS[rules.blocked], Rule.BLOCKED)
    if probability is Range.HIDE:
        return Verdict(Action.HIDDEN, Rule.HIDE_FROM)
    for treatment in (Treatment.HIDE, Treatment.DEMOTE):
        for kind in rules.treats(treatment):
            if kind in state:
                return Verdict(_ACTIONS[treatment], Rule(kind))
    if probability is Range.DEMOTE:
        return Verdict(Action.DEMOTED, Rule.DEMOTE_FROM)
    for kind in rules.treats(Treatment.SHOW):
        if kind in state:
            return Verdict(Action.SHOWN, Rule(kind))
    return Verdict(Action.SHOWN, Rule.BELOW_THRESHOLDS)


_ACTIONS = {
    Treatment.SHOW: Action.SHOWN,
    Treatment.DEMOTE: Action.DEMOTED,
    Treatment.HIDE: Action.HIDDEN,
}


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of a level on every state and range, M of them.

    Attributes:
        rules: the level.
        table: at ``code * len(Range) + range``, for the codes of ``States``.
    """

    rules: Level
    table: tuple[Verdict, ...]

    @classmethod
    def of(cls, rules: Level) -> Verdicts:
        """The table of a level."""
        table = tuple(
            verdict(rules, {kind for kind, bit in KINDS.items() if code & bit}, probability)
            for code in range(1 << len(KINDS))
            for probability in Range
        )
        return cls(rules, table)

    def find(self, codes: Iterable[int], probabilities: Iterable[float]) -> list[int]:
        """The place in the table of each document's verdict.

        Args:
            codes: of N documents, as ``States`` has them.
            probabilities: of the same documents, as the engine has them.
        """
        lower, upper = self.rules.demote_from, self.rules.hide_from
        hide = math.nan if upper is None else upper  # Nothing is at least NaN.
        start = hide if lower is None else lower
        return [
            code * _RANGES + ((_HIDE if value >= hide else _DEMOTE) if value >= start else _BELOW)
            for code, value in zip(codes, probabilities, strict=True)
        ]
