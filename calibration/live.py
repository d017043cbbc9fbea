"""What thresholds come to in a live index: shares hidden, and precision at its own prevalence.

A labelled sample often has far more positives than the index. There are two ways out:

**Labels with weights** are a sample of the index: prevalence and precision are shares in it, with
exact intervals (after thinning, see ``guarantee``).

**Labels without** are taken to have, within each class, the same distribution of probabilities as
the index (label shift). Then the index's own distribution is a mixture of both, and the prevalence
is the share that makes it most likely (maximum likelihood over bins of probabilities; Saerens,
Latinne and Decaestecker, 2002, find the same by expectation and maximisation). Precision at a
threshold is prevalence · found / share of the index that reaches it. Intervals are those of a
bootstrap of labels and index. Whether the best mixture looks like the index is tested, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from saferank.calibration.guarantee import Rate, counted, thinned
from saferank.calibration.intervals import Interval, binomial_interval
from saferank.calibration.labels import Labels

Floats = NDArray[np.float64]

_BINS = 8
"""Bins that hold alike many examples of each class."""
_RESAMPLES = 2000
_STEPS = 40
"""Halvings of the interval 0..1 in which the prevalence is looked for."""
UNLIKELY = 0.01
"""Below this chance, an index is said not to be a mixture of the labelled classes."""


@dataclass(frozen=True)
class Reached:
    """How many documents of an index reach each of M thresholds.

    Attributes:
        index: name of the index.
        documents: with a probability that counts, and without a person's decision.
        thresholds: (M,) float32 values, ascending.
        counts: (M,) documents.
    """

    index: str
    documents: int
    thresholds: Sequence[float]
    counts: Sequence[int]

    @cached_property
    def share(self) -> dict[float, float]:
        """Threshold -> share of the documents."""
        return {
            threshold: count / self.documents
            for threshold, count in zip(self.thresholds, self.counts, strict=True)
        }


@dataclass(frozen=True)
class Estimate:
    """A number that was estimated, with its interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class AtThreshold:
    """What a threshold comes to in the index.

    Attributes:
        threshold: a float32 value.
        share: of the documents that reach it, counted.
        precision: share of positives among them; None when no document reaches it.
    """

    threshold: float
    share: float
    precision: Estimate | None


@dataclass(frozen=True)
class Live:
    """The estimate for an index.

    Attributes:
        reached: what was counted there.
        prevalence: share of positives among its documents.
        rows: one a threshold.
        weighted: whether the labels are a sample of the index.
        fit: chance of an index that is less like a mixture of the labelled classes, if this one is
            one; None for weighted labels, which assume no mixture.
    """

    reached: Reached
    prevalence: Estimate
    rows: Sequence[AtThreshold]
    weighted: bool
    fit: float | None


def edges(labels: Labels, thresholds: Sequence[float]) -> list[float]:
    """The thresholds at which the index is to be counted: the given ones, and bounds of bins."""
    parts = np.linspace(0, 1, _BINS + 1)[1:-1]
    bounds = [
        np.quantile(
            labels.probabilities[labels.truth == truth], parts, method="closest_observation"
        )
        for truth in (False, True)
    ]
    return sorted({float(value) for value in np.concatenate(bounds)} | set(thresholds) - {0.0})


def estimate(
    labels: Labels,
    reached: Reached,
    thresholds: Sequence[float],
    *,
    confidence: float,
    seed: int = 0,
) -> Live:
    """Estimate prevalence and precision in an index with at least one document.

    Args:
        labels: the labelled examples.
        reached: counts in the index at ``edges(labels, thresholds)``.
        thresholds: to judge.
        confidence: of the intervals.
        seed: of what is drawn.
    """
    if labels.weights is not None:
        return _of_sample(labels, reached, thresholds, confidence, seed)
    return _Mixture(labels, reached, confidence, seed).live(thresholds)


