"""Rates and thresholds of groups of examples, and which groups differ beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import fisher_exact

from saferank.calibration.guarantee import Counted, Supported, counted, supported
from saferank.calibration.labels import Labels


@dataclass(frozen=True)
class GroupRate:
    """What one wanted rate comes to in one group.

    Attributes:
        column, value: name the group.
        overall: what holds for all examples; its threshold is judged here.
        counted: the rate in the group at that threshold; None without a threshold.
        own: what the group's examples alone support.
        p: of the group's rate and that of all others being one, by Fisher's exact test, adjusted
            by Holm for all groups and rates; None without a threshold.
    """

    column: str
    value: str
    overall: Supported
    counted: Counted | None
    own: Supported
    p: float | None = None


def by_group(
    labels: Labels, overall: Sequence[Supported], *, confidence: float, seed: int = 0
) -> list[GroupRate]:
    """Judge each group by each wanted rate.

    Args:
        labels: with the groups.
        overall: what all examples support.
        confidence: of intervals and thresholds.
        seed: of the thinning of weighted examples.
    """
    found, tests = [], []
    for column, values in labels.groups.items():
        named = np.array(values)
        for value in sorted(set(values)):
            inside = labels.part(named == value)
            outside = labels.part(named != value)
            for one in overall:
                own = supported(inside, one.wanted, confidence=confidence, seed=seed)
                rate = _rate(inside, one, confidence, seed)
                others = _rate(outside, one, confidence, seed)
                found.append(GroupRate(column, value, one, rate, own))
                tests.append(_differ(rate, others))
    return [replace(one, p=p) for one, p in zip(found, _holm(tests), strict=True)]


def _rate(labels: Labels, one: Supported, confidence: float, seed: int) -> Counted | None:
    if one.threshold is None:
        return None
    return dict(counted(labels, one.threshold, confidence, seed))[one.wanted.rate]


def _differ(rate: Counted | None, others: Counted | None) -> float | None:
    """Chance of rates that differ as much, if both were one; None where nothing can be tested."""
    if rate is None or others is None:
        return None
    table = [[one.hits, one.of - one.hits] for one in (rate, others)]
    return float(fisher_exact(table)[1])


def _holm(tests: Sequence[float | None]) -> list[float | None]:
    """Adjust for the number of tests (Holm, 1979)."""
    made = sorted((p, place) for place, p in enumerate(tests) if p is not None)
    adjusted: list[float | None] = [None] * len(tests)
    highest = 0.0
    for rank, (p, place) in enumerate(made):
        highest = max(highest, min(1.0, p * (len(made) - rank)))
        adjusted[place] = highest
    return adjusted
