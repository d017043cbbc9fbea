"""From a decoded image to the blob that a classifier was trained on.

Small differences here move a probability by a tenth and more, so a preprocessing has a name, is
part of a model's identity, and never changes its meaning: a change is a new name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

if TYPE_CHECKING:
    from PIL import Image

_Size = tuple[PositiveInt, PositiveInt]
_Byte = Annotated[int, Field(ge=0, le=255)]
_Positive = Annotated[float, Field(gt=0)]

# As Yahoo's own code, which leaves it to Pillow. Another quality is another preprocessing.
_JPEG_QUALITY = 75

VIEWED = "viewed-5"
"""What a preprocessing is given: files as viewers see them, in saferank's reading of that name.

A reading that shows any file otherwise gives it another number, so it needs a new name.
"""


class Input(BaseModel):
    """How an image becomes the input blob.

    Attributes:
        blob: name of the input blob.
        layout: order of the net's axes: images, channels, height, width, or channels last.
        size: height and width of the blob in pixels.
        preprocessing: a name in `PREPROCESSING`.
        resize: height and width in pixels that the image is resized to before the crop; ``size``,
            which crops nothing, when it is not said.
        interpolation: of the resizing.
        antialias: whether shrinking looks at all pixels, as Pillow does; OpenCV's and
            TensorFlow.js' bilinear looks at four and loses the others.
        fill: red, green and blue of what a letterbox adds.
        pad: where a letterbox adds it: on both sides, or at the right or the bottom.
        channel_order: of the blob.
        mean: subtracted from 0..255, one for each channel, in the blob's order.
        scale: multiplied with afterwards.
        std: divided by at last, one for each channel, in the blob's order. What others give for
            values in 0..1 is a mean of 255 times theirs, a scale of 1/255, and their std.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    blob: str = "data"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    size: _Size
    preprocessing: str
    resize: _Size
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    antialias: bool = True
    fill: tuple[_Byte, _Byte, _Byte] = (0, 0, 0)
    pad: Literal["centre", "end"] = "centre"
    channel_order: Literal["BGR", "RGB"] = "BGR"
    mean: tuple[float, float, float]
    scale: float = 1.0
    std: tuple[_Positive, _Positive, _Positive] = (1.0, 1.0, 1.0)

    @model_validator(mode="before")
    @classmethod
    def _resized_to_the_blob(cls, values: Any) -> Any:
        if isinstance(values, dict) and "size" in values:
            return {"resize": values["size"], **values}
        return values

    @model_validator(mode="after")
    def _known_and_fitting(self) -> Input:
        if self.preprocessing not in PREPROCESSING:
            known = ", ".join(PREPROCESSING)
            raise ValueError(f"preprocessing {self.preprocessing!r} is not one of {known}")
        if any(small > large for small, large in zip(self.size, self.resize, strict=True)):
            raise ValueError("resize must be at least as large as size")
        boxed = self.preprocessing == "letterbox"
        if boxed and self.resize != self.size:
            raise ValueError("a letterbox crops nothing; leave resize out")
        if not boxed and {"fill", "pad"} & self.model_fields_set:
            raise ValueError("fill and pad belong to the preprocessing letterbox")
        if not self.antialias and self.interpolation != "bilinear":
            raise ValueError("antialias = false is for the interpolation bilinear")
        return self

    def decisive(self) -> dict[str, object]:
        """All keys that decide the number, for the identity.

        Keys that came later than others are left out where they say what held before, so that the
        identities of what is stored stay.
        """
        later = ("layout", "interpolation", "antialias", "fill", "pad", "std")
        values = self.model_dump(mode="json")
        plain = {name: type(self).model_fields[name].default for name in later}
        return {
            name: value
            for name, value in values.items()
            if name not in later or getattr(self, name) != plain[name]
        }


