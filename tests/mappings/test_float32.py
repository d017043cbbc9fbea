from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.mappings.float32 import as_float32, as_float32_list, as_probability, shortest


def packed(value: float) -> float:
    """The value after a way through the four bytes that the engine stores."""
    (stored,) = struct.unpack("<f", struct.pack("<f", value))
    return float(stored)


@given(st.floats(-1, 1))
def test_what_is_rounded_is_what_four_bytes_hold(value: float) -> None:
    assert as_float32(value) == packed(value)
    assert as_float32_list([value]) == [packed(value)]


def test_zeros_and_nothing() -> None:
    assert math.copysign(1, as_float32(-0.0)) == 1
    assert math.copysign(1, as_float32_list([-0.0])[0]) == -1
    assert math.isnan(as_float32_list([math.nan])[0])


@given(st.floats(0, 1, width=32))
def test_the_shortest_number_rounds_back_and_has_no_digit_too_many(value: float) -> None:
    short = shortest(value)
    assert packed(short) == value
    digits = len(f"{short!r}".replace(".", "").replace("-", "").split("e")[0].strip("0"))
    assert digits <= 9


@given(st.floats(0, 1))
def test_a_probability_is_what_the_engine_compares(value: float) -> None:
    assert as_probability(value) == packed(value)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1, float("inf")])
def test_what_is_not_a_probability_is_never_stored(value: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        as_probability(value)
