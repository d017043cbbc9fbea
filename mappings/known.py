"""Known pictures: what was decided about bytes or looks, for all documents with copies of them.

A known picture has digests, which copies with the same bytes share, and PDQ hashes, to which those
of altered copies are near. Its decision reaches a document as the document's match:

- ``block`` by digests reaches a document that has all of them, so that an image which many
  documents share is not blocked with one of them;
- ``allow`` by digests reaches a document all of whose images are allowed so;
- ``block`` by a hash reaches a document with an image whose hash is near. An ``allow`` does not:
  what differs from an allowed picture may be what matters.

``block`` comes first. Hashes within ``FARTHEST`` are found exactly, by whole words: of the 16 parts
of 16 bits of two such hashes, one part at least differs by one bit or none, or the hashes would
differ in 32 bits. So a hash is kept as its parts, and looked for by the 17 words near each of its
own. That holds however the bits are parted. They stand in a square, and it is parted into its rows
and into its columns: by rows alone, 4 of 1,000 other hashes look near, by both 2 of 100,000.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saferank.mappings.record import Match, Override

BITS = 256
"""Of a PDQ hash."""
_SIDE = 16  # of the square in which they stand
FARTHEST = 31
"""The greatest distance, in bits, at which a hash is found."""
LOWEST_QUALITY = 50
"""Of 0..100, the quality that PDQ gives; below it, the hash of a list is never compared."""
DECISIONS = "decisions"
"""The origin of what was decided about documents; others are the names of lists."""


@dataclass(frozen=True)
class KnownPicture:
    """A picture, or several of one document, about which something was decided.

    Attributes:
        id: what names it, such as ``list:NAME:DIGEST``.
        decision: for copies.
        digests: SHA-256 of the bytes, hex.
        hashes: PDQ hashes by which altered copies are found, of 64 hex digits; none for an allow.
        origin: name of the list that it is of; ``DECISIONS`` for what was decided about documents.
        by: who said so.
        at: when, with a time zone.
        reason: why, if it was said.
        look_after: when its picture is to be fetched and looked at, with a time zone, so that
            cropped copies are found as well; None when it was, or need not be.
    """

    id: str
    decision: Override
    digests: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    origin: str = DECISIONS
    by: str = "unknown"
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    reason: str | None = None
    look_after: datetime | None = None

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The hashes, shape (N, 32), eight bits in each value."""
        return as_bits(self.hashes)

    def to_document(self) -> dict[str, Any]:
        """The document to store."""
        return {
            "key": self.id,
            "decision": self.decision.value,
            "digests": list(self.digests),
            "hashes": "".join(self.hashes),
            "looks": [{"words": words_of(one)} for one in self.hashes],
            "origin": self.origin,
            "by": self.by,
            "at": _text_of(self.at),
            "reason": self.reason,
            "look_after": _text_of(self.look_after),
        }

    @classmethod
    def from_document(cls, values: dict[str, Any]) -> KnownPicture:
        """Read a stored document back."""
        later = values.get("look_after")
        return cls(
            id=values["key"],
            decision=Override(values["decision"]),
            digests=tuple(values["digests"]),
            hashes=split(values["hashes"]),
            origin=values["origin"],
            by=values["by"],
            at=datetime.fromisoformat(values["at"]),
            reason=values["reason"],
            look_after=None if later is None else datetime.fromisoformat(later),
        )


