"""Taking a GIF file apart."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import ImageFile

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import limits
from saferank.indexer.decode.composing import Animation, Disposal, Frame
from saferank.settings import DecodeSettings

SIGNATURES = (b"GIF87a", b"GIF89a")
_CLEAR = 2  # below it a frame stays; above it, what was before it comes back


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


def parse(data: bytes, settings: DecodeSettings) -> Animation:
    """Take a GIF file apart, decoding nothing.

    As in Chromium, a canvas that the first frame sticks out of grows to hold it, and the file is
    over at the first block of an unknown kind.

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
    first = frames[0]
    size = max(width, first.left + first.width), max(height, first.top + first.height)
    limits.check_size(size, settings)
    alone = _may_be_shown_alone(first, (width, height), data)
    return Animation("GIF", size, frames, first_may_be_alone=alone)


def _may_be_shown_alone(first: Frame, screen: tuple[int, int], data: bytes) -> bool:
    """Whether some viewers show the first frame without the canvas around it.

    Firefox does where the screen is smaller than that frame, and in a GIF87a file. Left to the
    canvas, a picture could be made as small a part of what is scored as one likes.
    """
    sticks_out = first.left + first.width > screen[0] or first.top + first.height > screen[1]
    fills_it = (first.width, first.height) == screen
    return sticks_out or (data.startswith(b"GIF87a") and not fills_it)


def _frames(reader: _Reader, shared_table: bytes, settings: DecodeSettings) -> Iterator[Frame]:
    disposal, delay, transparent = 0, 0.0, None
    while (kind := reader.take(1)) in (b"!", b","):
        if kind == b",":
            left, top, width, height, flags = struct.unpack("<HHHHB", reader.take(9))
            limits.check_size((width, height), settings)
            table = _table(reader, flags) or shared_table
            pixels = reader.take(1) + reader.blocks()
            alone = _alone((width, height), table, transparent, flags & 0x40, pixels)
            yield Frame(left, top, width, height, _disposal(disposal), delay, True, alone)
            disposal, delay, transparent = 0, 0.0, None
            continue
        label, content = reader.take(1), reader.blocks()
        if label == b"\xf9" and len(content) >= 5:  # graphic control: it is for the next frame
            disposal = content[1] >> 2 & 7
            delay = int.from_bytes(content[2:4], "little") / 100
            transparent = content[4] if content[1] & 1 else None


def _table(reader: _Reader, flags: int) -> bytes:
    return reader.take(6 << (flags & 7)) if flags & 0x80 else b""


def _disposal(number: int) -> Disposal:
    if number < _CLEAR:
        return Disposal.KEEP
    return Disposal.CLEAR if number == _CLEAR else Disposal.RESTORE


def _alone(
    size: tuple[int, int], table: bytes, transparent: int | None, interlace: int, pixels: bytes
) -> tuple[bytes, ...]:
    """Write a GIF file with one frame that fills it."""
    table_flags = 0x80 | (len(table) // 6).bit_length() - 1 if table else 0
    control = b"" if transparent is None else b"!\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    return (
        b"GIF89a" + struct.pack("<HHBBB", *size, table_flags, 0, 0),
        table,
        control,
        b"," + struct.pack("<HHHHB", 0, 0, *size, interlace),
        pixels,
        b";",
    )
