"""Unpacking the body of an answer, as browsers do, in chunks of bounded size.

No packing is asked for, but servers pack all the same, or name what is no packing at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from saferank.errors import ErrorCode, ImageError

_CHUNK = 64 * 1024
_GZIP, _ZLIB, _BARE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_NAMES, _DEFLATE = frozenset({"gzip", "x-gzip"}), "deflate"
_NOT_UNPACKED = frozenset({"br", "zstd", "dcb", "dcz"})  # by browsers only, which ask for them
_MOST = 4  # one inside the other


def unpacked(body: Iterable[bytes], encodings: str) -> Iterator[bytes]:
    """The body in chunks of bounded size, however well it is packed.

    Where one of the encodings is none that browsers know, the body is as it is.

    Args:
        body: as it came, in pieces.
        encodings: the header's value: names, in the order in which the body was packed.

    Raises:
        ImageError: ``unreadable``, when it is packed in a way that was not asked for;
            ``unreachable``, when it ends early.
        zlib.error: it is damaged.
    """
    names = [name for each in encodings.lower().split(",") if (name := each.strip())]
    known = _GZIP_NAMES | _NOT_UNPACKED | {_DEFLATE}
    if not known.issuperset(names):
        return iter(body)
    if _NOT_UNPACKED.intersection(names) or len(names) > _MOST:
        raise ImageError(
            ErrorCode.UNREADABLE,
            f"the server packed the image as {', '.join(names[:_MOST])} without being asked",
        )
    for name in reversed(names):
        body = _inflated(body) if name == _DEFLATE else _members(body)
    return iter(body)


def _inflated(body: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack ``deflate``, which is meant to have a header of two bytes and often has none."""
    pieces = iter(body)
    start = b""
    while len(start) < 2 and (piece := next(pieces, b"")):
        start += piece
    unpacker = zlib.decompressobj(_ZLIB if _has_header(start) else _BARE)
    for packed in chain([start], pieces):
        yield from _pieces(unpacker, packed)
    if not unpacker.eof:
        raise _ends_early()


def _has_header(start: bytes) -> bool:
    is_deflated = start[:1] != b"" and start[0] & 15 == zlib.DEFLATED
    return is_deflated and int.from_bytes(start[:2], "big") % 31 == 0


def _members(body: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack ``gzip``: one member or several; what follows and is none is passed over."""
    unpacker, waiting = zlib.decompressobj(_GZIP), b""
    for piece in body:
        waiting += piece
        while waiting:
            if unpacker.eof:
                if len(waiting) < len(_GZIP_MAGIC):
                    break
                if not waiting.startswith(_GZIP_MAGIC):
                    return
                unpacker = zlib.decompressobj(_GZIP)
            yield from _pieces(unpacker, waiting)
            waiting = unpacker.unused_data
    if not unpacker.eof:
        raise _ends_early()


def _pieces(unpacker: zlib._Decompress, packed: bytes) -> Iterator[bytes]:
    """All that some packed bytes give, in pieces of bounded size."""
    part = b""
    # A full piece may have more behind it, with nothing left to unpack.
    while not unpacker.eof and (packed or len(part) == _CHUNK):
        part = unpacker.decompress(packed, _CHUNK)
        packed = unpacker.unconsumed_tail
        if part:
            yield part


def _ends_early() -> ImageError:
    return ImageError(ErrorCode.UNREACHABLE, "the packed body ends early")
