"""Yahoo's original reading of an image, kept to the bit for comparison with its scores."""

from __future__ import annotations

import io

from PIL import Image

from saferank.indexer.decode import formats
from saferank.indexer.decode.failures import coded
from saferank.indexer.decode.limits import check_size
from saferank.settings import DecodeSettings


def decode_reference(data: bytes, settings: DecodeSettings) -> Image.Image:
    """Read the first frame and convert it to RGB, as Yahoo's ``classify_nsfw.py`` does.

    Orientation and colour profiles are ignored, transparency is dropped (pixels that nobody
    sees count), 16 bits are clipped. The handle is fresh and nothing is looked at before the
    pixels: Pillow forgives more damage once metadata have been asked for.

    Raises:
        ImageError: the image cannot be read, or declares more pixels than allowed.
    """
    with coded(data):
        image = Image.open(io.BytesIO(data), formats=formats.readable())
        check_size(image, settings)
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")
