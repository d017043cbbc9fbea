"""Limits that are checked on what a file declares, before any pixel is decoded."""

from __future__ import annotations

from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import jpeg
from saferank.settings import DecodeSettings

# A progressive JPEG is decoded once for every scan, and a scan can be as short as fifty bytes.
# Encoders write ten or so; this allows two hundred at twelve megapixels, some three seconds.
_MAX_SCANNED_PIXELS = 2_500_000_000
_MANY_SCANS = 50  # of the largest picture that the settings allow


def let_pillow_open(settings: DecodeSettings) -> None:
    """Raise Pillow's own limit on pixels to the settings', where that is higher.

    It is one for the whole process, so it is never lowered; ``check_size`` holds all the same.
    """
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, settings.max_pixels)


def check_size(size: tuple[int, int], settings: DecodeSettings) -> None:
    """Refuse a width and height of more pixels than allowed.

    Raises:
        ImageError: ``too_large``.
    """
    width, height = size
    pixels = width * height
    if pixels > settings.max_pixels:
        raise ImageError(
            ErrorCode.TOO_LARGE,
            f"{width} x {height} are {pixels:,} pixels, and {settings.max_pixels:,} "
            "are allowed; raise decode.max_pixels to score it",
        )


def check_scans(image: Image.Image, data: bytes, settings: DecodeSettings) -> None:
    """Refuse a JPEG whose scans multiply its pixels beyond reason.

    Raises:
        ImageError: ``too_large``.
    """
    if image.format not in jpeg.NAMES:
        return
    scans = jpeg.count_scans(data)
    allowed = max(_MAX_SCANNED_PIXELS, _MANY_SCANS * settings.max_pixels)
    if scans * image.width * image.height > allowed:
        raise ImageError(
            ErrorCode.TOO_LARGE,
            f"the JPEG has {scans} scans of {image.width} x {image.height} pixels; no encoder "
            "writes so many",
        )


def check_frame_count(count: int, settings: DecodeSettings) -> None:
    """Refuse an animation with more frames than allowed.

    Raises:
        ImageError: ``too_large``.
    """
    if count > settings.max_frame_count:
        raise ImageError(
            ErrorCode.TOO_LARGE,
            f"the animation has at least {count:,} frames, and {settings.max_frame_count:,} are "
            "allowed; raise decode.max_frame_count to score it",
        )
