"""From a decoded image to the eight-bit sRGB picture that a viewer sees.

Transparency is composited over white, always: it is the page colour of most result pages and
of the viewers people judge images in, so it is the picture that the labels behind a model and
a threshold were given for. (A matte that followed the image would let the image choose it.)
"""

from __future__ import annotations

import io
from functools import lru_cache, reduce
from typing import cast

import numpy as np
from PIL import Image, ImageChops, ImageCms

from saferank.indexer.decode import colour_space

_MATTE = (255, 255, 255)
_STRIP = 4_000_000  # pixels composited at a time: bounds the memory of the intermediate copies


def as_shown(image: Image.Image) -> Image.Image:
    """The picture as it is shown, but not turned: opaque, eight bits, sRGB.

    Args:
        image: a loaded image of any mode, with Pillow's ``info``.
    """
    return over_white(to_srgb(image))


def over_white(image: Image.Image) -> Image.Image:
    """Composite ``RGBA`` over white; ``RGB`` is returned as it is."""
    if image.mode == "RGB":
        return image
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    picture = Image.new("RGB", image.size, _MATTE)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        picture.paste(strip, (0, top), mask=strip)
    return picture


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert any mode to eight-bit ``RGB`` or ``RGBA`` in sRGB.

    Where a file describes its colours more than once, the first of these that is of use counts:
    code points, a profile, the mark that they are sRGB, PNG's gamma.
    """
    info = image.info
    space, profile = info.get("colour_space"), info.get("icc_profile")
    image = _eight_bits(image)
    if space is not None:
        return colour_space.converted(_plain(image), space)
    if profile and (converted := _through_profile(image, profile)) is not None:
        return converted
    image = _plain(image)
    gamma = info.get("gamma")
    if "srgb" in info or not gamma:
        return image
    space = colour_space.of_png_numbers(gamma, info.get("chromaticity"))
    return image if space is None else colour_space.converted(image, space)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale deep modes and resolve palettes: to L, LA, RGB, RGBA, CMYK or LAB."""
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        return _scaled_integers(image)
    if mode == "F":
        return _scaled_floats(np.asarray(image))
    if image.has_transparency_data and mode not in ("LA", "RGBA"):
        return _with_alpha(image)
    if mode == "1":
        return image.convert("L")
    if mode in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB"):
        return image
    return image.convert("RGB")  # P, RGBX, YCbCr, HSV


def _with_alpha(image: Image.Image) -> Image.Image:
    """Turn a transparent colour, a palette with alpha or premultiplied alpha into RGBA."""
    decode_low_bytes = image.info.get("low_bytes")
    if decode_low_bytes is None:
        return image.convert("RGBA")
    # A 16-bit PNG: Pillow keeps the high bytes of the pixels, but all of the colour.
    picture = image.copy()
    picture.putalpha(_unlike(image, decode_low_bytes(), image.info["transparency"]))
    return picture


def _unlike(high: Image.Image, low: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Make a mask of the pixels, of high and low bytes, that are not of a colour of 16 bits."""
    masks = [
        band.point([value != wanted and 255 for value in range(256)])
        for half, shift in ((high, 8), (low, 0))
        for band, wanted in zip(half.split(), (each >> shift & 255 for each in colour), strict=True)
    ]
    return reduce(ImageChops.lighter, masks)


def _scaled_integers(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to eight bits; wider integers by their own range."""
    transparency = image.info.get("transparency")
    image = image.convert("I")
    low, high = cast(tuple[int, int], image.getextrema())
    if low < 0 or high > 65535:
        return _scaled_floats(np.asarray(image))
    grey = image.point([value >> 8 for value in range(65536)], "L")  # as browsers do
    if not isinstance(transparency, int):
        return grey
    alpha = image.point([0 if value == transparency else 255 for value in range(65536)], "L")
    return Image.merge("LA", (grey, alpha)).convert("RGBA")


def _scaled_floats(values: np.ndarray) -> Image.Image:
    """Show numbers as grey: 0..1 and 0..255 as such, any other range stretched to fit."""
    values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    values -= low
    values *= 255 / (high - low or 1.0)
    return Image.fromarray(np.rint(values).astype(np.uint8))


def _plain(image: Image.Image) -> Image.Image:
    """Convert without a profile: to RGBA where there is alpha, else RGB."""
    if image.mode == "LAB":
        return _convert(image, _lab_to_srgb())
    wanted = "RGBA" if image.mode in ("LA", "RGBA") else "RGB"
    return image if image.mode == wanted else image.convert(wanted)  # converting would copy


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert by the image's ICC profile; None when it is broken or does not fit."""
    source = _PROFILE_MODES.get(profile[16:20])
    if source is None or (source == "CMYK") != (image.mode == "CMYK"):
        return None
    if source == "LAB" or image.mode == "LAB":
        return None
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if source == "L" and image.mode not in ("L", "LA"):
        return None
    try:
        transform = _transform(profile, source)
        if transform is None:
            return _plain(image)
        colours = image if image.mode == source else image.convert(source)
        converted = _convert(colours, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


_PROFILE_MODES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK", b"Lab ": "LAB"}


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the way from a profile to sRGB, or None when it would change nothing to speak of."""
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
    )
    if mode in ("L", "RGB"):
        probe = _probe(mode)
        before = np.asarray(probe.convert("RGB"), dtype=np.int16)
        after = np.asarray(_convert(probe, transform), dtype=np.int16)
        if np.abs(before - after).max() <= 1:
            return None
    return transform


@lru_cache(maxsize=2)
def _probe(mode: str) -> Image.Image:
    """Colours spread evenly over the mode's range."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1)
    return Image.fromarray(grid.reshape(17, 289, 3))


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )


def _convert(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted
