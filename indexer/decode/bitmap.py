"""Windows bitmaps: BMP files, and the pictures in icons and cursors.

Pillow reads the usual ones. A bitmap may give each colour and the transparency any bits it likes,
leave pixels out, carry a profile; so they are read here, as Chromium reads them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import limits
from saferank.settings import DecodeSettings

SIGNATURE = b"BM"
_FILE_HEADER = 14
_PIXELS_AT = 10  # where the file header says where the pixels are

# Lengths of headers, which tell their kind; others from 16 to 64 are of OS/2's second kind.
_OS2 = 12
_WINDOWS = frozenset({40, 52, 56, 108, 124})
_WITH_ALPHA_MASK = 56  # the shortest header that has one
_PLAIN, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_FIVE_BITS, _EIGHT_BITS = (0x7C00, 0x3E0, 0x1F), (0xFF0000, 0xFF00, 0xFF)
_DEPTHS = frozenset({1, 2, 4, 8, 16, 24, 32})
_LEFT_OUT = 256  # in place of a colour: browsers show black

_Pixels = NDArray[np.uint8]
_Numbers = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Header:
    """What a bitmap says of itself.

    Attributes:
        start: where the header is in the file.
        length: of the header, in bytes; it tells the kind.
        width: in pixels.
        height: in pixels; in an icon, of picture and mask together.
        top_down: whether the first row is the upper one.
        bits: a pixel.
        packing: how pixels are packed.
        colours: entries of the palette.
    """

    start: int
    length: int
    width: int
    height: int
    top_down: bool
    bits: int
    packing: int
    colours: int

    @property
    def stride(self) -> int:
        """Bytes in a row of pixels that are not packed."""
        return (self.width * self.bits + 31) // 32 * 4


@dataclass(frozen=True, slots=True)
class Bitmap:
    """A decoded bitmap.

    Attributes:
        pixels: height x width x RGBA.
        is_transparent: whether the transparency in it counts.
        end: where in the file its pixels end.
    """

    pixels: _Pixels
    is_transparent: bool
    end: int


def read_bmp(data: bytes, settings: DecodeSettings) -> Image.Image:
    """Decode a BMP file.

    Raises:
        ImageError: ``truncated``, ``too_large`` or ``unreadable``.
        struct.error: the file ends within its header.
    """
    header = read_header(data, _FILE_HEADER)
    (pixels_at,) = struct.unpack_from("<I", data, _PIXELS_AT)
    bitmap = decode(data, header, header.height, settings, pixels_at=pixels_at)
    image = Image.fromarray(bitmap.pixels if bitmap.is_transparent else bitmap.pixels[..., :3])
    if bitmap.is_transparent and not bitmap.pixels[..., 3].any():
        # Nothing is to be seen of it; many viewers take that for a mistake.
        image.info["elsewhere"] = image.convert("RGB")
    image.format = "BMP"
    profile = _profile(data, header)
    if profile:
        image.info["icc_profile"] = profile
    return image


def read_header(data: bytes, start: int) -> Header:
    """Read the header that is there.

    Raises:
        ImageError: ``unreadable``.
        struct.error: the file ends within it.
    """
    (length,) = struct.unpack_from("<I", data, start)
    if length == _OS2:
        width, height, _, bits = struct.unpack_from("<HhHH", data, start + 4)
        packing = colours = 0
    elif length in _WINDOWS or 16 <= length <= 64:
        width, height, _, bits = struct.unpack_from("<iiHH", data, start + 4)
        rest = data[start + 16 : start + min(length, 36)].ljust(20, b"\0")
        packing, colours = struct.unpack_from("<I12xI", rest)
    else:
        raise _unsupported(f"a header of {length} bytes")
    if width <= 0 or height == 0 or bits not in _DEPTHS:
        raise _unsupported(f"{width} x {height} pixels of {bits} bits")
    limit = 1 << bits if bits <= 8 else 0
    colours = min(colours or limit, limit)
    return Header(start, length, width, abs(height), height < 0, bits, packing, colours)


def decode(
    data: bytes,
    header: Header,
    height: int,
    settings: DecodeSettings,
    *,
    pixels_at: int | None = None,
) -> Bitmap:
    """Decode the pixels of a bitmap.

    Args:
        data: the whole file.
        header: as read from it.
        height: rows of the picture.
        settings: limits.
        pixels_at: where they begin; behind the palette, as in an icon, unless given.
    """
    limits.check_size((header.width, height), settings)
    masks, palette_at = _masks(data, header, in_icon=pixels_at is None)
    palette_end = palette_at + header.colours * _entry(header)
    start = palette_end if pixels_at is None else pixels_at
    if header.bits <= 8:
        palette = _palette(data[palette_at:palette_end], _entry(header))
        indices, end = _indices(data, header, height, start)
        pixels = palette[indices]
        is_transparent = False
    else:
        numbers, end = _numbers(data, header, height, start)
        pixels = np.stack([_channel(numbers, mask) for mask in masks], axis=-1)
        is_transparent = masks[3] != 0
    return Bitmap(pixels if header.top_down else pixels[::-1], is_transparent, end)


def _entry(header: Header) -> int:
    """Bytes of a colour in the palette."""
    return 3 if header.length == _OS2 else 4


def _masks(data: bytes, header: Header, *, in_icon: bool) -> tuple[tuple[int, ...], int]:
    """The bits of red, green, blue and alpha, and where the palette begins."""
    end, in_header = header.start + header.length, header.start + 40
    is_windows = header.length in _WINDOWS
    if is_windows and header.packing in (_MASKS, _ALPHA_MASKS):
        has_alpha = header.length >= _WITH_ALPHA_MASK or header.packing == _ALPHA_MASKS
        masks = struct.unpack_from("<4I" if has_alpha else "<3I", data, in_header)
        return (*masks[:3], masks[3] if has_alpha else 0), max(end, in_header + 4 * len(masks))
    alpha = 0
    if header.bits == 32 and in_icon:
        alpha = 0xFF000000
    elif header.bits == 32 and is_windows and header.length > _WITH_ALPHA_MASK:
        (alpha,) = struct.unpack_from("<I", data, in_header + 12)
    return (*(_FIVE_BITS if header.bits == 16 else _EIGHT_BITS), alpha), end


def _palette(entries: bytes, size: int) -> _Pixels:
    """Make 257 colours: those given, and black for those missing and for pixels left out."""
    colours = np.zeros((257, 4), np.uint8)
    colours[..., 3] = 255
    given = np.frombuffer(entries[: len(entries) // size * size], np.uint8).reshape(-1, size)
    colours[: len(given), :3] = given[:, 2::-1]
    return colours


def _rows(data: bytes, header: Header, height: int, start: int) -> tuple[_Pixels, int]:
    """The rows of bytes, and where they end."""
    end = start + header.stride * height
    rows = data[start:end]
    if len(rows) < header.stride * height:
        if not ImageFile.LOAD_TRUNCATED_IMAGES:
            raise ImageError(ErrorCode.TRUNCATED, "the bitmap ends before its last row of pixels")
        rows = rows.ljust(header.stride * height, b"\0")
    return np.frombuffer(rows, np.uint8).reshape(height, header.stride), end


def _indices(data: bytes, header: Header, height: int, start: int) -> tuple[NDArray[np.int16], int]:
    """Each pixel's place in the palette."""
    if header.packing in (_RLE8, _RLE4):
        return _run_lengths(data, header, height, start)
    if header.packing != _PLAIN:
        raise _unsupported(f"packing {header.packing} of {header.bits} bits")
    rows, end = _rows(data, header, height, start)
    shifts = np.arange(8 - header.bits, -1, -header.bits, dtype=np.uint8)
    indices = rows[..., None] >> shifts & ((1 << header.bits) - 1)
    return indices.reshape(height, -1)[:, : header.width].astype(np.int16), end


