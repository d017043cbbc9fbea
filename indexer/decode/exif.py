"""How EXIF data turn a picture: the way that browsers do it, and others that a file claims.

A file can say several things, and viewers differ over which they believe. Browsers obey the first
entry of the first directory that is one SHORT from 1 to 8, and none in WebP. Another viewer may
obey an entry of another type, or a WebP's; so such claims are told as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

_TAG = 0x0112
_SHORT = 3
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # EXIF's numbers of its types
_PREFIX = b"Exif\0\0"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_UPRIGHT = 1
_FIRST_THAT_LIES = 5


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a picture is to be turned.

    Attributes:
        seen: EXIF's number, 1 to 8, as browsers obey it.
        claimed: other numbers in the file, which some viewers obey; two at most, as a viewer takes
            either the first that it finds or the last.
    """

    seen: int = _UPRIGHT
    claimed: tuple[int, ...] = ()


def orientation(image: Image.Image, late: bytes = b"") -> Orientation:
    """Read how an image is to be turned.

    Only the file's own EXIF block counts, as in browsers. (Pillow's ``getexif`` also believes
    XMP and ImageMagick's text chunks.)

    Args:
        image: with Pillow's ``format`` and ``info``.
        late: an EXIF block that comes after the pixels, where browsers do not look.
    """
    found = list(_entries(image.info.get("exif") or b""))
    seen = next((value for value, is_plain in found if is_plain), _UPRIGHT)
    if image.format == "WEBP":
        seen = _UPRIGHT
    values = [value for value, _ in [*found, *_entries(late)]]
    claimed = dict.fromkeys(value for value in (*values[:1], *values[-1:]) if value != seen)
    return Orientation(seen, tuple(claimed))


def turned(image: Image.Image, number: int) -> Image.Image:
    """Turn an image by EXIF's number; the image itself when there is nothing to turn."""
    turn = _TURNS.get(number)
    return image if turn is None else image.transpose(turn)


def lies(number: int) -> bool:
    """Whether EXIF's number exchanges width and height.

    >>> [number for number in range(1, 9) if lies(number)]
    [5, 6, 7, 8]
    """
    return number >= _FIRST_THAT_LIES


def _entries(block: bytes) -> Iterator[tuple[int, bool]]:
    """Each orientation in the first directory, and whether browsers would obey it.

    What is broken ends the search: whatever is wrong with it, EXIF does not spoil a picture.
    """
    tiff = block.removeprefix(_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, number = struct.unpack_from(order + "HHI", tiff, at)
        if tag != _TAG or kind not in _INTEGERS:
            continue
        (value,) = struct.unpack_from(order + _INTEGERS[kind], tiff, at + 8)
        if _UPRIGHT <= value <= max(_TURNS):
            yield value, kind == _SHORT and number == 1