def seen_box(size: tuple[int, int], wanted: Input) -> tuple[float, float, float, float]:
    """The part of a picture that the model sees: left, top, right, bottom in its pixels.

    A letterbox sees more than there is.

    Args:
        size: width and height of the picture.
        wanted: the model's input.
    """
    width, height = size
    rows, columns = wanted.size
    all_rows, all_columns = wanted.resize
    across, down = width / all_columns, height / all_rows  # pixels of the picture for one of ours
    if wanted.preprocessing == "shorter-side-crop":
        across = down = min(across, down)
    elif wanted.preprocessing == "letterbox":
        across = down = max(across, down)
    seen_width, seen_height = columns * across, rows * down
    if wanted.pad == "end":
        return 0, 0, seen_width, seen_height
    left, top = (width - seen_width) / 2, (height - seen_height) / 2
    return left, top, left + seen_width, top + seen_height


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _resize(
    image: Image.Image,
    size: tuple[int, int],
    wanted: Input,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """RGB, height and width as given; proportions are not kept. Of a part, if one is given."""
    from PIL import Image

    image = _rgb(image)
    height, width = size
    if not wanted.antialias:
        return _sampled(image, size, box or (0, 0, *image.size), wanted.fill)
    filtered = Image.Resampling[wanted.interpolation.upper()]
    return image.resize((width, height), resample=filtered, box=box)


def _sampled(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    fill: tuple[int, int, int],
) -> Image.Image:
    """Each pixel from the four that are nearest to its centre; outside the image is the fill."""
    from PIL import Image

    pixels = np.asarray(image)
    left, top, right, bottom = box
    rows, columns = _nearest(size[0], top, bottom), _nearest(size[1], left, right)
    mixed = np.zeros((*size, 3), np.float32)
    for row, of_row in rows:
        for column, of_column in columns:
            weight = (of_row[:, None] * of_column)[:, :, None]
            mixed += weight * _at(pixels, row, column, fill)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _nearest(
    count: int, start: float, end: float
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The two positions next to each centre, and what each counts."""
    centres = start + (np.arange(count) + 0.5) * ((end - start) / count) - 0.5
    low = np.floor(centres).astype(np.int64)
    share = (centres - low).astype(np.float32)
    first, last = int(np.floor(start)), int(np.ceil(end)) - 1
    return [(np.clip(low, first, last), 1 - share), (np.clip(low + 1, first, last), share)]


def _at(
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    fill: tuple[int, int, int],
) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    there = pixels[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
    return np.where(inside[:, :, None], there, np.asarray(fill, np.uint8))


def _through_jpeg(image: Image.Image) -> Image.Image:
    """Save as JPEG, with Pillow's default of halved chroma, and read it again."""
    from PIL import Image

    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return _rgb(Image.open(buffer, formats=["JPEG"]))


def _blob(
    image: Image.Image, wanted: Input, corner: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """A part in the blob's channel order, mean taken off: (3, H, W) float32.

    The part begins at a corner (top, left), or is the central one.
    """
    pixels = np.asarray(image)
    height, width = wanted.size
    top, left = corner or ((pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2)
    pixels = pixels[top : top + height, left : left + width]
    if wanted.channel_order == "BGR":
        pixels = pixels[:, :, ::-1]
    # One plane at a time, each step in place: three times as fast as on pixels, and the same.
    blob = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
    for plane, mean, std in zip(blob, wanted.mean, wanted.std, strict=True):
        plane -= np.float32(mean)
        if wanted.scale != 1:
            plane *= np.float32(wanted.scale)
        if std != 1:
            plane /= np.float32(std)
    return blob


def resize_jpeg_crop(image: Image.Image, wanted: Input) -> NDArray[np.float32]:
    """What Yahoo's open_nsfw does: resize, save as JPEG and read again, crop the centre."""
    return _blob(_through_jpeg(_resize(image, wanted.resize, wanted)), wanted)


def resize_crop(image: Image.Image, wanted: Input) -> NDArray[np.float32]:
    """The same without the way through JPEG."""
    return _blob(_resize(image, wanted.resize, wanted), wanted)


def shorter_side_crop(image: Image.Image, wanted: Input) -> NDArray[np.float32]:
    """Proportions are kept: the shorter side is resized, the rest of the longer one cropped."""
    left, top, right, bottom = seen_box(image.size, wanted)
    # Only the part that is left is resized: a picture of one line would become a huge one. The
    # edges may lie a rounding beyond the picture, which Pillow refuses.
    box = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    return _blob(_resize(image, wanted.size, wanted, box), wanted)


def letterbox(image: Image.Image, wanted: Input) -> NDArray[np.float32]:
    """Proportions are kept and nothing is cropped: what is missing is filled."""
    from PIL import Image

    height, width = wanted.size
    left, top, right, bottom = seen_box(image.size, wanted)
    if not wanted.antialias:
        # Whole pixels, as if the picture itself had been made larger.
        x, y = round(left), round(top)
        box = (x, y, x + round(right - left), y + round(bottom - top))
        return _blob(_sampled(_rgb(image), wanted.size, box, wanted.fill), wanted)
    across = (right - left) / width
    inner = max(1, round(image.height / across)), max(1, round(image.width / across))
    place = (0, 0) if wanted.pad == "end" else ((width - inner[1]) // 2, (height - inner[0]) // 2)
    filled = Image.new("RGB", (width, height), wanted.fill)
    filled.paste(_resize(image, inner, wanted), place)
    return _blob(filled, wanted)


PREPROCESSING: Mapping[str, Callable[[Image.Image, Input], NDArray[np.float32]]] = {
    "resize-jpeg-crop": resize_jpeg_crop,
    "resize-crop": resize_crop,
    "shorter-side-crop": shorter_side_crop,
    "letterbox": letterbox,
}

STRETCHED = ("resize-crop", "resize-jpeg-crop")
"""Preprocessings that resize without a thought for proportions, which a training can vary."""

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
        wanted: the model's input, with one of the preprocessings `STRETCHED`.
        resize: height and width that it is resized to before the crop.
        corner: top and left of the crop.
        mirrored: left and right exchanged.

    Returns:
        (3, H, W) float32, with H and W as in ``wanted.size``.
    """
    resized = _resize(image, resize, wanted)
    if wanted.preprocessing in _WITH_JPEG:
        resized = _through_jpeg(resized)
    blob = _blob(resized, wanted, corner)
    return np.ascontiguousarray(blob[:, :, ::-1]) if mirrored else blob
