"""Decode a file to the pictures that a viewer sees, in this process."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import apng, formats, gif, limits
from saferank.indexer.decode.colour import as_viewed
from saferank.indexer.decode.composing import Animation, compose
from saferank.indexer.decode.failures import coded
from saferank.indexer.decode.frames import spread
from saferank.indexer.decode.png import SIGNATURE, checked_png
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


def read(data: bytes, settings: DecodeSettings, names: list[str] | None = None) -> Decoded:
    """Decode a file to what a viewer sees.

    Args:
        data: the whole file.
        settings: limits.
        names: formats to consider, as Pillow calls them; all readable ones unless given.

    Raises:
        ImageError: the file has no picture that can be trusted.
    """
    with coded(data):
        if data.startswith(SIGNATURE):
            data = checked_png(data)
        if (animation := _animation(data, settings)) is not None:
            return _read_animation(animation, settings)
        image = _open(data, settings, names)
        image.load()  # before any look at metadata: those looks hide damage
        count = _frame_count(data, settings, names) if image.format in formats.SEQUENCES else 1
        if count == 1:
            frames = [as_viewed(image)]
        else:
            frames = _sample(_steps(_open(data, settings, names)), count, image.size, settings)
        return Decoded(frames, count, *frames[0].size, image.format or "")


def _animation(data: bytes, settings: DecodeSettings) -> Animation | None:
    """Take apart what Pillow would not put together as browsers do."""
    if data.startswith(gif.SIGNATURES):
        return gif.parse(data, settings)
    return apng.parse(data, settings) if data.startswith(SIGNATURE) else None


def _read_animation(animation: Animation, settings: DecodeSettings) -> Decoded:
    count = len(animation.frames)
    frames = _sample(compose(animation), count, animation.size, settings)
    return Decoded(frames, count, *frames[0].size, animation.format)


def read_reference(
    data: bytes, settings: DecodeSettings, names: list[str] | None = None
) -> Decoded:
    """Read the first frame and convert it to RGB, as Yahoo's ``classify_nsfw.py`` does.

    Orientation and colour profiles are ignored, transparency is dropped (pixels that nobody
    sees count), 16 bits are clipped. The handle is fresh and nothing is looked at before the
    pixels: Pillow forgives more damage once metadata have been asked for.

    Raises:
        ImageError: the image cannot be read, or declares more than allowed.
    """
    with coded(data):
        image = _open(data, settings, names)
        image.load()
        picture = image if image.mode == "RGB" else image.convert("RGB")
        return Decoded([picture], 1, *picture.size, image.format or "")


def _open(data: bytes, settings: DecodeSettings, names: list[str] | None) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=names or formats.readable())
    limits.check_size(image.size, settings)
    limits.check_scans(image, data)
    return image


def _frame_count(data: bytes, settings: DecodeSettings, names: list[str] | None) -> int:
    """Count on a handle of its own: counting moves through the file."""
    count: int = getattr(_open(data, settings, names), "n_frames", 1)
    limits.check_frame_count(count, settings)
    return count


def _steps(image: Image.Image) -> Iterator[Image.Image]:
    """Go through the frames in order: most formats build each on the last."""
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        yield image


def _sample(
    steps: Iterator[Image.Image], count: int, size: tuple[int, int], settings: DecodeSettings
) -> list[Image.Image]:
    """Keep frames spread over an animation; fewer of them where they are large."""
    deadline = time.monotonic() + settings.timeout
    room = max(1, settings.max_pixels // (size[0] * size[1]))
    wanted = set(spread(count, min(settings.max_frames, room)))
    frames = []
    for index, image in enumerate(steps):
        if time.monotonic() > deadline:
            raise ImageError(
                ErrorCode.DECODE_TIMEOUT,
                f"only {index} of {count} frames were reached in {settings.timeout:g} s; "
                "raise decode.timeout to score it",
            )
        limits.check_size(image.size, settings)
        if index in wanted:
            image.load()
            picture = as_viewed(image)
            # The next frame is decoded into the same image.
            frames.append(picture.copy() if picture is image else picture)
    return frames
