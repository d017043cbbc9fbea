"""Limits that are checked on what a file declares, before any pixel is decoded."""

from __future__ import annotations

from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.settings import DecodeSettings


def check_size(image: Image.Image, settings: DecodeSettings) -> None:
    """Refuse an image with more pixels than allowed.

    Raises:
        ImageError: ``too_large``.
    """
    pixels = image.width * image.height
    if pixels > settings.max_pixels:
        raise ImageError(
            ErrorCode.TOO_LARGE,
            f"{image.width} x {image.height} are {pixels:,} pixels, and {settings.max_pixels:,} "
            "are allowed; raise decode.max_pixels to score it",
        )
