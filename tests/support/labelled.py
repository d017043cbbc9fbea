"""Labelled probabilities with a known truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from saferank.calibration.labels import Labels

POSITIVE, NEGATIVE = beta(4, 1.3), beta(1, 8)
"""How the probabilities of both classes are distributed."""


def drawn(seed: int, size: int, prevalence: float) -> Labels:
    """Examples drawn independently."""
    random = np.random.default_rng(seed)
    truth = random.random(size) < prevalence
    return Labels([f"{number}.jpg" for number in range(size)], probabilities(random, truth), truth)


def probabilities(random: np.random.Generator, truth: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Of examples of both classes."""
    size = len(truth)
    found = np.where(
        truth, POSITIVE.rvs(size, random_state=random), NEGATIVE.rvs(size, random_state=random)
    )
    return found.astype(np.float32)
