"""How the frames of one image, an animation's or a video's, make one probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

HIGHEST = "highest"
_MEAN, _SHARE = "mean-of-top-", "share-above-"

FrameRule = Annotated[
    str, Field(pattern=rf"^({HIGHEST}|{_MEAN}[1-9][0-9]{{0,3}}|{_SHARE}0\.[0-9]{{1,6}})$")
]
"""``highest``; ``mean-of-top-K``, of the K highest; ``share-above-P``, of frames from P on."""


def combined(rule: str, frames: Sequence[float]) -> float:
    """The probability of an image by those of its frames.

    A single frame's is the image's, whatever the rule: there is no share of one.

    >>> combined("mean-of-top-2", [0.1, 0.5, 0.75])
    0.625
    >>> combined("share-above-0.5", [0.1, 0.5, 0.75, 0.2])
    0.5

    Args:
        rule: see ``FrameRule``.
        frames: at least one, each in 0..1.

    Returns:
        In 0..1.
    """
    if len(frames) == 1 or rule == HIGHEST:
        return max(frames)
    if rule.startswith(_MEAN):
        top = sorted(frames, reverse=True)[: int(rule.removeprefix(_MEAN))]
        return min(1.0, sum(top) / len(top))
    least = float(rule.removeprefix(_SHARE))
    return sum(value >= least for value in frames) / len(frames)


def of_pictures(
    rule: str, probabilities: Sequence[float], places: Sequence[int], frames: int
) -> float:
    """The probability of an image by all pictures of it that are looked at.

    A frame counts by the highest of it and its parts. What other viewers show in the place of the
    frames is combined by the same rule, and the higher of the two counts.

    Args:
        rule: see ``FrameRule``.
        probabilities: of each picture, in 0..1.
        places: for each picture, the frame that it is or is a part of; from ``frames`` on, what
            other viewers show.
        frames: how many frames there are, at least one.
    """
    highest: dict[int, float] = {}
    for place, probability in zip(places, probabilities, strict=True):
        highest[place] = max(probability, highest.get(place, 0.0))
    seen = [value for place, value in highest.items() if place < frames]
    elsewhere = [value for place, value in highest.items() if place >= frames]
    return max(combined(rule, values) for values in (seen, elsewhere) if values)
