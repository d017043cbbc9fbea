"""Curves and areas, held against scikit-learn and against counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import drawn
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from saferank.calibration.curves import Areas, Curves, areas_of
from saferank.calibration.labels import Labels


def labels_of(rows: list[tuple[int, bool]], weights: list[int] | None = None) -> Labels:
    """Probabilities are ninths, so that there are ties, and none of them is a float32 value."""
    values = np.array([place / 9 for place, _ in rows], np.float32)
    truth = np.array([label for _, label in rows] + [True, False])
    values = np.append(values, np.float32([0.5, 0.5]))
    counts = None if weights is None else np.array([*weights, 1, 1], np.float64)
    return Labels([""] * len(truth), values, truth, counts)


ROWS = st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60)


@given(ROWS)
def test_curves_are_what_is_counted_at_each_threshold(rows: list[tuple[int, bool]]) -> None:
    labels = labels_of(rows)
    curves = Curves.of(labels)
    assert curves.thresholds.dtype == np.float32
    assert np.isfinite(curves.thresholds).all()
    assert curves.thresholds.tolist() == sorted(set(labels.probabilities.tolist()), reverse=True)
    for place, threshold in enumerate(curves.thresholds):
        reaching = [value >= threshold for value in labels.probabilities]
        true = sum(r and t for r, t in zip(reaching, labels.truth, strict=True))
        false = sum(reaching) - true
        assert curves.found[place] == pytest.approx(true / labels.positives)
        assert curves.false_alarms[place] == pytest.approx(false / labels.negatives)
        assert curves.precision[place] == pytest.approx(true / (true + false))


@given(ROWS)
def test_points_are_scikit_learn_s_without_the_infinite_threshold(
    rows: list[tuple[int, bool]],
) -> None:
    labels = labels_of(rows)
    curves = Curves.of(labels)
    false, found, thresholds = roc_curve(
        labels.truth, labels.probabilities, drop_intermediate=False
    )
    assert np.array_equal(curves.thresholds, thresholds[1:])
    assert np.array_equal(curves.found, found[1:])
    assert np.array_equal(curves.false_alarms, false[1:])


@given(ROWS, st.data())
def test_areas_of_resampled_examples_are_scikit_learn_s(
    rows: list[tuple[int, bool]], data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    labels = labels_of(rows, counts)
    assert labels.weights is not None
    order = np.argsort(-labels.probabilities, kind="stable")
    values, truth, weights = (
        labels.probabilities[order],
        labels.truth[order],
        labels.weights[order],
    )
    ends = np.flatnonzero(np.append(np.diff(values) != 0, True))
    areas = areas_of(weights, truth, ends)
    assert areas is not None
    assert areas[0] == pytest.approx(roc_auc_score(truth, values, sample_weight=weights))
    assert areas[1] == pytest.approx(average_precision_score(truth, values, sample_weight=weights))


def test_a_sample_with_one_class_has_no_area() -> None:
    assert areas_of(np.array([1.0, 0.0]), np.array([True, False]), np.array([0, 1])) is None


def test_intervals_hold_their_area_and_shrink_with_the_sample() -> None:
    few, many = (Areas.of(drawn(1, size, 0.5), confidence=0.95, seed=3) for size in (200, 3200))
    for areas in (few, many):
        for area in (areas.roc, areas.precision_recall):
            assert area.interval.low < area.value < area.interval.high
    widths = [areas.roc.interval.high - areas.roc.interval.low for areas in (few, many)]
    assert 2 < widths[0] / widths[1] < 8
    assert few == Areas.of(drawn(1, 200, 0.5), confidence=0.95, seed=3)
