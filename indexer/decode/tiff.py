"""Which directories of a TIFF file hold its pictures.

Pillow follows the chain of directories, whatever they say that they are. A camera's file begins
with a preview and keeps the picture in a directory below; one that holds what the sensor measured
has no picture that anybody could see without developing it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import limits
from saferank.settings import DecodeSettings

_BIG = 43  # the version of files with pointers of eight bytes
_PREFIXES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CANON_RAW = b"CR\2"
_KIND, _OLD_KIND, _WIDTH, _COLOURS, _BELOW = _TAGS = 254, 255, 256, 262, 330
_REDUCED, _MASK, _DEPTH = 1, 4, 8
_OLD_REDUCED = 2
_RAW = {32803: "colour filter array", 34892: "linear raw"}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # TIFF's numbers of its types


@dataclass(frozen=True, slots=True)
class Directories:
    """Where the directories of a file are.

    Attributes:
        pictures: pages, and pictures below them; at least one.
        renditions: smaller ones, masks and the like in the chain, which some viewers show.
    """

    pictures: list[int]
    renditions: list[int]


def is_tiff(data: bytes) -> bool:
    """Whether the file begins as one."""
    return data.startswith(_PREFIXES)


def parse(data: bytes, settings: DecodeSettings) -> Directories:
    """Find the directories, decoding nothing.

    Raises:
        ImageError: ``too_large``, or ``unreadable`` when the picture is a sensor's raw data.
        struct.error: the file ends within a directory.
    """
    layout = _Layout.of(data)
    (first,) = layout.unpack("P", data, layout.first)
    chain, below = [], []
    for place in _chain(data, layout, first, settings):
        chain.append(place)
        # One without a width has a thumbnail and nothing else.
        below += [
            each
            for each in _below(data, layout, place, settings)
            if _WIDTH in _values(data, layout, each)
        ]
    pictures = [place for place in (*chain, *below) if _is_picture(data, layout, place)]
    if data[8:11] == _CANON_RAW or any(_is_raw(data, layout, place) for place in pictures):
        raise ImageError(
            ErrorCode.KIND_NOT_READ,
            "the TIFF file is a camera's raw data; store the picture as it was developed",
        )
    renditions = [place for place in chain if place not in pictures]
    return Directories(pictures, renditions) if pictures else Directories(chain, [])


def beginning_at(data: bytes, place: int) -> bytes:
    """The file with another directory as its first, which is all that readers look at."""
    layout = _Layout.of(data)
    pointer = struct.pack(layout.order + layout.pointer, place)
    return data[: layout.first] + pointer + data[layout.first + len(pointer) :]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers are stored, which differs from file to file.

    Attributes:
        order: of bytes, as ``struct`` has it.
        pointer: how places and numbers of values are stored.
        count: how the number of entries is.
        first: where it says where the first directory is.
    """

    order: str
    pointer: str
    count: str
    first: int

    @classmethod
    def of(cls, data: bytes) -> _Layout:
        order = ">" if data.startswith(b"MM") else "<"
        return cls(order, "Q", "Q", 8) if _BIG in data[2:4] else cls(order, "I", "H", 4)

    def unpack(self, format: str, data: bytes, place: int) -> tuple[int, ...]:
        """Read numbers; ``P`` stands for a pointer, ``C`` for a number of entries."""
        format = format.replace("P", self.pointer).replace("C", self.count)
        return struct.unpack_from(self.order + format, data, place)

    @property
    def entry(self) -> int:
        """Bytes of an entry: tag and type, number of values, values or where they are."""
        return 4 + 2 * struct.calcsize(self.pointer)


def _chain(data: bytes, layout: _Layout, place: int, settings: DecodeSettings) -> Iterator[int]:
    """Each directory once, as readers take a circle for the end."""
    met: set[int] = set()
    while place and place not in met:
        met.add(place)
        limits.check_frame_count(len(met), settings)
        yield place
        (count,) = layout.unpack("C", data, place)
        end = place + struct.calcsize(layout.count) + count * layout.entry
        (place,) = layout.unpack("P", data, end)


def _below(data: bytes, layout: _Layout, place: int, settings: DecodeSettings) -> list[int]:
    """The directories that one names as its own, and those that follow them."""
    named = _values(data, layout, place).get(_BELOW, ())
    limits.check_frame_count(len(named), settings)
    return [each for start in named for each in _chain(data, layout, start, settings)]


def _is_picture(data: bytes, layout: _Layout, place: int) -> bool:
    values = _values(data, layout, place)
    (kind, *_), (old, *_) = values.get(_KIND) or (0,), values.get(_OLD_KIND) or (0,)
    return not kind & (_REDUCED | _MASK | _DEPTH) and old != _OLD_REDUCED


def _is_raw(data: bytes, layout: _Layout, place: int) -> bool:
    return any(colours in _RAW for colours in _values(data, layout, place).get(_COLOURS, ()))


def _values(data: bytes, layout: _Layout, place: int) -> dict[int, tuple[int, ...]]:
    """The values of the entries that matter here, by tag; the first of a tag counts."""
    (count,) = layout.unpack("C", data, place)
    start = place + struct.calcsize(layout.count)
    found: dict[int, tuple[int, ...]] = {}
    for at in range(start, start + count * layout.entry, layout.entry):
        tag, kind, number = layout.unpack("HHP", data, at)
        if tag not in _TAGS or kind not in _INTEGERS:
            continue
        held = at + 4 + struct.calcsize(layout.pointer)
        if number * struct.calcsize(_INTEGERS[kind]) > struct.calcsize(layout.pointer):
            (held,) = layout.unpack("P", data, held)
        found.setdefault(tag, layout.unpack(f"{number}{_INTEGERS[kind]}", data, held))
    return found
