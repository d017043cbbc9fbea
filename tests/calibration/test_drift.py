"""Two files of labelled probabilities: who changes sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from labelled import drawn

from saferank.calibration.drift import Moved, compare, relabelled
from saferank.calibration.labels import Labels
from saferank.mappings.float32 import as_float32

HALF = as_float32(0.5)


def test_documents_that_change_sides_are_named_and_equal_ones_are_above() -> None:
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    before = Labels(
        ["a", "b", "c", "gone"],
        np.float32([0.5, below, 0.1, 0.9]),
        np.array([True, True, False, True]),
    )
    after = Labels(
        ["c", "b", "a", "new"],
        np.float32([0.8, 0.5, below, 0.9]),
        np.array([False, True, True, True]),
    )
    (found,) = compare(before, after, [HALF], confidence=0.95)
    assert found.both == 3
    assert found.moved[0] == Moved("c", float(np.float32(0.1)), float(np.float32(0.8)), False)
    assert {one.name: one.worse for one in found.moved} == {"c": True, "b": False, "a": True}


def test_the_same_file_drifts_nowhere() -> None:
    labels = drawn(1, 500, 0.5)
    (found,) = compare(labels, labels, [HALF], confidence=0.95)
    assert found.moved == []
    assert [one.p for one in found.rates] == [1.0, 1.0]


def test_rates_of_files_without_a_common_name_are_compared() -> None:
    before, after = drawn(1, 2000, 0.5), drawn(2, 2000, 0.5)
    after = replace(
        after,
        names=[f"later-{name}" for name in after.names],
        probabilities=after.probabilities * np.float32(0.8),
    )
    (found,) = compare(before, after, [HALF], confidence=0.95)
    assert found.both == 0
    assert found.rates[0].after.share > found.rates[0].before.share
    assert found.rates[0].p < 0.001


def test_names_with_another_label_are_told() -> None:
    before = drawn(1, 20, 0.5)
    truth = before.truth.copy()
    truth[3] = not truth[3]
    assert relabelled(before, replace(before, truth=truth)) == ["3.jpg"]
