"""What each threshold finds and what it catches by mistake: ROC, precision and recall, areas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from saferank.calibration.intervals import Interval
from saferank.calibration.labels import Labels

Floats = NDArray[np.float64]

RESAMPLES = 1000
"""Samples that a bootstrap interval is made of."""


@dataclass(frozen=True)
class Curves:
    """What M thresholds come to, from the highest down; one for each different probability.

    Attributes:
        thresholds: (M,) float32; a probability equal to one has reached it.
        found: (M,) share of the positive class that reaches it.
        false_alarms: (M,) share of the other class that does.
        precision: (M,) share of positives among all that reach it.
    """

    thresholds: NDArray[np.float32]
    found: Floats
    false_alarms: Floats
    precision: Floats

    @classmethod
    def of(cls, labels: Labels) -> Curves:
        """The curves of labelled examples, by their weights where they have some."""
        truth, values, weights = labels.truth, labels.probabilities, labels.weights
        false, found, thresholds = roc_curve(
            truth, values, sample_weight=weights, drop_intermediate=False
        )
        precision, _, _ = precision_recall_curve(truth, values, sample_weight=weights)
        # Scikit-learn begins with an infinite threshold, which no document reaches, and ends the
        # precision, which goes upwards, with a 1 of no threshold.
        return cls(
            thresholds[1:].astype(np.float32), found[1:], false[1:], precision[:-1][::-1].copy()
        )


@dataclass(frozen=True)
class Area:
    """Area under a curve.

    Attributes:
        value: 0 to 1.
        interval: by a percentile bootstrap.
    """

    value: float
    interval: Interval


@dataclass(frozen=True)
class Areas:
    """Areas under both curves.

    Attributes:
        roc: under found against false alarms; 0.5 is chance.
        precision_recall: average precision; chance is the share of positives.
    """

    roc: Area
    precision_recall: Area

    @classmethod
    def of(cls, labels: Labels, *, confidence: float, seed: int) -> Areas:
        """Areas with intervals from ``RESAMPLES`` samples of the examples."""
        truth, values, weights = labels.truth, labels.probabilities, labels.weights
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = np.quantile(_resampled(labels, np.random.default_rng(seed)), tails, axis=0)
        roc = float(roc_auc_score(truth, values, sample_weight=weights))
        average = float(average_precision_score(truth, values, sample_weight=weights))
        return cls(
            Area(roc, Interval(float(low[0]), float(high[0]))),
            Area(average, Interval(float(low[1]), float(high[1]))),
        )


def _resampled(labels: Labels, random: np.random.Generator) -> Floats:
    """Both areas of samples with replacement, (R, 2); those with one class only are left out."""
    order = np.argsort(-labels.probabilities, kind="stable")
    values, truth = labels.probabilities[order], labels.truth[order]
    weights = np.ones(len(labels)) if labels.weights is None else labels.weights[order]
    # Last place of each different probability: what is equal is above a threshold together.
    ends = np.flatnonzero(np.append(np.diff(values) != 0, True))
    found = []
    for _ in range(RESAMPLES):
        drawn = random.integers(len(values), size=len(values))
        counts = np.bincount(drawn, minlength=len(values)) * weights
        areas = areas_of(counts, truth, ends)
        if areas is not None:
            found.append(areas)
    return np.array(found)


def areas_of(
    counts: Floats, truth: NDArray[np.bool_], ends: NDArray[np.intp]
) -> tuple[float, float] | None:
    """Area under the ROC curve, and average precision, of examples from the highest down.

    As scikit-learn has them, without the sorting.

    Args:
        counts: (N,) how often each example counts.
        truth: (N,) whether it is of the positive class.
        ends: last place of each different probability.

    Returns:
        The areas, or None where a class does not occur.
    """
    true = np.cumsum(counts * truth)[ends]
    false = np.cumsum(counts * ~truth)[ends]
    if not (true[-1] and false[-1]):
        return None
    more = np.diff(true, prepend=0.0)
    between = (true + np.append(0.0, true[:-1])) / 2
    roc = float((between * np.diff(false, prepend=0.0)).sum() / (true[-1] * false[-1]))
    reached = np.maximum(true + false, 1e-300)  # Nothing at all may be above the first thresholds.
    return roc, float((more * true / reached).sum() / true[-1])
