"""Thresholds with a guarantee: what is counted, what is promised, and how often it is kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import NEGATIVE, POSITIVE, drawn
from scipy.stats import binom, binomtest

from saferank.calibration.guarantee import Rate, Wanted, counted, needed, supported
from saferank.calibration.intervals import Interval, binomial_interval
from saferank.calibration.labels import Labels
from saferank.errors import ConfigurationError
from saferank.mappings.float32 import as_float32

MISS, FALSE_ALARM, PRECISION = Rate


@given(st.integers(0, 300), st.integers(1, 300), st.sampled_from([0.8, 0.95, 0.99]))
def test_intervals_are_scipy_s_exact_ones(hits: int, of: int, confidence: float) -> None:
    hits = min(hits, of)
    exact = binomtest(hits, of).proportion_ci(confidence)
    assert binomial_interval(hits, of, confidence) == pytest.approx(Interval(exact.low, exact.high))


@pytest.mark.parametrize(
    ("wanted", "confidence", "least"),
    [
        (Wanted(MISS, 0.01), 0.95, 299),
        (Wanted(FALSE_ALARM, 0.05), 0.95, 59),
        (Wanted(MISS, 0.5), 0.5, 1),
        (Wanted(PRECISION, 0.9), 0.95, 51),
    ],
)
def test_labels_that_it_takes(wanted: Wanted, confidence: float, least: int) -> None:
    assert needed(wanted, confidence) == least


@pytest.mark.parametrize("limit", [0, 1, -0.1, 1.5])
def test_a_bound_that_bounds_nothing_is_refused(limit: float) -> None:
    with pytest.raises(ConfigurationError, match="above 0 and below 1"):
        Wanted(MISS, limit)


@pytest.mark.parametrize("positives", [298, 299])
def test_the_least_number_of_labels_is_exact(positives: int) -> None:
    values = np.linspace(0.5, 1, positives, dtype=np.float32)
    labels = Labels([""] * positives, values, np.ones(positives, np.bool_))
    found = supported(labels, Wanted(MISS, 0.01), confidence=0.95)
    assert found.threshold == (None if positives == 298 else 0.5)
    assert (found.needed, found.had) == (299, positives)


LIMITS = st.sampled_from([0.05, 0.2, 0.5])
ROWS = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=120)


@given(ROWS, LIMITS)
def test_of_all_thresholds_that_pass_it_errs_least_the_other_way(
    rows: list[tuple[int, bool]], limit: float
) -> None:
    """On data full of ties, against counting at every threshold that could matter."""
    values = np.array([place / 9 for place, _ in rows], np.float32)
    truth = np.array([label for _, label in rows])
    labels = Labels([""] * len(rows), values, truth)
    places = np.array([place / 9 for place in range(10)], np.float32)
    candidates = {*places.tolist(), *np.nextafter(places, np.float32(2)).tolist()}

    def passes(errors: int, of: int) -> bool:
        return of > 0 and binom.cdf(errors, of, limit) <= 0.1

    misses = [
        value
        for value in sorted(candidates)
        if value <= 1 and passes(int((values[truth] < value).sum()), int(truth.sum()))
    ]
    alarms = [
        value
        for value in sorted(candidates)
        if value <= 1 and passes(int((values[~truth] >= value).sum()), int((~truth).sum()))
    ]
    found_miss = supported(labels, Wanted(MISS, limit), confidence=0.9)
    found_alarm = supported(labels, Wanted(FALSE_ALARM, limit), confidence=0.9)
    assert found_miss.threshold == (misses[-1] if misses else None)
    assert found_alarm.threshold == (alarms[0] if alarms else None)


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_are_float32_values_with_their_counts(seed: int) -> None:
    labels = drawn(seed, 2000, 0.4)
    for wanted in (Wanted(MISS, 0.05), Wanted(FALSE_ALARM, 0.03), Wanted(PRECISION, 0.9)):
        found = supported(labels, wanted, confidence=0.95)
        assert found.threshold is not None
        assert found.counted is not None
        assert found.bound is not None
        assert found.threshold == as_float32(found.threshold)
        # A value equal to the threshold reaches it.
        again = dict(counted(labels, found.threshold, 0.95))[wanted.rate]
        assert again == found.counted
        low, high = found.counted.interval
        assert low <= found.counted.share <= high
        if wanted.rate is PRECISION:
            assert wanted.limit <= found.bound < found.counted.share
        else:
            assert found.counted.share < found.bound <= wanted.limit


def test_no_threshold_of_a_class_at_the_very_top() -> None:
    labels = Labels([""] * 100, np.ones(100, np.float32), np.zeros(100, np.bool_))
    assert supported(labels, Wanted(FALSE_ALARM, 0.05), confidence=0.95).threshold is None


def test_too_few_that_reach_a_threshold_say_how_many_it_takes() -> None:
    found = supported(drawn(0, 3000, 0.01), Wanted(PRECISION, 0.9), confidence=0.95)
    assert found.threshold is None
    assert found.needed == 51


@pytest.mark.parametrize("rate", list(Rate))
def test_the_bound_is_kept_as_often_as_promised(rate: Rate) -> None:
    limit = {MISS: 0.05, FALSE_ALARM: 0.05, PRECISION: 0.9}[rate]
    broken = 0
    for seed in range(400):
        found = supported(drawn(seed, 600, 0.5), Wanted(rate, limit), confidence=0.9)
        assert found.threshold is not None
        missed, alarms = POSITIVE.cdf(found.threshold), NEGATIVE.sf(found.threshold)
        precision = (1 - missed) / (1 - missed + alarms)
        broken += {MISS: missed > limit, FALSE_ALARM: alarms > limit, PRECISION: precision < limit}[
            rate
        ]
    # 40 are allowed in the long run; the seeds are fixed.
    assert broken <= 40


def test_weights_make_a_sample_speak_of_what_it_stands_for() -> None:
    """Of a population, hot documents are drawn ten times as often as the others."""
    broken = 0
    for seed in range(300):
        whole = drawn(seed, 12_000, 0.3)
        hot = whole.probabilities >= np.float32(0.5)
        random = np.random.default_rng(10_000 + seed)
        chosen = random.random(len(whole)) < np.where(hot, 0.5, 0.05)
        part = whole.part(chosen)
        weights = np.where(part.probabilities >= np.float32(0.5), 2.0, 20.0)
        labels = Labels(part.names, part.probabilities, part.truth, weights)
        found = supported(labels, Wanted(MISS, 0.2), confidence=0.9, seed=seed)
        broken += found.threshold is not None and POSITIVE.cdf(found.threshold) > 0.2
    assert broken <= 30


def test_without_weights_such_a_sample_would_break_the_bound() -> None:
    whole = drawn(3, 40_000, 0.3)
    hot = whole.probabilities >= np.float32(0.5)
    chosen = np.random.default_rng(10_003).random(len(whole)) < np.where(hot, 0.5, 0.05)
    found = supported(whole.part(chosen), Wanted(MISS, 0.2), confidence=0.9)
    assert found.threshold is not None
    assert POSITIVE.cdf(found.threshold) > 0.2
