from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.errors import ConfigurationError
from saferank.mappings.known import (
    FARTHEST,
    KnownPicture,
    Near,
    as_bits,
    distances,
    match_of,
    mirrored_of,
    turned,
    words_near,
    words_of,
)
from saferank.mappings.known_lists import HashKind, read_list
from saferank.mappings.record import Match, Override

HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
A, B, C = "a" * 64, "b" * 64, "c" * 64


def known(id: str, decision: Override, *digests: str) -> KnownPicture:
    return KnownPicture(id, decision, digests)


@given(HASHES, st.sets(st.integers(0, 255), max_size=FARTHEST))
def test_every_hash_that_is_near_has_one_of_the_words(hash: str, flipped: set[int]) -> None:
    bits = np.unpackbits(as_bits([hash])[0])
    bits[list(flipped)] ^= 1
    other = np.packbits(bits).tobytes().hex()
    assert distances(hash, as_bits([other])).tolist() == [len(flipped)]
    for words in words_near(hash):
        assert set(words) & set(words_of(other))


def test_one_bit_farther_a_hash_may_have_none_of_the_words() -> None:
    other = "0003" * 16  # two bits in each row, sixteen in each of two columns
    assert distances("0" * 64, as_bits([other])).tolist() == [FARTHEST + 1]
    rows, columns = words_near("0" * 64)
    assert not set(rows) & set(words_of(other))
    assert set(columns) & set(words_of(other))


def test_a_hash_is_kept_as_its_rows_and_columns() -> None:
    words = words_of("8001" + "0" * 56 + "000f")
    assert [words[0], words[14], words[15]] == ["r08001", "re0000", "rf000f"]
    assert [words[16], words[28], words[31]] == ["c08000", "cc0001", "cf8001"]
    assert words_near("0" * 64)[0][:3] == ["r00000", "r00001", "r00002"]


@given(HASHES)
def test_a_picture_is_turned_in_eight_ways_and_back(hash: str) -> None:
    ways = turned(hash)
    assert {hash, mirrored_of(hash)} <= set(ways)
    assert mirrored_of(mirrored_of(hash)) == hash
    assert all(set(turned(way)) == set(ways) for way in ways)


@given(st.lists(HASHES, max_size=3), st.sampled_from(list(Override)))
def test_a_known_picture_is_stored_and_read_back(hashes: list[str], decision: Override) -> None:
    picture = KnownPicture("list:1", decision, (A,), tuple(hashes), "list", "ann", reason="why")
    document = picture.to_document()
    assert KnownPicture.from_document(document).to_document() == document


@pytest.mark.parametrize(
    ("digests", "pictures", "expected"),
    [
        ([A], [known("1", Override.BLOCK, A)], Match(Override.BLOCK, "1")),
        ([A, B], [known("1", Override.BLOCK, A)], Match(Override.BLOCK, "1")),
        # An image that many documents share is not blocked with one of them.
        ([A], [known("1", Override.BLOCK, A, B)], None),
        ([A], [known("1", Override.ALLOW, A, B)], Match(Override.ALLOW, "1")),
        ([A, B], [known("1", Override.ALLOW, A)], None),
        ([A, None], [known("1", Override.ALLOW, A)], None),
        (
            [A, B],
            [known("1", Override.ALLOW, A), known("2", Override.ALLOW, B)],
            Match(Override.ALLOW, "1"),
        ),
        (
            [A],
            [known("1", Override.ALLOW, A), known("2", Override.BLOCK, A)],
            Match(Override.BLOCK, "2"),
        ),
        ([], [known("1", Override.BLOCK)], None),
        ([], [known("1", Override.ALLOW, A)], None),
        ([C], [], None),
    ],
)
def test_what_known_pictures_say_of_a_document(
    digests: list[str | None], pictures: list[KnownPicture], expected: Match | None
) -> None:
    assert match_of(digests, pictures) == expected
    assert match_of(digests, pictures[::-1]) == expected


def test_a_near_copy_is_blocked_whatever_its_bytes_are_allowed() -> None:
    near = [Near("9", 20), Near("8", 3)]
    allowed = [known("1", Override.ALLOW, A)]
    assert match_of([A], allowed, near) == Match(Override.BLOCK, "8", 3)


def test_a_list_from_outside(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(f"hash,quality\n# a comment\n\n{A.upper()},100,more\n{B},49\n{C}\n")
    found = list(read_list(file, HashKind.PDQ, origin="x", by="ann", mirrored=True))
    assert [one.id for one in found] == [f"x:{A}", f"x:{C}"]
    assert found[0].hashes == (A, mirrored_of(A))
    (first, *_) = read_list(file, HashKind.SHA256, origin="x", by="ann", decision=Override.ALLOW)
    assert (first.digests, first.hashes, first.decision) == ((A,), (), Override.ALLOW)


@pytest.mark.parametrize(
    ("text", "decision", "message"),
    [
        (f"{A}\n{A[1:]}\n", Override.BLOCK, "line 2: a line begins with 64"),
        (f"{A}\nhash\n", Override.BLOCK, "line 2"),
        (A, Override.ALLOW, "allow by --kind sha256"),
    ],
)
def test_a_list_that_cannot_be_taken(
    tmp_path: Path, text: str, decision: Override, message: str
) -> None:
    file = tmp_path / "list.txt"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        list(read_list(file, HashKind.PDQ, origin="x", by="ann", decision=decision))
