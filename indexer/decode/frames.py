"""Which frames of an animation are looked at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

_SHORTEST, _INSTEAD = 0.010, 0.100  # seconds


def chosen(delays: Sequence[float], limit: int) -> list[int]:
    """Choose at most ``limit`` frames by the time for which browsers show them.

    Up to half of the places are for those that are shown longest, and the rest of the time is
    looked at in even steps, both ends included. So whatever is shown for ``1 / (limit - 1)`` of
    the time is among them; and of frames that are all shown alike, or pages, those that are spread
    evenly.

    >>> chosen([1.0] * 500, 3)
    [0, 250, 499]
    >>> chosen([0.04] * 300 + [60.0] + [0.04] * 199, 3)
    [0, 300, 499]

    Args:
        delays: seconds that the file gives to each frame.
        limit: at least one.

    Returns:
        Places of the frames, in order.
    """
    if len(delays) <= limit:
        return list(range(len(delays)))
    seconds = [_INSTEAD if delay <= _SHORTEST else delay for delay in delays]
    picked = _longest(seconds, limit // 2)
    while len(picked) < limit:
        left = [place for place in range(len(seconds)) if place not in picked]
        picked |= _in_even_steps(left, seconds, limit - len(picked))
    return sorted(picked)


def _longest(seconds: Sequence[float], limit: int) -> set[int]:
    """Those shown longer than all but ``limit`` of them, or one where more are as long."""
    ranked = sorted(seconds, reverse=True)
    if ranked[0] == ranked[-1]:
        return set()
    longer = {place for place, each in enumerate(seconds) if each > ranked[limit]}
    return longer or {seconds.index(ranked[0])}


def _in_even_steps(left: Sequence[int], seconds: Sequence[float], count: int) -> set[int]:
    """Those on screen at some instants, one a step; fewer where one is shown for several."""
    if count == 1:
        return {max(left, key=lambda place: seconds[place])}
    ends = list(accumulate(seconds[place] for place in left))
    first, last = seconds[left[0]] / 2, ends[-1] - seconds[left[-1]] / 2
    instants = [first + step * (last - first) / (count - 1) for step in range(count)]
    return {left[min(bisect_right(ends, instant), len(left) - 1)] for instant in instants}
