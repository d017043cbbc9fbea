"""Putting the frames of an animation together as browsers show them.

Pillow decodes each frame alone here, from a file that holds only it; it does not put them
together. Left to itself it clears a GIF frame to the file's background colour, and an opaque
PNG's to black, where browsers clear them to nothing; and it fills what a GIF's first frame
leaves uncovered with the first colour of the palette.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from PIL import Image

from saferank.indexer.decode.colour import to_srgb
from saferank.indexer.decode.png import check_rows, open_png

_NOTHING = (0, 0, 0, 0)


class Disposal(Enum):
    """What becomes of a frame when the next one comes."""

    KEEP = "it stays"
    CLEAR = "its part of the canvas becomes transparent"
    RESTORE = "its part of the canvas becomes what it was before"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of an animation.

    Attributes:
        left: where it goes on the canvas, in pixels.
        top: likewise.
        width: in pixels.
        height: in pixels.
        disposal: what becomes of it.
        delay: seconds for which it is to be shown.
        over: whether what is below shows through; if not, it replaces its part of the canvas.
        parts: a file of the frame alone, in pieces, which frames may share.
    """

    left: int
    top: int
    width: int
    height: int
    disposal: Disposal
    delay: float
    over: bool
    parts: tuple[bytes | memoryview, ...]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom on the canvas."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def opened(self, name: str) -> Image.Image:
        """Open the frame alone, from a file of the format that Pillow calls so."""
        data = b"".join(self.parts)
        return open_png(data) if name == "PNG" else Image.open(io.BytesIO(data), formats=[name])

    def loaded(self, name: str) -> Image.Image:
        """Open the frame alone and decode it.

        Raises:
            ImageError: ``truncated``, when a PNG's has not all its rows.
        """
        image = self.opened(name)
        image.load()
        check_rows(image)
        return image


@dataclass(frozen=True, slots=True)
class Animation:
    """A file taken apart.

    Attributes:
        format: as Pillow calls it.
        size: width and height of the canvas.
        frames: at least one.
        first_may_be_alone: whether some viewers show the first frame without the canvas.
    """

    format: str
    size: tuple[int, int]
    frames: list[Frame]
    first_may_be_alone: bool = False


def compose(animation: Animation) -> Iterator[Image.Image]:
    """The canvas as it looks after each frame.

    It is the same RGBA image each time, in sRGB: copy what is to be kept.
    """
    canvas = Image.new("RGBA", animation.size, _NOTHING)
    before: Frame | None = None
    saved = canvas
    for frame in animation.frames:
        if before is not None and before.disposal is Disposal.CLEAR:
            canvas.paste(_NOTHING, before.box)
        elif before is not None and before.disposal is Disposal.RESTORE:
            canvas.paste(saved, before.box)
        if frame.disposal is Disposal.RESTORE:
            saved = canvas.crop(frame.box)
        with frame.loaded(animation.format) as pixels:
            _put(canvas, to_srgb(pixels), frame)
        yield canvas
        before = frame


def _put(canvas: Image.Image, pixels: Image.Image, frame: Frame) -> None:
    if not frame.over or pixels.mode == "RGB":
        canvas.paste(pixels, frame.box)
        return
    below = canvas.crop(frame.box)  # alpha_composite itself takes no box that sticks out
    below.alpha_composite(pixels)
    canvas.paste(below, frame.box)
