"""From a decoded image to the blob that a classifier was trained on.

Small differences here move a probability by a tenth and more, so a preprocessing has a name, is
part of a model's identity, and never changes its meaning: a change is a new name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

if TYPE_CHECKING:
    from PIL import Image

_Size = tuple[PositiveInt, PositiveInt]

# As Yahoo's own code, which leaves it to Pillow. Another quality is another preprocessing.
_JPEG_QUALITY = 75

VIEWED = "viewed-4"
"""What a preprocessing is given: files as viewers see them, in saferank's reading of that name.

A reading that shows any file otherwise gives it another number, so it needs a new name.
"""


class Input(BaseModel):
    """How an image becomes the input blob.

    Attributes:
        blob: name of the input blob.
        size: height and width of the blob in pixels.
        preprocessing: a name in `PREPROCESSING`.
        resize: height and width in pixels that the image is resized to before the crop.
        channel_order: of the blob.
        mean: subtracted from 0..255, one for each channel, in the blob's order.
        scale: multiplied with afterwards.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    blob: str = "data"
    size: _Size
    preprocessing: str
    resize: _Size
    channel_order: Literal["BGR", "RGB"] = "BGR"
    mean: tuple[float, float, float]
    scale: float = 1.0

    @model_validator(mode="after")
    def _known_and_fitting(self) -> Input:
        if self.preprocessing not in PREPROCESSING:
            known = ", ".join(PREPROCESSING)
            raise ValueError(f"preprocessing {self.preprocessing!r} is not one of {known}")
        if any(small > large for small, large in zip(self.size, self.resize, strict=True)):
            raise ValueError("resize must be at least as large as size")
        return self


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """RGB, height and width as given, bilinear; proportions are not kept."""
    from PIL import Image

    if image.mode != "RGB":
        image = image.convert("RGB")
    height, width = size
    return image.resize((width, height), resample=Image.Resampling.BILINEAR)


def _through_jpeg(image: Image.Image) -> Image.Image:
    """Save as JPEG, with Pillow's default of halved chroma, and read it again."""
    from PIL import Image

    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return Image.open(buffer).convert("RGB")


def _blob(
    image: Image.Image, wanted: Input, corner: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """A part in the blob's channel order, mean taken off: (3, H, W) float32.

    The part begins at a corner (top, left), or is the central one.
    """
    pixels = np.asarray(image, dtype=np.float32)
    height, width = wanted.size
    top, left = corner or ((pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2)
    pixels = pixels[top : top + height, left : left + width]
    if wanted.channel_order == "BGR":
        pixels = pixels[:, :, ::-1]
    blob = (pixels - np.asarray(wanted.mean, np.float32)) * np.float32(wanted.scale)
    return np.ascontiguousarray(blob.transpose(2, 0, 1))


def resize_jpeg_crop(image: Image.Image, wanted: Input) -> NDArray[np.float32]:
    """What Yahoo's open_nsfw does: resize, save as JPEG and read again, crop the centre."""
    return _blob(_through_jpeg(_resize(image, wanted.resize)), wanted)


def resize_crop(image: Image.Image, wanted: Input) -> NDArray[np.float32]:
    """The same without the way through JPEG."""
    return _blob(_resize(image, wanted.resize), wanted)


PREPROCESSING: Mapping[str, Callable[[Image.Image, Input], NDArray[np.float32]]] = {
    "resize-jpeg-crop": resize_jpeg_crop,
    "resize-crop": resize_crop,
}

# Preprocessings that send the resized image through JPEG.
_WITH_JPEG = {"resize-jpeg-crop"}


def varied(
    image: Image.Image,
    wanted: Input,
    *,
    resize: tuple[int, int],
    corner: tuple[int, int],
    mirrored: bool,
) -> NDArray[np.float32]:
    """The preprocessing of an image in training: as in scoring, but for size, place and direction.

    Args:
        image: decoded, of any mode and size.
        wanted: the model's input.
        resize: height and width that it is resized to before the crop.
        corner: top and left of the crop.
        mirrored: left and right exchanged.

    Returns:
        (3, H, W) float32, with H and W as in ``wanted.size``.
    """
    resized = _resize(image, resize)
    if wanted.preprocessing in _WITH_JPEG:
        resized = _through_jpeg(resized)
    blob = _blob(resized, wanted, corner)
    return np.ascontiguousarray(blob[:, :, ::-1]) if mirrored else blob
