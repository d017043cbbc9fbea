"""Numbers as Elasticsearch keeps them in a ``float`` field: rounded to float32.

Probabilities and thresholds are rounded here and nowhere else, so that the engine and Python
compare the same numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np


def as_float32(value: float) -> float:
    """Round to the nearest float32, widened; a negative zero becomes zero."""
    return float(np.float32(value)) + 0.0


def as_float32_list(values: Iterable[float]) -> list[float]:
    """Many at once, as they are stored: a negative zero stays one, NaN stays NaN."""
    return array("f", values).tolist()


def as_probability(value: float) -> float:
    """A probability as it is stored: a float32 value in 0..1.

    Raises:
        ValueError: the value is not a number in 0..1.
    """
    rounded = as_float32(value)
    if not 0.0 <= rounded <= 1.0:
        raise ValueError(f"a probability lies in 0..1, not {value}")
    return rounded


def shortest(value: float) -> float:
    """The shortest number that rounds to the same float32: 0.2, not 0.20000000298."""
    return float(str(np.float32(value)))
