"""Taking an animated PNG file apart (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from PIL import ImageFile

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import limits
from saferank.indexer.decode.composing import Animation, Disposal, Frame
from saferank.indexer.decode.png import SIGNATURE, chunks
from saferank.settings import DecodeSettings

_SHARED = frozenset(
    {b"PLTE", b"tRNS", b"cICP", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"eXIf"}
)
_DISPOSALS = (Disposal.KEEP, Disposal.CLEAR, Disposal.RESTORE)


def parse(data: bytes, settings: DecodeSettings) -> Animation | None:
    """Take an animated PNG apart, decoding nothing.

    A default image that is not part of the animation counts as its first frame, because viewers
    that know no animations show it.

    Args:
        data: the file, as ``checked_png`` gives it.
        settings: limits.

    Returns:
        None when the file is a still picture.

    Raises:
        ImageError: ``truncated``, ``too_large``, or ``unreadable`` when the frames are not in
            order.
    """
    declared = _declared(data)
    if declared == 0:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    limits.check_size((width, height), settings)
    frames: list[Frame] = []
    try:
        for frame in _frames(data, declared):
            limits.check_size((frame.width, frame.height), settings)
            frames.append(frame)
            limits.check_frame_count(len(frames), settings)
    except ImageError as error:
        cut_off = error.code is ErrorCode.TRUNCATED
        if not (cut_off and frames and ImageFile.LOAD_TRUNCATED_IMAGES):
            raise
    return Animation("PNG", (width, height), frames)


def _declared(data: bytes) -> int:
    """How many frames are announced, once and sensibly, before the pixels; 0 if it is still."""
    counts = []
    with suppress(ImageError):  # a file that ends before its pixels is left to the decoder
        for kind, body in chunks(data):
            if kind == b"acTL":
                counts.append(struct.unpack(">II", body)[0] if len(body) == 8 else 0)
            if kind == b"IDAT":
                break
    return counts[0] if len(counts) == 1 and counts[0] < 2**31 else 0


@dataclass(slots=True)
class _Control:
    """What is known of a frame before its pixels."""

    box: tuple[int, int, int, int]  # left, top, width, height
    disposal: Disposal
    delay: float
    over: bool
    pixels: list[memoryview] = field(default_factory=list)


def _frames(data: bytes, declared: int) -> Iterator[Frame]:
    """Go through the chunks; a frame is complete when the next one or the file's end comes.

    Frames beyond those declared are not shown by browsers, so they must not crowd out the others.
    """
    header = data[16:29]
    shared: list[bytes] = []
    control: _Control | None = None
    sequence, is_default = 0, False
    for kind, body in chunks(data):
        if kind in (b"fcTL", b"fdAT"):
            if len(body) < 4 or struct.unpack_from(">I", body)[0] != sequence:
                raise _out_of_order()
            sequence += 1
        if kind == b"fcTL" and declared == 0:
            break
        if kind == b"fcTL":
            if control is not None:
                yield _frame(control, header, shared)
            control, is_default, declared = _control(body), False, declared - 1
        elif kind == b"IDAT":
            if control is None:
                width, height = struct.unpack_from(">II", header)
                control = _Control((0, 0, width, height), Disposal.CLEAR, 0.0, over=False)
                is_default = True
            control.pixels.append(body)
        elif kind == b"fdAT":
            if control is None or is_default:
                raise _out_of_order()
            control.pixels.append(body[4:])
        elif kind in _SHARED and control is None:
            shared.append(_chunk(kind, [body]))
    if control is not None:
        yield _frame(control, header, shared)


def _control(body: memoryview) -> _Control:
    if len(body) != 26:
        raise _out_of_order()
    width, height, left, top, *delay, disposal, blend = struct.unpack_from(">IIIIHHBB", body, 4)
    if disposal >= len(_DISPOSALS):
        raise _out_of_order()
    seconds = delay[0] / (delay[1] or 100)
    return _Control((left, top, width, height), _DISPOSALS[disposal], seconds, over=blend == 1)


def _frame(control: _Control, header: bytes, shared: list[bytes]) -> Frame:
    if not control.pixels:
        raise _out_of_order()
    left, top, width, height = control.box
    header = struct.pack(">II", width, height) + header[8:]
    return Frame(
        left,
        top,
        width,
        height,
        control.disposal,
        control.delay,
        control.over,
        (
            SIGNATURE + _chunk(b"IHDR", [header]),
            *shared,
            _chunk(b"IDAT", control.pixels),
            _chunk(b"IEND", []),
        ),
    )


def _chunk(kind: bytes, bodies: list[bytes] | list[memoryview]) -> bytes:
    content = b"".join([kind, *bodies])
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def _out_of_order() -> ImageError:
    return ImageError(
        ErrorCode.UNREADABLE,
        "the frames of the PNG animation are not in order, so viewers disagree about them",
    )
