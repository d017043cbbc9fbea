"""Icons and cursors: the richest of the pictures in them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import bitmap, png
from saferank.settings import DecodeSettings

_KINDS = {b"\0\0\1\0": "ICO", b"\0\0\2\0": "CUR"}
_DIRECTORY, _ENTRY = 6, 16
_DEEP = 16  # bits from which on a bitmap's own transparency is looked for


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the directory says of a picture."""

    width: int
    height: int
    depth: int
    start: int
    size: int

    @property
    def richness(self) -> tuple[int, int]:
        """What browsers choose by: pixels, then bits a pixel."""
        return self.width * self.height, self.depth


def is_icon(data: bytes) -> bool:
    """Whether the file is an icon or a cursor, and not a texture that begins as one does."""
    entries = _entries(data) if data[:4] in _KINDS else []
    return bool(entries) and all(_DIRECTORY < each.start < len(data) for each in entries)


def read_icon(data: bytes, settings: DecodeSettings) -> Image.Image:
    """Decode the largest picture, of several the one with most colours, as browsers choose it.

    Raises:
        ImageError: the picture is damaged or cut off.
        struct.error: likewise.
    """
    best = max(_entries(data), key=lambda each: each.richness)
    if data.startswith(png.SIGNATURE, best.start):
        image = png.open_png(png.checked_png(data[best.start : best.start + best.size]))
    else:
        image = _masked_bitmap(data, best, settings)
    image.format = _KINDS[data[:4]]
    return image


def _entries(data: bytes) -> list[_Entry]:
    (count,) = struct.unpack_from("<H", data, 4)
    places = range(_DIRECTORY, min(_DIRECTORY + count * _ENTRY, len(data) - _ENTRY + 1), _ENTRY)
    is_cursor = _KINDS[data[:4]] == "CUR"
    return [_entry(data[place : place + _ENTRY], is_cursor=is_cursor) for place in places]


def _entry(entry: bytes, *, is_cursor: bool) -> _Entry:
    width, height, colours, _, _, depth, size, start = struct.unpack("<BBBBHHII", entry)
    if is_cursor or depth == 0:  # a cursor has the place that it points with there
        depth = ((colours or 256) - 1).bit_length()
    return _Entry(width or 256, height or 256, depth, start, size)


def _masked_bitmap(data: bytes, entry: _Entry, settings: DecodeSettings) -> Image.Image:
    """Decode a bitmap with a second one below it, whose bits say which pixels are not there."""
    header = bitmap.read_header(data, entry.start)
    height = header.height // 2  # the header's is that of both
    if height == 0:
        raise ImageError(ErrorCode.UNREADABLE, "the icon has a bitmap without a row of pixels")
    picture = bitmap.decode(data, header, height, settings)
    pixels = picture.pixels.copy()
    if header.bits < _DEEP or not (picture.is_transparent and pixels[..., 3].any()):
        stride = (header.width + 31) // 32 * 4
        rows = np.frombuffer(data[picture.end :][: stride * height], np.uint8)
        bits = np.unpackbits(rows[: len(rows) // stride * stride].reshape(-1, stride), axis=1)
        hidden = np.zeros((height, header.width), bool)
        hidden[: len(bits)] = bits[:, : header.width]
        pixels[..., 3] = np.where(hidden if header.top_down else hidden[::-1], 0, 255)
    return Image.fromarray(pixels)
