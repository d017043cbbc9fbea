from hypothesis import given
from hypothesis import strategies as st

from saferank.indexer.jobs.backfill import size_of_chunk


@given(
    left=st.integers(1, 3000),
    largest=st.integers(8, 100),
    known=st.integers(1, 12),
)
def test_children_end_together_on_chunks_that_hold_every_document(
    left: int, largest: int, known: int
) -> None:
    """Children of the same speed take the next chunk whenever they are done with one."""
    done = [0] * known
    sizes = []
    while left > 0:
        size = min(size_of_chunk(left, largest, known), left)
        sizes.append(size)
        left -= size
        done[done.index(min(done))] += size
    assert max(sizes) <= largest
    assert sizes == sorted(sizes, reverse=True)
    assert max(done) - min(done) <= 9


def test_a_small_chunk_that_is_asked_for_stays_small() -> None:
    assert size_of_chunk(1000, 3, 2) == 3
