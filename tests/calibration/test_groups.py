"""Groups: their own rates, and differences beyond chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from labelled import drawn
from scipy.stats import fisher_exact

from saferank.calibration.groups import by_group
from saferank.calibration.guarantee import Rate, Wanted, supported

WANTED = Wanted(Rate.MISS, 0.1)


def test_a_group_that_the_model_knows_less_well_is_told() -> None:
    labels = drawn(1, 3000, 0.5)
    other = np.arange(len(labels)) % 3 == 0
    values = np.where(other & labels.truth, labels.probabilities / 2, labels.probabilities)
    surfaces = ["app" if one else "web" for one in other]
    labels = replace(labels, probabilities=values, groups={"surface": surfaces})
    overall = supported(labels, WANTED, confidence=0.95)
    app, web = by_group(labels, [overall], confidence=0.95)
    assert (app.value, web.value) == ("app", "web")
    assert app.counted is not None
    assert web.counted is not None
    assert overall.counted is not None
    assert app.counted.hits + web.counted.hits == overall.counted.hits
    assert app.counted.share > 0.1 > web.counted.share
    rates = [[one.hits, one.of - one.hits] for one in (app.counted, web.counted)]
    # Two tests of the same difference: Holm takes the smaller one twice.
    assert app.p == pytest.approx(2 * fisher_exact(rates)[1])
    assert app.p is not None
    assert app.p < 0.01
    assert app.own.threshold is not None
    assert web.own.threshold is not None
    assert app.own.threshold < overall.threshold < web.own.threshold


def test_groups_by_chance_seldom_differ() -> None:
    alarms = 0
    for seed in range(60):
        labels = drawn(seed, 600, 0.5)
        names = [f"{number % 4}" for number in range(len(labels))]
        labels = replace(labels, groups={"region": names})
        found = by_group(labels, [supported(labels, WANTED, confidence=0.95)], confidence=0.95)
        alarms += any(one.p is not None and one.p < 0.05 for one in found)
    assert alarms <= 6


def test_without_a_threshold_nothing_is_compared() -> None:
    labels = drawn(1, 60, 0.5)
    labels = replace(labels, groups={"region": ["a", "b"] * 30})
    overall = supported(labels, Wanted(Rate.MISS, 0.01), confidence=0.95)
    assert [(one.counted, one.p) for one in by_group(labels, [overall], confidence=0.95)] == [
        (None, None)
    ] * 2