def _numbers(data: bytes, header: Header, height: int, start: int) -> tuple[_Numbers, int]:
    """Each pixel as the number whose bits the masks divide."""
    if header.packing not in (_PLAIN, _MASKS, _ALPHA_MASKS):
        raise _unsupported(f"packing {header.packing}")
    rows, end = _rows(data, header, height, start)
    size = header.bits // 8
    parts = rows[:, : header.width * size].reshape(height, header.width, size)
    whole = np.zeros((height, header.width, 4), np.uint8)
    whole[..., :size] = parts
    return whole.view("<u4")[..., 0], end


def _channel(numbers: _Numbers, mask: int) -> _Pixels:
    """Take a mask's bits out of the numbers, scaled to eight; zero without a mask."""
    if mask == 0:
        return np.zeros(numbers.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    bits = (mask >> shift).bit_length()
    values = (numbers & np.uint32(mask)) >> np.uint32(shift)
    if bits > 8:
        return (values >> np.uint32(bits - 8)).astype(np.uint8)
    highest = (1 << bits) - 1
    table = np.array([(255 * value + highest // 2) // highest for value in range(highest + 1)])
    scaled: _Pixels = table.astype(np.uint8)[values]
    return scaled


def _run_lengths(
    data: bytes, header: Header, height: int, position: int
) -> tuple[NDArray[np.int16], int]:
    """Unpack runs of pixels; those that the file leaves out stay marked."""
    indices = np.full((height, header.width), _LEFT_OUT, np.int16)
    halved = header.packing == _RLE4
    x = y = 0
    while y < height:
        if position + 2 > len(data):
            if not ImageFile.LOAD_TRUNCATED_IMAGES:
                raise ImageError(ErrorCode.TRUNCATED, "the bitmap ends before its pixels do")
            break
        count, value = data[position : position + 2]
        position += 2
        if count:
            run = np.array((value >> 4, value & 15) if halved else (value, value), np.int16)
            x += _put(indices[y, x:], np.resize(run, count))
        elif value == 0:
            x, y = 0, y + 1
        elif value == 1:
            break
        elif value == 2:
            across, down = data[position : position + 2].ljust(2, b"\0")
            position += 2
            x, y = min(x + across, header.width), y + down
        else:
            size = (value + 1) // 2 if halved else value
            body = np.frombuffer(data[position : position + size], np.uint8).astype(np.int16)
            position += size + size % 2
            if halved:
                body = np.stack([body >> 4, body & 15], axis=-1).ravel()
            x += _put(indices[y, x:], body[:value])
    return indices, position


def _put(row: NDArray[np.int16], pixels: NDArray[np.int16]) -> int:
    """Write pixels from the start of what is left of a row; gives how many had room."""
    length = min(len(row), len(pixels))
    row[:length] = pixels[:length]
    return length


def _profile(data: bytes, header: Header) -> bytes:
    """The profile in the file; empty when there is none."""
    if header.length < 124:
        return b""
    (kind,) = struct.unpack_from("<4s", data, header.start + 56)
    start, size = struct.unpack_from("<II", data, header.start + 112)
    return data[header.start + start :][:size] if kind == b"DEBM" else b""


def _unsupported(what: str) -> ImageError:
    return ImageError(ErrorCode.UNREADABLE, f"the bitmap is damaged or unsupported: {what}")
