"""What a level does to a document: one table, by the document's state and its probability; and, as
queries, which documents it hides.

The first line that applies decides:

===================  ==========================================================================
allowed              shown
blocked              what the level says about ``blocked``
``hide_from`` on     hidden
a state to hide      hidden: failed, not read, no image, unscored, as the level says
a state to demote    demoted to the floor, the smallest factor there is
``demote_from`` on   demoted, by the factor of the probability
``blur_from`` on     blurred: shown where it is, and marked
a state to blur      blurred
anything else        shown
===================  ==========================================================================

A demoted document that one of the lines about blur fits is marked as well.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum

from saferank.ranker.bodies import Query
from saferank.ranker.level.level import Level, Treatment
from saferank.ranker.level.states import BLOCK, STATES, StateQueries, any_of, none_of
from saferank.ranker.level.thresholds import Range, blur_range, hide_range


class Action(StrEnum):
    """What a level does to a document."""

    SHOWN = "shown"
    BLURRED = "blurred"
    DEMOTED = "demoted"
    HIDDEN = "hidden"


class Rule(StrEnum):
    """Which part of a level decided about a document."""

    ALLOWED = "override_allow"
    BLOCKED = "override_block"
    HIDE_FROM = "hide_from"
    DEMOTE_FROM = "demote_from"
    BLUR_FROM = "blur_from"
    UNSCORED = "unscored"
    FAILED = "failed"
    NOT_READ = "not_read"
    NO_IMAGE = "no_image"
    BELOW_THRESHOLDS = "below_thresholds"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to a document, and which part of the level said so.

    Attributes:
        action: what happens to it.
        rule: which part of the level said so.
        blur: whether it is to be blurred, as a demoted document can be, too.
    """

    action: Action
    rule: Rule
    blur: bool = False

    @property
    def by_probability(self) -> bool:
        """Whether it is demoted by as much as its probability says."""
        return self.action is Action.DEMOTED and self.rule is Rule.DEMOTE_FROM


def verdict(level: Level, state: Set[str], probability: Range) -> Verdict:
    """The verdict on a document.

    Args:
        level: the level.
        state: names out of ``STATES``; none for a document that is scored and undecided.
        probability: where its probability lies.
    """
    if "allowed" in state:
        return Verdict(Action.SHOWN, Rule.ALLOWED)
    if "blocked" in state:
        return Verdict(ACTIONS[level.blocked], Rule.BLOCKED, blur=level.blocked is Treatment.BLUR)

    def by_state(treatment: Treatment) -> Rule | None:
        names = (name for name in level.treats(treatment) if name in state)
        return next(map(Rule, names), None)

    hiding = Rule.HIDE_FROM if probability is Range.HIDE else by_state(Treatment.HIDE)
    if hiding is not None:
        return Verdict(Action.HIDDEN, hiding)
    blurring = Rule.BLUR_FROM if probability.blurs else by_state(Treatment.BLUR)
    blur = blurring is not None
    demoting = by_state(Treatment.DEMOTE) or (Rule.DEMOTE_FROM if probability.demotes else None)
    if demoting is not None:
        return Verdict(Action.DEMOTED, demoting, blur)
    if blurring is not None:
        return Verdict(Action.BLURRED, blurring, blur)
    return Verdict(Action.SHOWN, by_state(Treatment.SHOW) or Rule.BELOW_THRESHOLDS)


ACTIONS = {
    Treatment.SHOW: Action.SHOWN,
    Treatment.BLUR: Action.BLURRED,
    Treatment.DEMOTE: Action.DEMOTED,
    Treatment.HIDE: Action.HIDDEN,
}
"""What each treatment does."""


def verdicts(level: Level) -> list[list[Verdict]]:
    """All verdicts of a level: by the code of ``States``, then by the range of the probability."""
    return [
        [
            verdict(level, {name for name, bit in STATES.items() if code & bit}, probability)
            for probability in Range
        ]
        for code in range(1 << len(STATES))
    ]


def hidden(level: Level, queries: StateQueries) -> list[Query]:
    """Queries of which a hidden document matches at least one, for ``must_not``."""
    return queries.treated(level, Treatment.HIDE, *queries.in_range(hide_range(level)))


def blurred(level: Level, queries: StateQueries) -> list[Query]:
    """Queries of which a document to be blurred matches at least one (a hidden one may, too)."""
    return queries.treated(level, Treatment.BLUR, *queries.in_range(blur_range(level)))


def visible(level: Level, queries: StateQueries) -> Query:
    """Clauses of a ``bool`` that only documents match that are not hidden; empty: all match.

    The same as ``must_not`` with ``hidden``, in the form that costs least. Beside ``must_not`` the
    engine scores the gaps between excluded documents one by one, which makes a query several times
    slower where many are excluded. Beside a filter it skips as it does without one; but a filter
    that only negates is turned into ``must_not``, so this one has a second branch.
    """
    conditions = [*queries.in_range(hide_range(level)), *queries.unusual(level, Treatment.HIDE)]
    if level.blocked is not Treatment.HIDE:
        undecided = none_of(conditions)
        return {"filter": [any_of([undecided, queries.decided])]} if conditions else {}
    if not conditions:
        return {"must_not": queries.blocked}
    undecided = none_of([*conditions, queries.decided])
    return {
        "filter": [any_of([undecided, *queries.allowed])],
        "must_not": [queries.override(BLOCK)],
    }
