"""Prevalence and precision in an index, from labels with another share of positives."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import drawn, probabilities

from saferank.calibration.labels import Labels
from saferank.calibration.live import UNLIKELY, Live, Reached, edges, estimate
from saferank.mappings.float32 import as_float32

THRESHOLDS = [as_float32(0.3), as_float32(0.7)]


def reached(values: np.ndarray, thresholds: list[float]) -> Reached:
    counts = [int((values >= np.float32(threshold)).sum()) for threshold in thresholds]
    return Reached("photos", len(values), thresholds, counts)


def live(labels: Labels, index: Labels, seed: int = 0) -> Live:
    bounds = edges(labels, THRESHOLDS)
    counts = reached(index.probabilities, bounds)
    return estimate(labels, counts, THRESHOLDS, confidence=0.95, seed=seed)


def test_shares_are_counts_of_the_index() -> None:
    index = drawn(5, 4000, 0.02)
    found = live(drawn(6, 600, 0.5), index)
    for row in found.rows:
        assert row.share == pytest.approx(
            (index.probabilities >= np.float32(row.threshold)).mean(), abs=1e-12
        )


@pytest.mark.parametrize("prevalence", [0.01, 0.3])
def test_a_half_and_half_sample_tells_the_prevalence_of_the_index(prevalence: float) -> None:
    held, precise, seeds = 0, 0, range(60)
    for seed in seeds:
        index = drawn(1000 + seed, 50_000, prevalence)
        found = live(drawn(seed, 3000, 0.5), index, seed)
        low, high = found.prevalence.interval
        held += low <= index.truth.mean() <= high
        reaching = index.probabilities >= np.float32(0.3)
        assert found.rows[0].precision is not None
        low, high = found.rows[0].precision.interval
        precise += low <= index.truth[reaching].mean() <= high
        assert found.fit is not None
    assert min(held, precise) >= 0.88 * len(seeds)


def test_weighted_labels_are_a_sample_of_the_index() -> None:
    index = drawn(1, 20_000, 0.1)
    hot = index.probabilities >= np.float32(0.3)
    chosen = np.random.default_rng(99).random(len(index)) < np.where(hot, 0.5, 0.02)
    part = index.part(chosen)
    weights = np.where(part.probabilities >= np.float32(0.3), 2.0, 50.0)
    found = live(Labels(part.names, part.probabilities, part.truth, weights), index)
    assert found.weighted
    assert found.fit is None
    low, high = found.prevalence.interval
    assert low <= index.truth.mean() <= high
    precision = found.rows[0].precision
    assert precision is not None
    assert precision.interval.low <= index.truth[hot].mean() <= precision.interval.high
    # Among the hot ones all weights are equal: none of them is thinned away.
    assert precision.interval.high - precision.interval.low < 0.1


def test_an_index_that_is_no_such_mixture_is_told_apart() -> None:
    labels, like = drawn(2, 2000, 0.5), drawn(3, 20_000, 0.1)
    random = np.random.default_rng(4)
    other = random.uniform(0.3, 0.6, 20_000).astype(np.float32)
    unlike = Labels(like.names, other, like.truth)
    fits = [live(labels, index).fit for index in (like, unlike)]
    assert fits[0] is not None
    assert fits[1] is not None
    assert fits[1] < UNLIKELY < fits[0]


def test_a_threshold_that_nothing_reaches_has_no_precision() -> None:
    random = np.random.default_rng(7)
    index = probabilities(random, np.zeros(500, np.bool_)) * np.float32(0.2)
    labels = drawn(8, 400, 0.5)
    counts = reached(index, edges(labels, THRESHOLDS))
    rows = estimate(labels, counts, THRESHOLDS, confidence=0.95).rows
    assert [(row.share, row.precision) for row in rows] == [(0.0, None)] * 2
