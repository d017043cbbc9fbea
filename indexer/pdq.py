"""PDQ: a hash of 256 bits of what a picture looks like, by which altered copies are known.

Two pictures are near copies when their hashes differ in few bits. Published by Meta with the values
used here: a distance of at most 31 is a match, and pictures of a quality below 50 have too little
in them to be told from others (Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm", 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CROPS = (0.0, 0.015, 0.03, 0.05)
"""Parts of width and height that are cut away in the hashes of a known picture."""

_SIDE = 64  # pixels; PDQ looks at so many
_SKIP = 8  # samples across one of them are enough
_QUALITY = 40
"""Below it, a picture is no known one.

What the reference gives a quality of 50 has some 9 less when it is made small here.
"""
_QUALITY_OF_COPY = 30
"""Below it, a picture is not looked up: a copy a quarter of the size has up to 9 less."""
_STEP = 0.0125  # of width and height; a window that is off by half of it is still near
_SMALLEST = 16  # pixels of width and height; less than that shows nothing


def pdq_of(image: Image.Image) -> str:
    """The hash of a picture, 64 hex digits; empty for one with too little in it.

    Args:
        image: upright, in any mode.
    """
    return _pdq_of(image, _QUALITY_OF_COPY)


def pdqs_of_known(image: Image.Image) -> tuple[str, ...]:
    """The hashes by which copies of a picture are found that are mirrored, turned or cropped.

    Of the picture and of its crops, each as it is and mirrored; of the whole picture turned, too.
    None for a picture with too little in it.

    Args:
        image: upright, in any mode.
    """
    if not _pdq_of(image, _QUALITY):
        return ()
    small = image.convert("RGB")
    small.thumbnail((8 * _SIDE, 8 * _SIDE), Image.Resampling.BOX)
    windowed = (small.crop(window) for cut in CROPS for window in windows(small.size, cut))
    found = [
        _pdq_of(turned, _QUALITY)
        for window in windowed
        for turned in (window, window.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    ]
    found += [_pdq_of(small.transpose(turn), _QUALITY) for turn in _TURNS]
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


_TURNS = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


def _pdq_of(image: Image.Image, lowest: int) -> str:
    """The hash of a picture of this quality, 0..100, or a higher one."""
    if min(image.size) < _SMALLEST:
        return ""
    luma = (_small(image) @ _LUMA).astype(np.float32)
    return _hash(luma) if _quality(luma) >= lowest else ""


_LUMA = np.array([0.299, 0.587, 0.114])


def _quality(luma: NDArray[np.float32]) -> int:
    """How much there is to see in a picture of 64 × 64 pixels of 0..255: 0..100."""
    steps = (np.diff(luma, axis=axis) * np.float32(100) / np.float32(255) for axis in (0, 1))
    return min(100, int(sum(np.abs(np.trunc(step)).sum() for step in steps)) // 90)


def _hash(luma: NDArray[np.float32]) -> str:
    """One bit for each of 16 × 16 frequencies: whether it is stronger than half of them.

    Written here since the usual package, ``pdqhash``, is published without wheels: it would have
    every worker's installation compile C++.
    """
    strengths = _WAVES @ luma.astype(np.float64) @ _WAVES.T
    half = strengths.size // 2
    bits = strengths > np.partition(strengths, half - 1, axis=None)[half - 1]
    return np.packbits(bits.ravel()[::-1]).tobytes().hex()


# The cosines of frequencies 1 to 16: a constant has no part in a hash.
_WAVES = np.sqrt(2 / _SIDE) * np.cos(
    np.pi / (2 * _SIDE) * np.outer(np.arange(1, 17), 2 * np.arange(_SIDE) + 1)
)


def _small(image: Image.Image) -> NDArray[np.uint8]:
    """A picture in little, shape (64, 64, 3), as PDQ looks at it.

    Made small here and not by its own filter, which takes every pixel of a large picture and blurs
    none of a small one, so that a thumbnail is as near to its original as any other copy.
    """
    if (skip := min(image.size) // (_SIDE * _SKIP)) > 1:
        size = (image.width // skip, image.height // skip)
        image = image.resize(size, Image.Resampling.NEAREST)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.array(image.resize((_SIDE, _SIDE), Image.Resampling.HAMMING, reducing_gap=2))
