"""What probabilities mean, and the mappings that mend them."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import drawn

from saferank.calibration.labels import Labels
from saferank.calibration.reliability import Method, calibrate


@pytest.mark.parametrize("method", list(Method))
def test_probabilities_that_say_too_little_are_mended(method: Method) -> None:
    random = np.random.default_rng(0)
    true = random.uniform(0, 1, 6000)
    truth = random.random(6000) < true
    # Log-odds that are twice the true ones, and lie lower: too sure, and too low.
    said = 1 / (1 + np.exp(2 - 2 * np.log(true / (1 - true))))
    labels = Labels([""] * 6000, said.astype(np.float32), truth)
    found = calibrate(labels, method, confidence=0.99)
    assert found.brier_after < found.brier_before - 0.01
    assert sum(one.of for one in found.after) == 6000
    assert all(one.interval.low <= one.said <= one.interval.high for one in found.after)
    assert not all(one.interval.low <= one.said <= one.interval.high for one in found.before)
    points, shares = zip(*found.mapping, strict=True)
    assert list(points) == sorted(points)
    assert list(shares) == sorted(shares)
    assert np.interp(1 / (1 + np.exp(2)), points, shares) == pytest.approx(0.5, abs=0.07)


def test_examples_are_judged_by_mappings_that_have_not_seen_them() -> None:
    """Where probabilities say nothing, an isotonic curve of the same examples would seem to."""
    labels = drawn(1, 400, 0.5)
    shuffled = np.random.default_rng(1).permutation(labels.probabilities)
    noise = Labels(labels.names, shuffled, labels.truth)
    assert calibrate(noise, Method.ISOTONIC, confidence=0.95).brier_after > 0.25
