"""What changes from one file of labelled probabilities to another: of models, or of times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import fisher_exact

from saferank.calibration.guarantee import Counted, Rate, counted
from saferank.calibration.labels import Labels


@dataclass(frozen=True)
class Moved:
    """A document on another side of a threshold than before.

    Attributes:
        name: what it is called.
        before, after: its probabilities.
        positive: its label.
    """

    name: str
    before: float
    after: float
    positive: bool

    @property
    def worse(self) -> bool:
        """Whether it was on the right side before."""
        return self.positive is (self.after < self.before)


@dataclass(frozen=True)
class RateChange:
    """A rate in both files, and the chance of such a difference if it were one."""

    rate: Rate
    before: Counted
    after: Counted
    p: float


@dataclass(frozen=True)
class Drift:
    """What changes at one threshold.

    Attributes:
        threshold: a float32 value.
        both: how many names both files have.
        moved: those of them on another side, by how far they moved; the farthest first.
        rates: of all examples of each file.
    """

    threshold: float
    both: int
    moved: list[Moved]
    rates: list[RateChange]


def relabelled(before: Labels, after: Labels) -> list[str]:
    """Names that both files have with different labels."""
    known = dict(zip(before.names, before.truth.tolist(), strict=True))
    return [
        name
        for name, truth in zip(after.names, after.truth.tolist(), strict=True)
        if known.get(name, truth) is not truth
    ]


def compare(
    before: Labels, after: Labels, thresholds: Sequence[float], *, confidence: float, seed: int = 0
) -> list[Drift]:
    """Compare two files at each threshold; the labels of ``after`` hold."""
    places = {name: place for place, name in enumerate(before.names)}
    pairs = [(places[name], at) for at, name in enumerate(after.names) if name in places]
    return [
        Drift(
            threshold,
            len(pairs),
            sorted(
                _moved(before, after, pairs, threshold),
                key=lambda one: -abs(one.after - one.before),
            ),
            list(_rates(before, after, threshold, confidence, seed)),
        )
        for threshold in thresholds
    ]


def _moved(
    before: Labels, after: Labels, pairs: Sequence[tuple[int, int]], threshold: float
) -> Iterator[Moved]:
    reached_before = before.probabilities >= np.float32(threshold)
    reached_after = after.probabilities >= np.float32(threshold)
    for old, new in pairs:
        if reached_before[old] != reached_after[new]:
            yield Moved(
                after.names[new],
                float(before.probabilities[old]),
                float(after.probabilities[new]),
                bool(after.truth[new]),
            )


def _rates(
    before: Labels, after: Labels, threshold: float, confidence: float, seed: int
) -> Iterator[RateChange]:
    old = dict(counted(before, threshold, confidence, seed))
    new = dict(counted(after, threshold, confidence, seed))
    for rate in (Rate.MISS, Rate.FALSE_ALARM):
        table = [[one[rate].hits, one[rate].of - one[rate].hits] for one in (old, new)]
        yield RateChange(rate, old[rate], new[rate], float(fisher_exact(table)[1]))
