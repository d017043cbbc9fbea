"""How many documents of a sample come from each stratum."""

from hypothesis import given
from hypothesis import strategies as st

from saferank.calibration.index import shares


@given(st.integers(0, 2_000), st.lists(st.integers(0, 1_000), min_size=1, max_size=6))
def test_a_sample_is_as_large_as_asked_and_takes_alike_from_each(
    size: int, counts: list[int]
) -> None:
    taken = shares(size, counts)
    assert sum(taken) == min(size, sum(counts))
    assert all(0 <= own <= count for own, count in zip(taken, counts, strict=True))
    most = max(taken)
    # Only one that has no more gives less than the others.
    assert all(own >= most - 1 or own == count for own, count in zip(taken, counts, strict=True))
