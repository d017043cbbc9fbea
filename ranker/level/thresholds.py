"""Where a probability lies between the thresholds of a level: in numbers, queries and ES|QL.

A threshold belongs to the range above it: a probability equal to ``hide_from`` is hidden. That is
decided here and nowhere else; pages and descriptions say it in words ("from … on"). Both sides of
each comparison are float32 values.

===============  ===========================================
below            no threshold is reached
blur             from ``blur_from`` to below ``hide_from``
demote           from ``demote_from`` to below ``hide_from``
demote and blur  where both are
hide             from ``hide_from`` on
===============  ===========================================

A probability outside 0..1, which only others than saferank write, counts as 1: it lies in the
highest range that the level has.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from saferank.ranker.bodies import Query
from saferank.ranker.level.level import Level

# The engine orders -0.0 before 0.0; a bound of zero must put both on the same side.
_ZERO = -0.0
_ABOVE_ONE = 1.0000001192092896  # The float32 value that follows 1.


class Range(IntEnum):
    """Where a probability lies; none at all lies below."""

    BELOW = 0
    BLUR = 1
    DEMOTE = 2
    DEMOTE_AND_BLUR = 3
    HIDE = 4

    @property
    def blurs(self) -> bool:
        """Whether the level blurs what lies here."""
        return self in (Range.BLUR, Range.DEMOTE_AND_BLUR)

    @property
    def demotes(self) -> bool:
        """Whether the level demotes what lies here."""
        return self in (Range.DEMOTE, Range.DEMOTE_AND_BLUR)


class Ranges(NamedTuple):
    """The ranges of one level.

    Attributes:
        starts: where a range begins, ascending; infinity, which no probability reaches, at the end.
        ranges: the one below them all, then the one that begins at each.
    """

    starts: list[float]
    ranges: list[Range]

    @classmethod
    def of(cls, level: Level) -> Ranges:
        """The ranges of a level."""
        starts = sorted(set(level.thresholds.values()))
        # Nothing is below NaN, so a search for its place ends behind infinity.
        ranges = [Range.BELOW, *(_range_from(start, level) for start in starts), Range.BELOW]
        return cls([*starts, math.inf], ranges)

    def each(self, probabilities: Iterable[float]) -> list[Range]:
        """Where each of N probabilities lies.

        Args:
            probabilities: float32 values in 0..1, or NaN for none.
        """
        starts, ranges = self
        return [ranges[bisect_right(starts, value)] for value in probabilities]


def _range_from(start: float, level: Level) -> Range:
    """The range that a threshold is in."""
    blur, demote, hide = (
        value is not None and start >= value
        for value in (level.blur_from, level.demote_from, level.hide_from)
    )
    if hide:
        return Range.HIDE
    return Range(demote * Range.DEMOTE + blur * Range.BLUR)


@dataclass(frozen=True, slots=True)
class Interval:
    """The same ranges for the engine.

    Attributes:
        at_least: where it begins, a float32 value.
        below: where it ends, likewise; None for the highest range, which has all that counts as 1.
    """

    at_least: float
    below: float | None = None

    def queries(self, field: str) -> list[Query]:
        """Queries of which a document in the interval matches at least one."""
        start = self.at_least if self.at_least > 0 else _ZERO
        if self.below is not None:
            return [{"range": {field: {"gte": start, "lt": self.below}}}]
        return [{"range": {field: {"gte": start}}}, {"range": {field: {"lt": _ZERO}}}]

    def esql_outside(self, field: str) -> str:
        """A condition of ES|QL that is true for probabilities below the highest range."""
        return f"({field} >= 0 AND {field} < {self.at_least!r})"


def beyond(field: str) -> list[Query]:
    """Queries of which a document matches one if its probability lies outside 0..1."""
    return [{"range": {field: {"gt": 1}}}, {"range": {field: {"lt": _ZERO}}}]


def hide_range(level: Level) -> Interval | None:
    """The probabilities that the level hides, or None when its thresholds hide nothing."""
    return None if level.hide_from is None else Interval(level.hide_from)


def demote_range(level: Level) -> Interval | None:
    """The probabilities that the level demotes, or None when its thresholds demote nothing."""
    if level.demote_from is None:
        return None
    return Interval(level.demote_from, level.hide_from)


def blur_range(level: Level) -> Interval | None:
    """The probabilities that the level blurs, or None when its thresholds blur nothing."""
    if level.blur_from is None:
        return None
    return Interval(level.blur_from, level.hide_from)


def curve_range(level: Level) -> Interval | None:
    """The part of ``demote_range`` over which the factor falls: without what only counts as 1."""
    if level.demote_from is None:
        return None
    return Interval(level.demote_from, _ABOVE_ONE if level.hide_from is None else level.hide_from)
