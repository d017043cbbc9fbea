"""What must hold of a PNG file before it is decoded.

Pillow does not verify the checksums of pixel data, so a file with a hole in it (a download
that was laid out in advance and never filled, for example) would be scored as if whole. And it
unpacks text and keeps chunks that nobody sees, which costs memory; so they are taken out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from saferank.errors import ErrorCode, ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset({b"IDAT", b"fdAT"})
_SEEN = _PIXELS | {b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"eXIf"}
_KEPT = _SEEN | {b"IEND", b"acTL", b"fcTL"}


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
    """Verify the pixel data's checksums, and give the file without what nobody sees.

    A file that ends within a chunk is left for the decoder to judge.

    Raises:
        ImageError: ``unreadable``, when a checksum is wrong.
    """
    view = memoryview(data)
    kept = bytearray(SIGNATURE)
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(view[position : position + 4], "big")
        kind = bytes(view[position + 4 : position + 8])
        if kind in _PIXELS and end <= len(data):
            stored = int.from_bytes(view[end - 4 : end], "big")
            if zlib.crc32(view[position + 4 : end - 4]) != stored:
                raise ImageError(
                    ErrorCode.UNREADABLE,
                    f"the PNG file is damaged: a checksum of its pixels is wrong (byte {position})",
                )
        if kind in _KEPT or end > len(data):
            kept += view[position:end]
        position = end
    return bytes(kept + view[position:])
