"""Parts of pictures that are much longer than wide.

A net sees every picture squeezed into one square. Of a strip of panels that square shows nothing:
one of twenty moved the probability from 0.0005 to 0.004, and alone had 0.4. So parts as long as
the strip is wide are looked at too, each half over the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

_FROM_RATIO = 3  # of the long side to the short one
_LEAST_SIDE = 64  # pixels of the short side: rules and borders have fewer
_MOST = 32  # parts of a file, each of which costs as much as a picture


def tiles(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Cut those of a file's pictures that are long; together into a bounded number of parts."""
    return [pictures[place].crop(box) for place, box in _cuts([each.size for each in pictures])]


def places(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """For each of the ``tiles`` of pictures of these sizes, the place of the picture."""
    return [place for place, _ in _cuts(sizes)]


def _cuts(sizes: Sequence[tuple[int, int]]) -> list[tuple[int, tuple[int, int, int, int]]]:
    long = [place for place, size in enumerate(sizes) if is_long(*size)]
    each = _MOST // max(1, len(long))
    return [(place, box) for place in long for box in boxes(sizes[place], each)]


def boxes(size: tuple[int, int], limit: int) -> list[tuple[int, int, int, int]]:
    """Squares along the long side, each half over the next; longer ones where they are too many.

    >>> [(top, bottom) for _, top, _, bottom in boxes((100, 300), 9)]
    [(0, 100), (50, 150), (100, 200), (150, 250), (200, 300)]
    """
    short, long = sorted(size)
    count = min(math.ceil(2 * long / short) - 1, limit)
    if count < 2:
        return []
    length = max(short, math.ceil(2 * long / (count + 1)))
    starts = [round(place * (long - length) / (count - 1)) for place in range(count)]
    if size[0] == short:
        return [(0, start, short, start + length) for start in starts]
    return [(start, 0, start + length, short) for start in starts]


def is_long(width: int, height: int) -> bool:
    """Whether parts of a picture of this size are looked at, too."""
    short, long = sorted((width, height))
    return short >= _LEAST_SIDE and long >= _FROM_RATIO * short
