"""What must hold of a PNG file before it is decoded, and opening it.

Pillow does not verify the checksums of pixel data, so a file with a hole in it (a download
that was laid out in advance and never filled, for example) would be scored as if whole. On the
other hand it refuses a file for a broken chunk that adds to the picture (a colour profile, say)
and that browsers pass over. And it unpacks text and keeps chunks that nobody sees, which costs
memory. So what nobody sees is taken out before.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image, ImageFile, ImagePalette, PngImagePlugin

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import colour_space

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset({b"IDAT", b"fdAT"})
_STRUCTURE = _PIXELS | {b"IHDR", b"PLTE", b"IEND", b"acTL", b"fcTL"}
# What may be left out, and the length that the content must have; any length for None.
_ADDED = {
    b"cICP": 4,
    b"cHRM": 32,
    b"eXIf": None,
    b"gAMA": 4,
    b"iCCP": None,
    b"sBIT": None,
    b"sRGB": 1,
    b"tRNS": None,
}
_DEPTH, _COLOUR_TYPE, _INTERLACE = 24, 25, 28  # where they are in the file
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PASSES = (
    *((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4)),
    *((0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)),
)  # of an interlaced picture: first column, columns apart, first row, rows apart
_PIECE = 1 << 20  # bytes unpacked at a time
_GREY, _RGB, _PALETTE = 0, 2, 3
_LEAST_TRANSPARENCY = {_GREY: 2, _RGB: 6, _PALETTE: 1}  # bytes in tRNS
_ALSO_LATE = frozenset({b"eXIf"})  # some viewers, not browsers, read it after the pixels, too
_COLOURS = 256  # in a palette at most
_MAX_PROFILE = 8_000_000  # bytes, unpacked: printers' have two

PngImagePlugin.MAX_TEXT_CHUNK = _MAX_PROFILE  # for profiles: text is taken out before


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Each chunk's kind and content, up to the end chunk.

    Raises:
        ImageError: ``truncated``, when the file ends before that.
    """
    view = memoryview(data)
    kind, position = b"", len(SIGNATURE)
    while kind != b"IEND":
        end = position + 12 + int.from_bytes(view[position : position + 4], "big")
        if end > len(data):
            raise ImageError(ErrorCode.TRUNCATED, "the PNG file ends early")
        kind = bytes(view[position + 4 : position + 8])
        yield kind, view[position + 8 : end - 4]
        position = end


def checked_png(data: bytes) -> bytes:
    """Verify the pixel data's checksums, and give the file without what browsers do not see.

    Left out are text and the like, and of what adds to the picture that which is broken, comes a
    second time or after the pixels. A file that ends within a chunk is left for the decoder to
    judge.

    Raises:
        ImageError: ``unreadable``, when a checksum of the pixels is wrong.
    """
    view = memoryview(data)
    kept = bytearray(SIGNATURE)
    colour_type = data[_COLOUR_TYPE] if len(data) > _COLOUR_TYPE else 0
    met: set[bytes] = set()
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(view[position : position + 4], "big")
        kind = bytes(view[position + 4 : position + 8])
        complete = end <= len(data)
        if kind in _PIXELS and complete and not _is_whole(view[position:end]):
            raise ImageError(
                ErrorCode.UNREADABLE,
                f"the PNG file is damaged: a checksum of its pixels is wrong (byte {position})",
            )
        chunk = view[position:end]
        if not complete or kind in _STRUCTURE or _is_seen(kind, chunk, met, colour_type):
            kept += chunk
            met.add(kind)
        position = end
        if kind == b"IEND":
            return bytes(kept)
    return bytes(kept + view[position:])