def _of_sample(
    labels: Labels, reached: Reached, thresholds: Sequence[float], confidence: float, seed: int
) -> Live:
    draws = np.random.default_rng(seed).random(len(labels))
    kept = thinned(labels, np.ones(len(labels), np.bool_), draws)
    hits, of = int(labels.truth[kept].sum()), int(kept.sum())
    rows = []
    for threshold in thresholds:
        rate = dict(counted(labels, threshold, confidence, seed))[Rate.PRECISION]
        precision = Estimate(rate.share, rate.interval) if rate.of else None
        share = reached.share.get(threshold, 1.0)
        rows.append(AtThreshold(threshold, share, precision if share else None))
    prevalence = Estimate(hits / of, binomial_interval(hits, of, confidence))
    return Live(reached, prevalence, rows, weighted=True, fit=None)


class _Mixture:
    """The index as a mixture of both classes, over B bins between the counted thresholds."""

    def __init__(self, labels: Labels, reached: Reached, confidence: float, seed: int) -> None:
        self._reached = reached
        self._tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        bounds = np.array(reached.thresholds, np.float32)
        places = np.searchsorted(bounds, labels.probabilities, side="right")
        random = np.random.default_rng(seed)

        def of_class(truth: bool) -> tuple[Floats, Floats]:
            counts = np.bincount(places[labels.truth == truth], minlength=len(bounds) + 1)
            shares = _shares(counts)
            return shares, _shares(random.multinomial(counts.sum(), shares, _RESAMPLES))

        (positive, positives), (negative, negatives) = of_class(True), of_class(False)
        documents = reached.documents
        self._index = -np.diff([documents, *reached.counts, 0]) / documents
        self._value = _most_likely(positive, negative, self._index)
        self._found, self._found_again = positive, positives
        # The labels once more, and the index as if it were such a mixture.
        mixed = self._value * positive + (1 - self._value) * negative
        index = random.multinomial(documents, mixed, _RESAMPLES) / documents
        self._values = _most_likely(positives, negatives, index)
        distance = _distance(self._value, positive, negative, self._index)
        self._fit = float(np.mean(_distance(self._values, positives, negatives, index) >= distance))

    def live(self, thresholds: Sequence[float]) -> Live:
        prevalence = Estimate(float(self._value), self._interval(self._values))
        rows = [self._row(threshold) for threshold in thresholds]
        return Live(self._reached, prevalence, rows, weighted=False, fit=self._fit)

    def _row(self, threshold: float) -> AtThreshold:
        # The bins at and above a threshold follow its place among the bounds.
        first = sum(bound <= threshold for bound in self._reached.thresholds)
        share = float(self._index[first:].sum())
        if not share:
            return AtThreshold(threshold, 0.0, None)
        found, found_again = self._found[first:].sum(), self._found_again[:, first:].sum(axis=1)
        value = min(1.0, float(self._value * found / share))
        again = np.minimum(1.0, self._values * found_again / share)
        return AtThreshold(threshold, share, Estimate(value, self._interval(again)))

    def _interval(self, values: Floats) -> Interval:
        low, high = np.quantile(values, self._tails)
        return Interval(float(low), float(high))


def _shares(counts: NDArray[np.int64]) -> Floats:
    """Shares of bins; one example more is spread over all, so that none is impossible."""
    more = counts + 1 / counts.shape[-1]
    return np.asarray(more / more.sum(axis=-1, keepdims=True))


def _most_likely(positive: Floats, negative: Floats, index: Floats) -> Floats:
    """The prevalence that makes an index most likely.

    Args:
        positive, negative, index: (…, B) shares of the bins.

    Returns:
        (…), in 0..1: where the likelihood, which has one maximum, stops rising.
    """
    low = np.zeros(positive.shape[:-1])
    high = np.ones(positive.shape[:-1])
    for _ in range(_STEPS):
        middle = (low + high) / 2
        mixed = middle[..., None] * positive + (1 - middle[..., None]) * negative
        rising = (index * (positive - negative) / mixed).sum(axis=-1) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return np.asarray((low + high) / 2)


def _distance(value: Floats, positive: Floats, negative: Floats, index: Floats) -> Floats:
    """Share of the documents that lie otherwise than in the mixture."""
    mixed = value[..., None] * positive + (1 - value[..., None]) * negative
    return np.asarray(np.abs(mixed - index).sum(axis=-1) / 2)
