"""Thresholds that keep a rate within a bound, with a guarantee that holds for any sample size.

Learn then Test (Angelopoulos et al., arXiv:2110.01052) by fixed sequences: thresholds are tested
one after the other, in an order that was fixed before any label was seen, until one fails; then
the chance that any threshold passed wrongly is at most 1 - confidence. The tests are exact
binomial ones.

- Misses and false alarms only grow along the order (upwards for misses, downwards for false
  alarms), so all float32 values are tested, by counting: no grid is needed.
- Precision may go up and down, and it cannot be told at all where few examples reach a threshold.
  So hundredths are tested, downwards, from ten starts that share the risk (Bonferroni).

Weighted examples are thinned first: one is kept with the probability weight / largest weight, so
that those kept are a plain sample of what the weights stand for, and the tests are exact again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from saferank.calibration.intervals import (
    NOTHING_KNOWN,
    Interval,
    binomial_interval,
    highest,
    lowest,
)
from saferank.calibration.labels import Labels
from saferank.errors import ConfigurationError
from saferank.mappings.float32 import as_float32


class Rate(StrEnum):
    """What is to be kept within a bound."""

    MISS = "miss"
    FALSE_ALARM = "false_alarm"
    PRECISION = "precision"

    @property
    def meaning(self) -> str:
        """In words."""
        return {
            Rate.MISS: "share of the positive class below the threshold",
            Rate.FALSE_ALARM: "share of the other class at or above the threshold",
            Rate.PRECISION: "share of the positive class at or above the threshold",
        }[self]


@dataclass(frozen=True)
class Wanted:
    """A rate with its bound.

    Attributes:
        rate: of a threshold.
        limit: at most for ``MISS`` and ``FALSE_ALARM``, at least for ``PRECISION``; above 0 and
            below 1.
    """

    rate: Rate
    limit: float

    def __post_init__(self) -> None:
        if not 0 < self.limit < 1:
            raise ConfigurationError(
                f"the bound of {self.rate.value} is {self.limit:g}; it lies above 0 and below 1"
            )


@dataclass(frozen=True)
class Counted:
    """A rate at a threshold.

    Attributes:
        hits: examples that count in it.
        of: examples among which they were counted.
        interval: exact, two-sided.
    """

    hits: int
    of: int
    interval: Interval

    @property
    def share(self) -> float:
        """The rate in the sample; NaN of none."""
        return self.hits / self.of if self.of else math.nan

    @classmethod
    def one(cls, hits: int, of: int, confidence: float) -> Counted:
        """With its interval."""
        interval = binomial_interval(hits, of, confidence) if of else NOTHING_KNOWN
        return cls(hits, of, interval)


@dataclass(frozen=True)
class Supported:
    """What the labels say about a wanted rate.

    Attributes:
        wanted: the rate and its bound.
        threshold: a float32 value that keeps it, with the wanted confidence; of all that do, the
            one that errs least the other way. None where the labels support none.
        counted: the rate at the threshold; None without one.
        bound: one-sided, with the wanted confidence: the rate is not beyond it.
        needed: examples that it takes at least to support any threshold, if none of them errs:
            positives for ``MISS``, negatives for ``FALSE_ALARM``, such that reach the threshold
            for ``PRECISION``.
        had: how many of these there are, after thinning.
    """

    wanted: Wanted
    threshold: float | None
    counted: Counted | None
    bound: float | None
    needed: int
    had: int


def supported(labels: Labels, wanted: Wanted, *, confidence: float, seed: int = 0) -> Supported:
    """Find the threshold that keeps a rate within its bound.

    The chance that it does not, over all samples of labels, is at most 1 - ``confidence``.

    Args:
        labels: a sample without choice by label within each class, or by ``weights``.
        wanted: the rate and its bound.
        confidence: above 0 and below 1.
        seed: of the thinning of weighted examples.
    """
    random = np.random.default_rng(seed)
    if wanted.rate is Rate.PRECISION:
        return _precision(labels, wanted, confidence, random)
    return _one_class(labels, wanted, confidence, random)


def needed(wanted: Wanted, confidence: float) -> int:
    """Examples without an error that support a threshold."""
    if wanted.rate is Rate.PRECISION:
        return _without_error(wanted.limit, (1 - confidence) / len(_STARTS))
    return _without_error(1 - wanted.limit, 1 - confidence)


def _without_error(right: float, risk: float) -> int:
    """The least n with right ** n ≤ risk."""
    n = math.ceil(math.log(risk) / math.log(right) - 1e-9)
    return n if right**n <= risk else n + 1


def thinned(
    labels: Labels, among: NDArray[np.bool_], draws: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Examples that make a plain sample of what those asked for stand for by their weights.

    Args:
        labels: N examples.
        among: (N,) those asked for; all of them are kept where there are no weights.
        draws: (N,) random numbers in [0, 1).
    """
    if labels.weights is None or not among.any():
        return among
    kept: NDArray[np.bool_] = draws * labels.weights[among].max() < labels.weights
    return among & kept