def _is_whole(chunk: memoryview) -> bool:
    """Whether a chunk's checksum is right."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _is_seen(kind: bytes, chunk: memoryview, met: set[bytes], colour_type: int) -> bool:
    """Whether browsers heed a chunk that adds to the picture, after those met before it."""
    if kind not in _ADDED or kind in met or (b"IDAT" in met and kind not in _ALSO_LATE):
        return False
    body = chunk[8:-4]
    if _ADDED[kind] not in (None, len(body)) or not _is_whole(chunk):
        return False
    if kind == b"tRNS":
        fits = colour_type != _PALETTE or (b"PLTE" in met and len(body) <= _COLOURS)
        return fits and len(body) >= _LEAST_TRANSPARENCY.get(colour_type, 0)
    return kind != b"iCCP" or _unpacks(body)


def _unpacks(profile: memoryview) -> bool:
    """Whether a profile is packed as it should be, and not beyond reason."""
    name, _, packed = bytes(profile).partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed[1:], _MAX_PROFILE)
    except zlib.error:
        return False
    return 0 < len(name) < 80 and packed[:1] == b"\0" and unpacker.eof


def open_png(data: bytes) -> Image.Image:
    """Open a checked PNG, decoding nothing, with what Pillow does not tell of it in ``info``.

    Colours that the palette lacks are its last one, as in browsers.
    Of a transparent grey of up to eight bits the lower byte counts, as in Chromium.
    ``info["colour_space"]`` is what a cICP chunk says, and ``info["low_bytes"]`` decodes the lower
    halves of a picture of 16 bits a colour, where those decide what is transparent.
    ``info["file"]`` is for ``check_rows``.
    """
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    if image.mode == "P" and image.palette is not None:
        image.palette = ImagePalette.raw("RGB", _filled(bytes(image.palette.palette)))
    header = dict(_header(data))
    if b"cICP" in header:
        image.info["colour_space"] = colour_space.of_png_codes(header[b"cICP"])
    if data[_COLOUR_TYPE] == _GREY and not _is_deep(data) and b"tRNS" in header:
        _set_transparent(image, header[b"tRNS"][1], data[_DEPTH])
    if _is_deep(data) and image.mode == "RGB" and "transparency" in image.info:
        image.info["low_bytes"] = partial(_low_bytes, data)
    image.info["file"] = data
    return image


def check_rows(image: Image.Image) -> None:
    """Verify that a loaded picture, if ``open_png`` opened it, has its last row.

    Pillow leaves the rows that the data end before at zero and says nothing. So where the last row
    is anything else nothing is missing, and only the other files are unpacked once more.

    Raises:
        ImageError: ``truncated``.
    """
    data = image.info.pop("file", None)
    if data is None or ImageFile.LOAD_TRUNCATED_IMAGES:
        return
    is_interlaced = data[_INTERLACE] != 0
    last = image.crop((0, image.height - 1, *image.size))
    if not is_interlaced and np.asarray(last).any():
        return
    bits = _CHANNELS[data[_COLOUR_TYPE]] * data[_DEPTH]
    passes = _PASSES if is_interlaced else [(0, 1, 0, 1)]
    missing = 0
    for left, across, top, down in passes:
        width, height = (image.width - left - 1) // across + 1, (image.height - top - 1) // down + 1
        if width > 0:
            missing += height * (1 + (width * bits + 7) // 8)
    unpacker = zlib.decompressobj()
    for kind, body in chunks(data):
        packed: bytes | memoryview = body if kind == b"IDAT" else b""
        while packed and missing > 0:
            missing -= len(unpacker.decompress(packed, _PIECE))
            packed = unpacker.unconsumed_tail
    if missing > 0:
        raise ImageError(ErrorCode.TRUNCATED, "the PNG file's pixels end before its last row")


def _filled(palette: bytes) -> bytes:
    return palette + palette[-3:] * (_COLOURS - len(palette) // 3)


def _set_transparent(image: Image.Image, grey: int, depth: int) -> None:
    """Scale a transparent grey as Pillow scales the pixels; none if no pixel can have it."""
    highest = (1 << depth) - 1
    image.info.pop("transparency", None)
    if grey <= highest:
        image.info["transparency"] = grey * 255 // highest


def _header(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The chunks before the pixels; as many as there are in a file that ends early."""
    try:
        for kind, body in chunks(data):
            if kind in _PIXELS:
                return
            yield kind, body
    except ImageError:
        return


def _is_deep(data: bytes) -> bool:
    return data[_DEPTH : _DEPTH + 1] == b"\x10"


def _low_bytes(data: bytes) -> Image.Image:
    """Decode the other half of each colour: Pillow itself keeps the high bytes only."""
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    assert isinstance(image, ImageFile.ImageFile)
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image
