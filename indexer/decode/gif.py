"""The frames of a GIF as browsers show them.

Pillow reads each frame's pixels here, but does not put the frames together: it clears a
disposed frame to the file's background colour where browsers clear it to nothing, and gives
what the first frame leaves uncovered the first colour of the palette.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageFile

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import limits
from saferank.settings import DecodeSettings

SIGNATURES = (b"GIF87a", b"GIF89a")
_CLEAR, _RESTORE = 2, 3  # what becomes of a frame when the next one comes
_NOTHING = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: where it goes, what becomes of it, and a GIF file that holds it alone."""

    left: int
    top: int
    width: int
    height: int
    disposal: int
    file: bytes

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom on the canvas."""
        return self.left, self.top, self.left + self.width, self.top + self.height


@dataclass(frozen=True, slots=True)
class Gif:
    """A GIF file taken apart.

    Attributes:
        size: width and height of the canvas.
        frames: at least one.
    """

    size: tuple[int, int]
    frames: list[Frame]


class _Reader:
    """Reads forward through the bytes; running out of them means that the file was cut off."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        part = self._data[self.position : self.position + count]
        if len(part) < count:
            raise ImageError(ErrorCode.TRUNCATED, "the GIF file ends early")
        self.position += count
        return part

    def blocks(self) -> bytes:
        """Pass a chain of sub-blocks, and give it as it is in the file."""
        start = self.position
        try:
            while size := self.take(1)[0]:
                self.take(size)
        except ImageError:
            if not ImageFile.LOAD_TRUNCATED_IMAGES:
                raise
            self.position = len(self._data)
        return self._data[start : self.position]


def parse(data: bytes, settings: DecodeSettings) -> Gif:
    """Take a GIF file apart, decoding nothing.

    As in browsers, a canvas smaller than the first frame grows to it, and the file is over at
    the first block of an unknown kind.

    Raises:
        ImageError: ``truncated``, ``too_large``, or ``unreadable`` when there is no frame.
    """
    reader = _Reader(data)
    reader.take(6)
    width, height, flags, _, _ = struct.unpack("<HHBBB", reader.take(7))
    limits.check_size((width, height), settings)
    frames: list[Frame] = []
    try:
        shared_table = _table(reader, flags)
        for frame in _frames(reader, shared_table, settings):
            frames.append(frame)
            limits.check_frame_count(len(frames), settings)
    except ImageError as error:
        cut_off = error.code is ErrorCode.TRUNCATED
        if not (cut_off and frames and ImageFile.LOAD_TRUNCATED_IMAGES):
            raise
    if not frames:
        raise ImageError(ErrorCode.UNREADABLE, "the GIF file has no frame")
    size = max(width, frames[0].width), max(height, frames[0].height)
    limits.check_size(size, settings)
    return Gif(size, frames)


def _frames(reader: _Reader, shared_table: bytes, settings: DecodeSettings) -> Iterator[Frame]:
    disposal, transparent = 0, None
    while (kind := reader.take(1)) in (b"!", b","):
        if kind == b",":
            left, top, width, height, flags = struct.unpack("<HHHHB", reader.take(9))
            limits.check_size((width, height), settings)
            table = _table(reader, flags) or shared_table
            pixels = reader.take(1) + reader.blocks()
            alone = _alone((width, height), table, transparent, flags & 0x40, pixels)
            yield Frame(left, top, width, height, disposal, alone)
            disposal, transparent = 0, None
            continue
        label, content = reader.take(1), reader.blocks()
        if label == b"\xf9" and len(content) >= 5:  # graphic control: it is for the next frame
            disposal = content[1] >> 2 & 7
            transparent = content[4] if content[1] & 1 else None


def _table(reader: _Reader, flags: int) -> bytes:
    return reader.take(6 << (flags & 7)) if flags & 0x80 else b""


def _alone(
    size: tuple[int, int], table: bytes, transparent: int | None, interlace: int, pixels: bytes
) -> bytes:
    """Write a GIF file with one frame that fills it."""
    table_flags = 0x80 | (len(table) // 6).bit_length() - 1 if table else 0
    control = b"" if transparent is None else b"!\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    return b"".join(
        (
            b"GIF89a" + struct.pack("<HHBBB", *size, table_flags, 0, 0),
            table,
            control,
            b"," + struct.pack("<HHHHB", 0, 0, *size, interlace),
            pixels,
            b";",
        )
    )


def render(gif: Gif) -> Iterator[Image.Image]:
    """Put the frames together one after another.

    Gives the same canvas each time, RGBA: copy what is to be kept.
    """
    canvas = Image.new("RGBA", gif.size, _NOTHING)
    before: Frame | None = None
    saved = canvas
    for frame in gif.frames:
        if before is not None and before.disposal == _CLEAR:
            canvas.paste(_NOTHING, before.box)
        elif before is not None and before.disposal >= _RESTORE:
            canvas.paste(saved, before.box)
        if frame.disposal >= _RESTORE:
            saved = canvas.crop(frame.box)
        with Image.open(io.BytesIO(frame.file), formats=["GIF"]) as pixels:
            patch = pixels.convert("RGBA")
        canvas.paste(patch, frame.box, mask=patch)
        del patch  # as large as the canvas, perhaps
        yield canvas
        before = frame
