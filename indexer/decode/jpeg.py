"""What belongs to the picture of a JPEG file, and whether all of it is there.

Browsers show a file without its end marker, and often nothing is missing but those two bytes.
Pillow refuses it; with the marker put back it would show any of them, grey where there is nothing.
What follows the marker is no part of the picture: a phone keeps the film of a motion photo there,
the other pictures of a panorama, a map of light.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator

from PIL import Image

NAMES = frozenset({"JPEG", "MPO"})  # as Pillow calls them
END = b"\xff\xd9"
_START_OF_SCAN, _END = 0xDA, 0xD9
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended and progressive
# Not those that stand alone: restarts, a second start, and the zero that follows a byte of 255.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_COEFFICIENTS = 64
# Bits that, where a scan is not complete, are taken for pixels; they are no marker.
_MORE = bytes([0x5A, 0xA5, 0x3C, 0xC3]) * 8


def is_whole(data: bytes) -> bool:
    """Say whether a JPEG that lacks its end marker lacks nothing else.

    Every coefficient of every component must have been told to its last bit, and the last scan be
    complete: then bytes added to it change nothing.
    """
    data = data.rstrip(b"\xff")
    return _tells_everything(data) and _pixels(data + END) == _pixels(data + _MORE + END)


def has_end(data: bytes) -> bool:
    """Say whether a JPEG has its end marker, and not only one of a picture inside its metadata."""
    return any(marker == _END for marker, _ in _segments(data))


def count_scans(data: bytes) -> int:
    """How many scans the picture has; each one decodes all of it again."""
    return sum(marker == _START_OF_SCAN for marker, _ in _segments(data))


def _pixels(data: bytes) -> bytes:
    """A digest of the pixels: two copies of them would be much."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return hashlib.sha256(image.tobytes()).digest()


def _tells_everything(data: bytes) -> bool:
    missing: set[tuple[int, int]] = set()
    for marker, body in _segments(data):
        if marker in _FRAMES and len(body) >= 6:
            components = body[6 : 6 + 3 * body[5] : 3]
            missing = {(each, place) for each in components for place in range(_COEFFICIENTS)}
        elif marker == _START_OF_SCAN and body:
            count = body[0]
            if len(body) < 2 * count + 4:
                return False
            first, last, precision = body[2 * count + 1 : 2 * count + 4]
            if precision & 0x0F == 0:  # no bits are left for a later scan
                chosen = body[1 : 1 + 2 * count : 2]
                missing -= {(each, place) for each in chosen for place in range(first, last + 1)}
    return not missing


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each marker and what belongs to it, past the pixels in between, up to the end marker."""
    position = 2
    while (found := _MARKER.search(data, position)) is not None:
        marker, position = found[1][0], found.end()
        length = int.from_bytes(data[position : position + 2], "big")
        yield marker, data[position + 2 : position + length]
        if marker == _END:
            return
        position += max(length, 2)
