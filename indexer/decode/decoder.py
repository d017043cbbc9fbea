"""Decode a file, in the process that suits its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import boxes, formats, kinds
from saferank.indexer.decode.isolation import DecoderProcess
from saferank.indexer.decode.reading import Decoded, read, read_reference, read_scaled
from saferank.settings import DecodeSettings

_child = DecoderProcess()


def decode(data: bytes, settings: DecodeSettings) -> Decoded:
    """Decode a file of any readable format to what a viewer sees.

    Args:
        data: the whole file; its bytes decide the format.
        settings: limits.

    Raises:
        ImageError: ``not_an_image``, ``kind_not_read``, ``truncated``, ``unreadable``,
            ``too_large`` or ``decode_timeout``.
    """
    data = boxes.branded(data)
    try:
        return _here_or_in_child("read", read, data, settings)
    except ImageError as error:
        if error.code is not ErrorCode.TRUNCATED or not settings.allow_partial:
            raise
    return replace(_in_child("partial", data, settings), partial=True)


def decode_scaled(data: bytes, settings: DecodeSettings, least: int) -> Decoded | None:
    """Decode a large JPEG at a fraction of its size, for a first and cheap look at it.

    Args:
        data: the whole file; its bytes decide the format.
        settings: limits.
        least: pixels that each side keeps at least.

    Returns:
        As ``decode``, with the ``width`` and ``height`` of the whole picture. None where only
        ``decode`` can tell: for other formats, smaller pictures, and files with a fault.
    """
    if formats.recognise(data) != "JPEG" or kinds.not_read(data) is not None:
        return None
    return read_scaled(data, settings, least)


def decode_reference(data: bytes, settings: DecodeSettings) -> Image.Image:
    """Decode the first frame exactly as Yahoo's original code does, to compare scores with it.

    Raises:
        ImageError: as ``decode``.
    """
    return _here_or_in_child("reference", read_reference, boxes.branded(data), settings).frames[0]


def _here_or_in_child(
    task: str,
    reader: Callable[[bytes, DecodeSettings, list[str]], Decoded],
    data: bytes,
    settings: DecodeSettings,
) -> Decoded:
    if (extra := formats.lacks_extra(data)) is not None:
        raise ImageError(
            ErrorCode.KIND_NOT_READ,
            f"the file needs an extra; install it with: pip install 'saferank[{extra}]'",
        )
    if (kind := kinds.not_read(data)) is not None:
        raise ImageError(
            ErrorCode.KIND_NOT_READ,
            f"the file is {kind}, which is not read; store a picture of it",
        )
    name = formats.recognise(data)
    if name in formats.COMMON:
        return reader(data, settings, [name])
    return _in_child(task, data, settings)


def _in_child(task: str, data: bytes, settings: DecodeSettings) -> Decoded:
    pictures, facts = _child.run(task, data, settings)
    count = len(pictures) - facts["alternatives"]
    frames, others = pictures[:count], pictures[count:]
    return Decoded(
        frames, facts["frame_count"], *frames[0].size, facts["format"], alternatives=others
    )
