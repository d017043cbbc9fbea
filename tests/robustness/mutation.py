"""Damage to files, of the kinds that find faults in decoders; the same for the same seed."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence

_TELLING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(files: Sequence[bytes], dice: random.Random) -> bytes:
    """Give one of the files with one to eight kinds of damage, sometimes with PNG sums mended."""
    data = bytearray(dice.choice(files))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        dice.choice(_KINDS)(data, files, dice)
    if data.startswith(b"\x89PNG") and dice.random() < 0.7:
        _mend_png(data)
    return bytes(data)


def _place(data: bytearray, dice: random.Random) -> int:
    """Anywhere, but half of the time in the first two hundred bytes: headers matter most."""
    end = min(len(data), 200) if dice.random() < 0.5 else len(data)
    return dice.randrange(end) if end else 0


def _flip(data: bytearray, files: Sequence[bytes], dice: random.Random) -> None:
    if data:
        data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _overwrite(data: bytearray, files: Sequence[bytes], dice: random.Random) -> None:
    at = _place(data, dice)
    length = dice.choice((1, 2, 4, 8, 64))
    data[at : at + length] = dice.randbytes(min(length, len(data) - at))


def _number(data: bytearray, files: Sequence[bytes], dice: random.Random) -> None:
    form, limit = dice.choice(
        (("B", 2**8), ("<H", 2**16), (">H", 2**16), ("<I", 2**32), (">I", 2**32))
    )
    body = struct.pack(form, dice.choice(_TELLING) % limit)
    at = _place(data, dice)
    data[at : at + len(body)] = body


def _cut(data: bytearray, files: Sequence[bytes], dice: random.Random) -> None:
    del data[_place(data, dice) :]


def _remove(data: bytearray, files: Sequence[bytes], dice: random.Random) -> None:
    at = _place(data, dice)
    del data[at : at + dice.choice((1, 4, 16, 256))]


def _repeat(data: bytearray, files: Sequence[bytes], dice: random.Random) -> None:
    at = _place(data, dice)
    part = bytes(data[at : at + dice.choice((1, 8, 64, 512))])
    data[at:at] = part * dice.choice((1, 2, 50))


def _splice(data: bytearray, files: Sequence[bytes], dice: random.Random) -> None:
    other = dice.choice(files)
    at, start = _place(data, dice), dice.randrange(len(other))
    data[at:] = other[start:]


def _blank(data: bytearray, files: Sequence[bytes], dice: random.Random) -> None:
    at = _place(data, dice)
    data[at:] = dice.choice((b"\0", b"\xff")) * (len(data) - at)


_KINDS: tuple[Callable[[bytearray, Sequence[bytes], random.Random], None], ...] = (
    _flip,
    _flip,
    _overwrite,
    _number,
    _number,
    _cut,
    _remove,
    _repeat,
    _splice,
    _blank,
)


def _mend_png(data: bytearray) -> None:
    """Recompute the checksums, so that the damage gets past them."""
    position = 8
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            return
        data[end - 4 : end] = struct.pack(">I", zlib.crc32(data[position + 4 : end - 4]))
        position = end
