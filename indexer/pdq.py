"""PDQ: a hash of 256 bits of what a picture looks like, by which altered copies are known.

Two pictures are near copies when their hashes differ in few bits. Published by Meta with the values
used here: a distance of at most 31 is a match, and pictures of a quality below 50 have too little
in them to be told from others (Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm", 2019).
"""

from __future__ import annotations

import numpy as np
import pdqhash
from numpy.typing import NDArray
from PIL import Image

from saferank.mappings.known import LOWEST_QUALITY

CROPS = (0.0, 0.015, 0.03, 0.05)
"""Parts of width and height that are cut away in the hashes of a known picture."""

_SIDE = 128  # pixels
_STEP = 0.0125  # of width and height; a window that is off by half of it is still near
_SMALLEST = 16  # pixels of width and height; less than that shows nothing


def pdq_of(image: Image.Image) -> str:
    """The hash of a picture, 64 hex digits; empty for one with too little in it.

    Args:
        image: upright, in any mode.
    """
    if min(image.size) < _SMALLEST:
        return ""
    bits, quality = pdqhash.compute(_small(image))
    return _hex(bits) if quality >= LOWEST_QUALITY else ""


def pdqs_of_known(image: Image.Image) -> tuple[str, ...]:
    """The hashes by which copies of a picture are found that are mirrored, turned or cropped.

    Of the picture, of its crops and of smaller ones, each as it is and mirrored; of the whole
    picture turned, too. None for a picture with too little in it.

    Args:
        image: upright, in any mode.
    """
    whole = image.convert("RGB")
    small = whole.copy()
    small.thumbnail((4 * _SIDE, 4 * _SIDE), Image.Resampling.BOX)
    found: list[str] = [
        pdq_of(turned)
        for cut in CROPS
        for window in windows(small.size, cut)
        for turned in _mirrored(small.crop(window))
    ]
    found += [pdq_of(small.transpose(turn)) for turn in _TURNS]
    # Fine patterns look otherwise once they are made small.
    for factor in _SMALLER:
        size = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
        found += map(pdq_of, _mirrored(whole.resize(size)))
    return tuple(dict.fromkeys(filter(None, found)))


def windows(size: tuple[int, int], cut: float) -> list[tuple[int, int, int, int]]:
    """What is left of a picture when a part of its width and height is cut away.

    Args:
        size: of the picture, in pixels.
        cut: the part, 0..1.

    Returns:
        Boxes as Pillow takes them, in three or more columns and rows.
    """
    width, height = size
    across, down = round(width * cut), round(height * cut)
    if not (across or down):
        return [(0, 0, width, height)]
    steps = max(2, round(cut / _STEP))
    places = [
        (round(across * x / steps), round(down * y / steps))
        for x in range(steps + 1)
        for y in range(steps + 1)
    ]
    return [(x, y, x + width - across, y + height - down) for x, y in dict.fromkeys(places)]


_SMALLER = (1, 1.5, 2, 3, 4)
_TURNS = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


def _mirrored(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    return image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _small(image: Image.Image) -> NDArray[np.uint8]:
    """A picture in little, shape (128, 128, 3), as PDQ takes it.

    Always of one size, so that a copy of another size has nearly the same; and so small that the
    hash costs little, which is still twice what it looks at.
    """
    if image.mode != "RGB":
        image = image.convert("RGB")
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2)
    return np.array(small)


def _hex(bits: NDArray[np.int64]) -> str:
    return np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes().hex()