def _text_of(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")


def split(hashes: str) -> tuple[str, ...]:
    """Hashes out of the text in which they stand one after the other."""
    digits = BITS // 4
    return tuple(hashes[start : start + digits] for start in range(0, len(hashes), digits))


def as_bits(hashes: Sequence[str]) -> NDArray[np.uint8]:
    """N hashes of 64 hex digits → shape (N, 32), eight bits in each value."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, BITS // 8)


def distances(hash: str, bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """In how many bits, 0..256, a hash differs from each of N others.

    Args:
        hash: 64 hex digits.
        bits: of the others, see ``as_bits``.
    """
    apart: NDArray[np.int64] = _ONES[bits ^ as_bits([hash])].sum(axis=1, dtype=np.int64)
    return apart


# How many bits of a byte are set; numpy counts them itself only from 2.0 on.
_ONES = np.array([value.bit_count() for value in range(256)], np.uint8)


def words_of(hash: str) -> list[str]:
    """The words under which a hash is kept: each row and each column, with its place."""
    return [
        f"{name}{place:x}{part:04x}"
        for name, parts in _parts(hash).items()
        for place, part in enumerate(parts)
    ]


def words_near(hash: str) -> tuple[list[str], list[str]]:
    """Words of rows, and words of columns; see ``words_of``.

    Every hash within ``FARTHEST`` of this one has at least one of the first and one of the second.
    """
    rows, columns = (
        [
            f"{name}{place:x}{value:04x}"
            for place, part in enumerate(parts)
            for value in (part, *(part ^ (1 << bit) for bit in range(_SIDE)))
        ]
        for name, parts in _parts(hash).items()
    )
    return rows, columns


def _parts(hash: str) -> dict[str, list[int]]:
    """The rows of a hash and its columns, as numbers of 16 bits."""
    square = _frequencies(hash)
    return {
        name: np.frombuffer(np.packbits(one).tobytes(), ">u2").tolist()
        for name, one in (("r", square), ("c", square.T))
    }


def mirrored_of(hash: str) -> str:
    """The hash of a picture → about that of the same picture mirrored; see ``turned``."""
    return np.packbits(_frequencies(hash) ^ _ODD).tobytes().hex()


def turned(hash: str) -> tuple[str, ...]:
    """The hash of a picture → about those of the same picture mirrored and turned, eight in all.

    A picture that is mirrored has the same frequencies, of which every second one changes its sign;
    one that is transposed has them in columns instead of rows. That holds but for what equals the
    median, some ten bits of 256.
    """
    rows, plain = _frequencies(hash), np.zeros_like(_ODD)
    found = [
        np.packbits(base ^ across ^ down[:, None]).tobytes().hex()
        for base in (rows, rows.T)
        for across in (plain, _ODD)
        for down in (plain, _ODD)
    ]
    return tuple(dict.fromkeys(found))


_ODD = np.arange(_SIDE, dtype=np.uint8) % 2


def _frequencies(hash: str) -> NDArray[np.uint8]:
    """The bits of a hash, shape (16, 16): one for each frequency, from top to bottom and across."""
    return np.unpackbits(as_bits([hash])[0]).reshape(_SIDE, _SIDE)


@dataclass(frozen=True, slots=True)
class Near:
    """A known picture that an image is nearly a copy of.

    Attributes:
        known: id of the known picture.
        distance: bits in which their hashes differ.
    """

    known: str
    distance: int


def match_of(
    digests: Sequence[str | None], known: Iterable[KnownPicture], near: Iterable[Near] = ()
) -> Match | None:
    """What known pictures say of a document.

    Args:
        digests: SHA-256 of the document's images; None for one that nobody has seen.
        known: pictures that share at least one of the digests; others make no difference.
        near: pictures to block that one of its images is near to.
    """
    own, allowed, allowing = set(digests), set[str | None](), ""
    for picture in sorted(known, key=lambda one: one.id):
        if picture.decision is Override.BLOCK:
            if picture.digests and own.issuperset(picture.digests):
                return Match(Override.BLOCK, picture.id)
        elif not own.isdisjoint(picture.digests):
            allowed.update(picture.digests)
            allowing = allowing or picture.id
    if nearest := min(near, key=lambda one: (one.distance, one.known), default=None):
        return Match(Override.BLOCK, nearest.known, nearest.distance)
    if own and own <= allowed:
        return Match(Override.ALLOW, allowing)
    return None
