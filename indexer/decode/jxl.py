"""JPEG XL files: what their header says, and opening them.

The plug-in for Pillow decodes a file as it opens it, so the size is read here before. Of an
animation it gives the last frame alone, and says nothing of the others.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import boxes, limits
from saferank.settings import DecodeSettings

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_HIGHEST = {"F": 1, "I;16": 65535}  # white, in the deep modes of grey
_ENOUGH = 64  # bytes of the code stream: its header has fewer

# How the sizes of a picture and of its preview are stored: least values and numbers of bits.
_SIZES = ((1, 9), (1, 13), (1, 18), (1, 30))
_PREVIEW_SIZES = ((1, 6), (65, 8), (321, 10), (1345, 12))
_PREVIEW_EIGHTHS = ((16, 0), (32, 0), (1, 5), (33, 9))
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        size: width and height in pixels, as they are stored.
        is_animated: whether it has frames that are shown one after the other.
    """

    size: tuple[int, int]
    is_animated: bool


def is_jxl(data: bytes) -> bool:
    """Whether the file begins as one."""
    return data.startswith((_CODESTREAM, _CONTAINER))


def open_jxl(data: bytes, settings: DecodeSettings) -> Image.Image:
    """Open a file, which decodes it.

    Raises:
        ImageError: ``too_large``, or ``unreadable`` when it is damaged or an animation.
    """
    header = read_header(data)
    limits.check_size(header.size, settings)
    if header.is_animated:
        raise ImageError(
            ErrorCode.KIND_NOT_READ,
            "the JPEG XL file is an animation, which is not read; store it as WebP or AVIF",
        )
    try:
        image = Image.open(io.BytesIO(data), formats=["JXL"])
    except RuntimeError as error:  # its text tells how to build the decoder anew
        raise ImageError(
            ErrorCode.UNREADABLE, "the JPEG XL file is damaged, ends early or uses the unsupported"
        ) from error
    if not getattr(image, "jpeg", False):
        image.info.pop("exif", None)  # the picture is upright: the code stream says how it lies
    return _eight_bits(image) if image.mode in _HIGHEST else image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Round deep grey, and cut off what lossy coding adds beyond the range that is meant."""
    values = np.asarray(image, np.float32) / _HIGHEST[image.mode]
    rounded = Image.fromarray(np.rint(255 * np.nan_to_num(values).clip(0, 1)).astype(np.uint8))
    rounded.format, rounded.info = image.format, image.info
    return rounded


def read_header(data: bytes) -> Header:
    """Read the beginning of the code stream, wherever it is.

    Raises:
        ImageError: ``unreadable``, when there is none.
    """
    stream = data if data.startswith(_CODESTREAM) else _in_boxes(data)
    if not stream.startswith(_CODESTREAM):
        raise ImageError(ErrorCode.UNREADABLE, "the JPEG XL file has no picture")
    bits = _Bits(stream[len(_CODESTREAM) : _ENOUGH])
    return Header(_size(bits), _is_animated(bits))


def _in_boxes(data: bytes) -> bytes:
    """The beginning of the code stream in a container, where it may be in parts."""
    stream = b""
    for kind, body in boxes.boxes(data):
        if kind == b"jxlc":
            return body
        if kind == b"jxlp":
            stream += body[4:][:_ENOUGH]
        if len(stream) >= _ENOUGH:
            break
    return stream


class _Bits:
    """Reads numbers, their lowest bit first; zeros where the file ends."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._number & ((1 << count) - 1)
        self._number >>= count
        return value

    def one_of(self, ways: tuple[tuple[int, int], ...]) -> int:
        least, count = ways[self.take(2)]
        return least + self.take(count)


def _size(bits: _Bits) -> tuple[int, int]:
    if bits.take(1):
        return _with_ratio(bits, lambda: 8 * (1 + bits.take(5)))
    return _with_ratio(bits, lambda: bits.one_of(_SIZES))


def _with_ratio(bits: _Bits, side: Callable[[], int]) -> tuple[int, int]:
    """Width and height: the height comes first, and the width may be a multiple of it."""
    height = side()
    ratio = bits.take(3)
    if ratio == 0:
        return side(), height
    times, divided = _RATIOS[ratio - 1]
    return height * times // divided, height


def _is_animated(bits: _Bits) -> bool:
    all_default = bits.take(1)
    if all_default or not bits.take(1):
        return False
    bits.take(3)  # how it lies
    if bits.take(1):  # the size that it is meant for
        _size(bits)
    if bits.take(1):  # a preview
        eighths = bits.take(1)
        ways, factor = (_PREVIEW_EIGHTHS, 8) if eighths else (_PREVIEW_SIZES, 1)
        _with_ratio(bits, lambda: factor * bits.one_of(ways))
    return bool(bits.take(1))