def _one_class(
    labels: Labels, wanted: Wanted, confidence: float, random: np.random.Generator
) -> Supported:
    misses = wanted.rate is Rate.MISS
    kept = thinned(labels, labels.truth == misses, random.random(len(labels)))
    values = np.sort(labels.probabilities[kept])
    count = len(values)
    errors = _most_errors(count, wanted.limit, 1 - confidence)
    threshold = None
    if errors >= 0:
        # The highest threshold below which there are no more, or the lowest that no more reach.
        threshold = float(values[errors]) if misses else _next_above(values[count - 1 - errors])
    if threshold is None or threshold > 1:
        return Supported(wanted, None, None, None, needed(wanted, confidence), count)
    below = int(np.searchsorted(values, np.float32(threshold)))
    hits = below if misses else count - below
    return Supported(
        wanted,
        threshold,
        Counted.one(hits, count, confidence),
        highest(hits, count, confidence),
        needed(wanted, confidence),
        count,
    )


def _next_above(value: np.float32) -> float:
    return float(np.nextafter(value, np.float32(2)))


def _most_errors(of: int, limit: float, risk: float) -> int:
    """The most errors that a rate above the limit makes with no more than this risk; -1 for none.

    All of them would be no test: the limit is below 1.
    """
    most = int(binom.ppf(risk, of, limit))
    while most >= 0 and binom.cdf(most, of, limit) > risk:
        most -= 1
    return min(most, of - 1)


_HUNDREDTHS = [as_float32(number / 100) for number in range(99, 0, -1)]
_STARTS = [as_float32(number / 100) for number in (99, 90, 80, 70, 60, 50, 40, 30, 20, 10)]


def _precision(
    labels: Labels, wanted: Wanted, confidence: float, random: np.random.Generator
) -> Supported:
    risk = (1 - confidence) / len(_STARTS)
    draws = random.random(len(labels))
    passed: dict[float, tuple[int, int]] = {}
    for start in _STARTS:
        for threshold in (value for value in _HUNDREDTHS if value <= start):
            hits, of = _reaching(labels, threshold, draws)
            if not of or lowest(hits, of, 1 - risk) < wanted.limit:
                break
            passed[threshold] = hits, of
    least = needed(wanted, confidence)
    if not passed:
        had = max(_reaching(labels, value, draws)[1] for value in _STARTS)
        return Supported(wanted, None, None, None, least, had)
    threshold = min(passed)
    hits, of = passed[threshold]
    return Supported(
        wanted, threshold, Counted.one(hits, of, confidence), lowest(hits, of, 1 - risk), least, of
    )


def _reaching(labels: Labels, threshold: float, draws: NDArray[np.float64]) -> tuple[int, int]:
    """Positives, and all, among those that reach a threshold, after thinning."""
    kept = thinned(labels, labels.probabilities >= np.float32(threshold), draws)
    return int(labels.truth[kept].sum()), int(kept.sum())


def counted(
    labels: Labels, threshold: float, confidence: float, seed: int = 0
) -> Iterator[tuple[Rate, Counted]]:
    """All three rates at a threshold, with exact intervals; weighted examples are thinned."""
    draws = np.random.default_rng(seed).random(len(labels))
    reaches = labels.probabilities >= np.float32(threshold)
    parts = {
        Rate.MISS: (labels.truth, ~reaches),
        Rate.FALSE_ALARM: (~labels.truth, reaches),
        Rate.PRECISION: (reaches, labels.truth),
    }
    for rate, (among, hit) in parts.items():
        kept = thinned(labels, among, draws)
        yield rate, Counted.one(int((kept & hit).sum()), int(kept.sum()), confidence)
