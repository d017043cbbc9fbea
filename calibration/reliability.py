"""What a stored probability means in shares of the labelled examples, and how it can be mended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import StratifiedKFold

from saferank.calibration.intervals import Interval, binomial_interval
from saferank.calibration.labels import Labels

Floats = NDArray[np.float64]

_FOLDS = 5
_BINS = 10
_FARTHEST = 1e-7
"""Probabilities are kept this far from 0 and 1 before their logarithms are taken."""


class Method(StrEnum):
    """How probabilities are mapped to shares of the positive class."""

    ISOTONIC = "isotonic"
    PLATT = "platt"


@dataclass(frozen=True)
class Bin:
    """Examples of about the same probability.

    Attributes:
        said: their mean probability.
        share: of the positive class among them.
        interval: of that share, exact.
        of: how many they are.
    """

    said: float
    share: float
    interval: Interval
    of: int


@dataclass(frozen=True)
class Reliability:
    """What probabilities mean, before and after a mapping.

    Attributes:
        method: of the mapping.
        before, after: bins with alike many examples, by the probability.
        brier_before, brier_after: mean squared error, 0 to 1.
        mapping: probability -> calibrated probability at some points, ascending; straight between.
    """

    method: Method
    before: list[Bin]
    after: list[Bin]
    brier_before: float
    brier_after: float
    mapping: list[tuple[float, float]]


def calibrate(labels: Labels, method: Method, *, confidence: float, seed: int = 0) -> Reliability:
    """Map probabilities to shares of the positive class.

    The figures of ``after`` are cross-fitted: each example is judged by a mapping that has not
    seen it. The mapping itself is of all examples.

    Args:
        labels: examples; the mapping holds at their share of positives (by weights, where they
            have some), and at no other.
        method: isotonic regression, or a logistic curve over the log-odds (Platt, 1999).
        confidence: of the bins' intervals.
        seed: of the folds.
    """
    values = labels.probabilities.astype(np.float64)
    mapped = np.empty_like(values)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    for seen, judged in folds.split(values[:, None], labels.truth):
        chosen = np.zeros(len(labels), np.bool_)
        chosen[seen] = True
        mapped[judged] = _fitted(labels.part(chosen), method, values[judged])
    points = np.unique(np.quantile(values, np.linspace(0, 1, 101)))
    shares = _fitted(labels, method, points)
    return Reliability(
        method,
        _bins(values, labels.truth, confidence),
        _bins(mapped, labels.truth, confidence),
        float(brier_score_loss(labels.truth, values, sample_weight=labels.weights)),
        float(brier_score_loss(labels.truth, mapped, sample_weight=labels.weights)),
        [(float(point), float(share)) for point, share in zip(points, shares, strict=True)],
    )


def _fitted(labels: Labels, method: Method, values: Floats) -> Floats:
    """Calibrated probabilities of values, by a mapping of the labels."""
    said, truth = labels.probabilities.astype(np.float64), labels.truth
    if method is Method.ISOTONIC:
        isotonic = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        return np.asarray(isotonic.fit(said, truth, labels.weights).predict(values))
    logistic = LogisticRegression(C=np.inf)
    logistic.fit(_log_odds(said), truth, labels.weights)
    return np.asarray(logistic.predict_proba(_log_odds(values))[:, 1])


def _log_odds(values: Floats) -> Floats:
    inside = np.clip(values, _FARTHEST, 1 - _FARTHEST)
    return np.asarray(np.log(inside / (1 - inside))[:, None])


def _bins(values: Floats, truth: NDArray[np.bool_], confidence: float) -> list[Bin]:
    """Bins by value; what is equal stays together."""
    bounds = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    places = np.searchsorted(bounds, values, side="right")
    found = []
    for place in np.unique(places):
        inside = places == place
        hits, of = int(truth[inside].sum()), int(inside.sum())
        interval = binomial_interval(hits, of, confidence)
        found.append(Bin(float(values[inside].mean()), hits / of, interval, of))
    return found
