"""Which frames of an animation are looked at."""

from __future__ import annotations


def spread(count: int, limit: int) -> list[int]:
    """Choose at most ``limit`` of ``count`` frames, evenly over the whole, both ends included.

    >>> spread(500, 3)
    [0, 250, 499]
    """
    if count <= limit:
        return list(range(count))
    if limit == 1:
        return [0]
    return [round(step * (count - 1) / (limit - 1)) for step in range(limit)]
