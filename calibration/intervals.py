"""Exact intervals of a share, from the binomial distribution.

Clopper and Pearson (1934): whatever the true share, such an interval has it in at least the
wanted part of all samples. So it is a little wide, most so with few examples.
"""

from __future__ import annotations

from typing import NamedTuple

from scipy.stats import beta


class Interval(NamedTuple):
    """From ``low`` to ``high``, both in it."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}"


NOTHING_KNOWN = Interval(0.0, 1.0)
"""Of a share of none."""


def binomial_interval(hits: int, of: int, confidence: float) -> Interval:
    """Two-sided interval of a share.

    Args:
        hits: examples with the property, 0 to ``of``.
        of: independent examples.
        confidence: in 0..1, both not included.
    """
    tail = (1 - confidence) / 2
    return Interval(lowest(hits, of, 1 - tail), highest(hits, of, 1 - tail))


def lowest(hits: int, of: int, confidence: float) -> float:
    """One-sided lower bound: the true share is higher with this confidence."""
    return 0.0 if hits == 0 else float(beta.ppf(1 - confidence, hits, of - hits + 1))


def highest(hits: int, of: int, confidence: float) -> float:
    """One-sided upper bound: the true share is lower with this confidence."""
    return 1.0 if hits == of else float(beta.ppf(confidence, hits + 1, of - hits))
