"""Decode a file to the pictures that a viewer sees."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass

from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import formats
from saferank.indexer.decode.colour import as_viewed
from saferank.indexer.decode.failures import coded
from saferank.indexer.decode.frames import spread
from saferank.indexer.decode.limits import check_size
from saferank.settings import DecodeSettings


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pictures of one file.

    Attributes:
        frames: one picture, or some of an animation's, each RGB, upright, opaque, sRGB.
        frame_count: how many frames the file has.
        width: pixels of the first picture, upright.
        height: pixels of the first picture, upright.
        format: the file's format as Pillow calls it.
        partial: the file ends early, and the part that is there was decoded.
    """

    frames: list[Image.Image]
    frame_count: int
    width: int
    height: int
    format: str
    partial: bool = False


def decode(data: bytes, settings: DecodeSettings) -> Decoded:
    """Decode a file of any readable format.

    Args:
        data: the whole file; its bytes decide the format.
        settings: limits.

    Raises:
        ImageError: ``not_an_image``, ``truncated``, ``unreadable``, ``too_large`` or
            ``timeout``.
    """
    with coded(data):
        image = _open(data, settings)
        image.load()  # before any look at metadata: those looks hide damage
        first = as_viewed(image)
        count = _frame_count(data, settings) if image.format in formats.SEQUENCES else 1
        frames = [first] if count == 1 else _sample(data, count, settings)
        return Decoded(frames, count, first.width, first.height, image.format or "")


def _open(data: bytes, settings: DecodeSettings) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=formats.readable())
    check_size(image, settings)
    return image


def _frame_count(data: bytes, settings: DecodeSettings) -> int:
    return getattr(_open(data, settings), "n_frames", 1)


def _sample(data: bytes, count: int, settings: DecodeSettings) -> list[Image.Image]:
    """Decode frames spread over an animation, in order: most formats build each on the last."""
    deadline = time.monotonic() + settings.timeout
    image = _open(data, settings)
    room = max(1, settings.max_pixels // (image.width * image.height))
    frames = []
    wanted = set(spread(count, min(settings.max_frames, room)))
    for index in range(count):
        if time.monotonic() > deadline:
            raise ImageError(
                ErrorCode.TIMEOUT,
                f"frame {index} of {count} was reached after {settings.timeout:g} s; raise "
                "decode.timeout to score it",
            )
        image.seek(index)
        check_size(image, settings)
        if index in wanted:
            image.load()
            frames.append(as_viewed(image))
    return frames
