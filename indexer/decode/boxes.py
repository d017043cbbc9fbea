"""What the boxes of an AVIF or HEIF file say (ISO 14496-12, 23008-12).

Pillow goes by the major brand alone, and encoders may give a general one; it hands the profile
over but not the code points, which most files have instead of one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import repeat

from saferank.indexer.decode import colour_space
from saferank.indexer.decode.colour_space import ColourSpace

AVIF = (b"avif", b"avis")
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
GENERAL = (b"mif1", b"msf1", b"miaf")  # of pictures, however they are coded

_MAJOR, _COMPATIBLE = 8, 16  # where a file's brands are
_TRACKS = b"moov"
_HEADER = 8
_FULL_HEADER = 4  # version and flags, in the boxes that have them


def brands(data: bytes) -> list[bytes]:
    """What a file calls itself, the major brand first; nothing if it has no such boxes."""
    if data[4:8] != b"ftyp":
        return []
    compatible = range(_COMPATIBLE, min(int.from_bytes(data[:4], "big"), len(data)) - 3, 4)
    return [data[place : place + 4] for place in (_MAJOR, *compatible)]


def branded(data: bytes) -> bytes:
    """The file under a major brand that tells its coding: the first such of all its brands.

    AV1 comes before the others, as in browsers, which look at all brands.
    """
    own = brands(data)
    known = next((each for kind in (AVIF, HEIC) for each in own if each in kind), None)
    if known is None or own[0] in (AVIF if known in AVIF else HEIC):
        return data
    return data[:_MAJOR] + known + data[_MAJOR + 4 :]


def has_track(data: bytes) -> bool:
    """Whether there is an animation in the file."""
    return any(kind == _TRACKS for kind, _ in boxes(data))


def delays(data: bytes) -> Iterator[float]:
    """Seconds for which each frame of an animation is to be shown, as far as it makes sense."""
    tracks = (body for kind, body in boxes(_first(data, _TRACKS)) if kind == b"trak")
    media = next((body for body in map(_media, tracks) if _handler(body) == b"pict"), b"")
    try:
        header = _first(media, b"mdhd")
        (units,) = struct.unpack_from(">I", header, _FULL_HEADER + (16 if header[0] else 8))
        runs = _first(media, b"minf", b"stbl", b"stts")[_FULL_HEADER + 4 :]
        for number, delay in struct.iter_unpack(">II", runs):
            yield from repeat(delay / units, number)
    except (struct.error, IndexError, ZeroDivisionError):
        return


def _media(track: bytes) -> bytes:
    return _first(track, b"mdia")


def _handler(media: bytes) -> bytes:
    return _first(media, b"hdlr")[_FULL_HEADER + 4 :][:4]


def as_elsewhere(data: bytes) -> bytes | None:
    """An AVIF file so that the other of its still picture and its animation is shown; or None.

    The major brand decides it for libavif and so for browsers; other viewers may know only stills.
    """
    own = brands(data)
    if not own or own[0] not in AVIF or not has_track(data) or not _has_picture(data):
        return None
    (other,) = set(AVIF) - {own[0]}
    return data[:_MAJOR] + other + data[_MAJOR + 4 :]


def _has_picture(data: bytes) -> bool:
    meta = _first(data, b"meta")[_FULL_HEADER:]
    return any(kind == b"pitm" for kind, _ in boxes(meta))


def colour_space_of(data: bytes) -> ColourSpace | None:
    """The space that a picture's code points name; None where there are none of use."""
    try:
        for kind, body in _properties_of_primary(data):
            if kind == b"colr" and body[:4] == b"nclx":
                return colour_space.of_code_points(*struct.unpack_from(">HH", body, 4))
    except (struct.error, IndexError):  # whatever is wrong with them, the decoder judges the file
        return None
    return None


def clean_aperture(data: bytes, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The part of a picture that it says is to be shown: its left, upper, right and lower edge.

    Viewers with libheif show that part alone; browsers show the whole picture.

    Args:
        data: the file.
        width: of the whole picture, before it is turned.
        height: as ``width``.

    Returns:
        Pixels, rounded to whole ones; None where it names no part, or none that makes sense.
    """
    try:
        properties = _properties_of_primary(data)
        body = next((body for kind, body in properties if kind == b"clap"), b"")
        wide, high, right, down = (
            Fraction(*struct.unpack_from(form, body, place))
            for place, form in ((0, ">II"), (8, ">II"), (16, ">iI"), (24, ">iI"))
        )
    except (struct.error, IndexError, ZeroDivisionError):
        return None
    left, upper = round(right + (width - wide) / 2), round(down + (height - high) / 2)
    part = left, upper, left + round(wide), upper + round(high)
    inside = 0 <= left < part[2] <= width and 0 <= upper < part[3] <= height
    return part if inside and part != (0, 0, width, height) else None


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each box's kind and content."""
    position = 0
    while position + _HEADER <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        start = position + _HEADER
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = position + length if length else len(data)
        if end < start:
            return
        yield kind, data[start:end]
        position = end


def _first(data: bytes, *path: bytes) -> bytes:
    """The content of the first box of a kind in the first of another, and so on."""
    for kind in path:
        data = next((body for found, body in boxes(data) if found == kind), b"")
    return data


def _properties_of_primary(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    meta = _first(data, b"meta")[_FULL_HEADER:]
    primary = _first(meta, b"pitm")
    (number,) = struct.unpack_from(">I" if primary[0] else ">H", primary, _FULL_HEADER)
    properties = list(boxes(_first(meta, b"iprp", b"ipco")))
    for item, index in _associations(_first(meta, b"iprp", b"ipma")):
        if item == number and 0 < index <= len(properties):
            yield properties[index - 1]


def _associations(body: bytes) -> Iterator[tuple[int, int]]:
    """Each pair of an item's number and a property's index, counted from one."""
    version, wide = body[0], body[3] & 1
    (count,) = struct.unpack_from(">I", body, _FULL_HEADER)
    position = _FULL_HEADER + 4
    for _ in range(count):
        (item,) = struct.unpack_from(">I" if version else ">H", body, position)
        position += 4 if version else 2
        number = body[position]
        position += 1
        for _ in range(number):
            (entry,) = struct.unpack_from(">H" if wide else ">B", body, position)
            position += 2 if wide else 1
            yield item, entry & (0x7FFF if wide else 0x7F)
