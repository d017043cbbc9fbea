"""Does a file end where it says that it does?

Asked only about files that a decoder refused, to tell a transfer that was cut off (fetch it
again) from damage (do not).
"""

from __future__ import annotations

import struct

from saferank.indexer.decode import jpeg


def ends_early(data: bytes, name: str) -> bool:
    """Say whether the file is shorter than its own structure declares.

    Args:
        data: the whole file.
        name: its format as Pillow calls it; formats without a check are never early.
    """
    check = _CHECKS.get(name)
    return check is not None and check(data)


def _jpeg(data: bytes) -> bool:
    return not jpeg.has_end(data)


def _png(data: bytes) -> bool:
    position = 8
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IEND":
            return False
        position += 12 + length
    return True


def _gif(data: bytes) -> bool:
    return len(data) < 13 or not data.rstrip(b"\0").endswith(b";")


def _riff(data: bytes) -> bool:
    return len(data) < 12 or len(data) < 8 + struct.unpack_from("<I", data, 4)[0]


def _boxes(data: bytes) -> bool:
    """ISO base media (AVIF, HEIF) and JPEG 2000: boxes of declared length, back to back."""
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length == 0:  # to the end of the file
            return False
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16], "big")
        if length < 8:
            return False
        position += length
    return position > len(data)


def _jpeg2000(data: bytes) -> bool:
    if data.startswith(b"\xff\x4f"):  # a bare code stream
        return not data.endswith(b"\xff\xd9")
    return _boxes(data)


def _bmp(data: bytes) -> bool:
    return len(data) < 14 or len(data) < struct.unpack_from("<I", data, 2)[0]


def _tiff(data: bytes) -> bool:
    """The first directory, and what its entries point to."""
    order = ">" if data.startswith(b"MM") else "<"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        entries = [
            struct.unpack_from(order + "HHII", data, start + 2 + 12 * entry)
            for entry in range(count)
        ]
    except struct.error:
        return True
    sizes = (_TIFF_TYPE_SIZES.get(kind, 1) * number for _, kind, number, _ in entries)
    ends = (entry[3] + size for entry, size in zip(entries, sizes, strict=True) if size > 4)
    return start + 2 + 12 * count + 4 > len(data) or any(end > len(data) for end in ends)


_TIFF_TYPE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def _qoi(data: bytes) -> bool:
    return not data.endswith(b"\0\0\0\0\0\0\0\1")


def _icns(data: bytes) -> bool:
    return len(data) < 8 or len(data) < struct.unpack_from(">I", data, 4)[0]


def _ico(data: bytes) -> bool:
    if len(data) < 6:
        return True
    (count,) = struct.unpack_from("<H", data, 4)
    entries = [data[6 + 16 * n : 22 + 16 * n] for n in range(count)]
    return any(
        len(entry) < 16 or sum(struct.unpack_from("<II", entry, 8)) > len(data) for entry in entries
    )


def _matroska(data: bytes) -> bool:
    """EBML: a header and a segment; one that is written as it is filmed does not say its length."""
    position = 0
    while position < len(data):
        id_length = 9 - data[position].bit_length()
        start = position + id_length
        if start >= len(data):
            return True
        length_length = 9 - data[start].bit_length()
        number = int.from_bytes(data[start : start + length_length], "big")
        number &= (1 << 7 * length_length) - 1
        if length_length > 8 or number == (1 << 7 * length_length) - 1:
            return False
        position = start + length_length + number
    return position > len(data)


_CHECKS = {
    "AVIF": _boxes,
    "BMP": _bmp,
    "CUR": _ico,
    "GIF": _gif,
    "HEIF": _boxes,
    "ICNS": _icns,
    "ICO": _ico,
    "JPEG": _jpeg,
    "JPEG2000": _jpeg2000,
    "MATROSKA": _matroska,
    "MP4": _boxes,
    "MPO": _jpeg,
    "PNG": _png,
    "QOI": _qoi,
    "TIFF": _tiff,
    "WEBP": _riff,
}
