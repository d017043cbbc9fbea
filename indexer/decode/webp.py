"""What Pillow does not tell of a WebP file, or tells otherwise than browsers.

A header may deny the transparency that its pictures have.

libwebp's encoder denies it to an animation whose parts are opaque although they do not cover the
canvas: browsers show the page around them, and Pillow black. Where a still picture is denied it,
Chromium shows the colours that were to be hidden, and other viewers hide them.
"""

from __future__ import annotations

from collections.abc import Iterator

_ANIMATED, _TRANSPARENT = 0x02, 0x10
_FLAGS = 20  # where they are, in a file that begins with them
_CHUNKS = 12  # where they begin
_DELAY = 12  # where it is in the chunk of a frame
_IN_LOSSLESS, _LOSSLESS_TRANSPARENT = 4, 0x10  # the byte and the bit in a lossless picture


def as_in_chromium(data: bytes) -> bytes:
    """The file in such a form that libwebp shows what Chromium does."""
    flags = _flags(data)
    if flags is None or flags & _TRANSPARENT:
        return data
    if flags & _ANIMATED:
        return _admitting(data, flags)
    changed = bytearray(data)
    for kind, start in _chunks(data):
        if kind == b"VP8L" and start + _IN_LOSSLESS < len(data):
            changed[start + _IN_LOSSLESS] &= ~_LOSSLESS_TRANSPARENT
    return bytes(changed)


def delays(data: bytes) -> Iterator[float]:
    """Seconds for which each frame of an animation is to be shown."""
    places = (start + _DELAY for kind, start in _chunks(data) if kind == b"ANMF")
    return (int.from_bytes(data[place : place + 3], "little") / 1000 for place in places)


def as_elsewhere(data: bytes) -> bytes | None:
    """The file in such a form that libwebp shows what is denied; None if nothing is."""
    flags = _flags(data)
    if flags is None or flags & (_TRANSPARENT | _ANIMATED):
        return None
    is_denied = any(kind == b"ALPH" for kind, _ in _chunks(data)) or as_in_chromium(data) != data
    return _admitting(data, flags) if is_denied else None


def _flags(data: bytes) -> int | None:
    has_them = data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X" and len(data) > _FLAGS
    return data[_FLAGS] if has_them else None


def _admitting(data: bytes, flags: int) -> bytes:
    return data[:_FLAGS] + bytes([flags | _TRANSPARENT]) + data[_FLAGS + 1 :]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Each chunk's kind, and where its content begins."""
    position = _CHUNKS
    while position + 8 <= len(data):
        start = position + 8
        length = int.from_bytes(data[position + 4 : start], "little")
        yield data[position : position + 4], start
        position = start + length + length % 2
