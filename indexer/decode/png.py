"""What must hold of a PNG file before it is decoded.

Pillow does not verify the checksums of pixel data, so a file with a hole in it (a download
that was laid out in advance and never filled, for example) would be scored as if whole. And it
unpacks text chunks, which nobody sees, so they are taken out.
"""

from __future__ import annotations

import zlib

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode.formats import PNG_SIGNATURE

_PIXELS = frozenset({b"IDAT", b"fdAT"})
_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})


def checked_png(data: bytes) -> bytes:
    """Verify the pixel data's checksums, and give the file without its text.

    A file that ends within a chunk is left for the decoder to judge.

    Raises:
        ImageError: ``unreadable``, when a checksum is wrong.
    """
    view = memoryview(data)
    kept = [view[: len(PNG_SIGNATURE)]]
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + 12 + length
        kind = bytes(view[position + 4 : position + 8])
        if kind in _PIXELS and end <= len(data):
            stored = int.from_bytes(view[end - 4 : end], "big")
            if zlib.crc32(view[position + 4 : end - 4]) != stored:
                raise ImageError(
                    ErrorCode.UNREADABLE,
                    f"the PNG file is damaged: a checksum of its pixels is wrong (byte {position})",
                )
        if kind not in _TEXT:
            kept.append(view[position:end])
        position = end
    kept.append(view[position:])
    return b"".join(kept)
