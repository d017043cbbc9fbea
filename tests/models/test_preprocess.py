import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from saferank.models.preprocess import PREPROCESSING, Input, seen_box


def wanted(**changes: object) -> Input:
    values = {
        "size": (4, 6),
        "resize": (8, 10),
        "preprocessing": "resize-crop",
        "mean": (10.0, 20.0, 30.0),
    }
    return Input.model_validate(values | changes)


def plain(preprocessing: str, size: tuple[int, int], **changes: object) -> Input:
    """Pixels as they are, red first."""
    values = {
        "size": size,
        "preprocessing": preprocessing,
        "mean": (0.0, 0.0, 0.0),
        "channel_order": "RGB",
    }
    return Input.model_validate(values | changes)


def ramp(width: int, height: int) -> Image.Image:
    """Red tells the column, green the row, blue is 255 everywhere."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[:, :, 0] = np.arange(width)
    pixels[:, :, 1] = np.arange(height)[:, None]
    return Image.fromarray(pixels)


def test_channels_come_in_the_blobs_order_and_the_mean_too() -> None:
    red = Image.new("RGB", (10, 8), (255, 1, 2))
    blob = PREPROCESSING["resize-crop"](red, wanted())
    assert blob.shape == (3, 4, 6)
    assert blob.dtype == np.float32
    assert blob[:, 0, 0].tolist() == [2 - 10, 1 - 20, 255 - 30]
    rgb = PREPROCESSING["resize-crop"](red, wanted(channel_order="RGB", scale=0.5))
    assert rgb[:, 0, 0].tolist() == [(255 - 10) / 2, (1 - 20) / 2, (2 - 30) / 2]


def test_the_centre_is_cropped() -> None:
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[:, :, 0] = np.arange(10)
    pixels[:, :, 1] = np.arange(8)[:, None]
    blob = PREPROCESSING["resize-crop"](
        Image.fromarray(pixels), wanted(channel_order="RGB", mean=(0, 0, 0))
    )
    assert blob[0, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert blob[1, :, 0].tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
@pytest.mark.parametrize("name", list(PREPROCESSING))
def test_any_mode_and_size_becomes_a_blob(mode: str, name: str) -> None:
    size = {} if name != "letterbox" else {"resize": (4, 6)}
    blob = PREPROCESSING[name](Image.new(mode, (1, 3)), wanted(preprocessing=name, **size))
    assert blob.shape == (3, 4, 6)
    assert np.isfinite(blob).all()


def test_the_way_through_jpeg_changes_pixels() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    direct, through = (
        PREPROCESSING[name](image, wanted()) for name in ("resize-crop", "resize-jpeg-crop")
    )
    assert np.abs(direct - through).max() > 10


def test_what_others_give_for_values_up_to_one_is_said_for_values_up_to_255() -> None:
    grey = Image.new("RGB", (6, 4), (51, 102, 255))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    given = plain("resize-crop", (4, 6), mean=tuple(255 * mean), scale=1 / 255, std=tuple(std))
    blob = PREPROCESSING["resize-crop"](grey, given)
    expected = (np.array([0.2, 0.4, 1.0]) - mean) / std
    np.testing.assert_allclose(blob[:, 2, 3], expected, rtol=1e-5)


def test_the_shorter_side_is_resized_and_the_longer_one_cropped() -> None:
    given = plain("shorter-side-crop", (4, 4), resize=(8, 8), interpolation="nearest")
    blob = PREPROCESSING["shorter-side-crop"](ramp(32, 8), given)
    assert blob[0, 0].tolist() == [14, 15, 16, 17]
    assert blob[1, :, 0].tolist() == [2, 3, 4, 5]
    upright = PREPROCESSING["shorter-side-crop"](ramp(8, 32), given)
    assert upright[0, 0].tolist() == [2, 3, 4, 5]
    assert upright[1, :, 0].tolist() == [14, 15, 16, 17]


@pytest.mark.parametrize("antialias", [True, False])
def test_a_letterbox_fills_both_sides_or_the_end(antialias: bool) -> None:
    both = plain("letterbox", (8, 8), fill=(1, 2, 3), antialias=antialias)
    blob = PREPROCESSING["letterbox"](ramp(8, 4), both)
    assert blob[0, 3].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert blob[2, :, 5].tolist() == [3, 3, 255, 255, 255, 255, 3, 3]
    end = plain("letterbox", (8, 8), pad="end", antialias=antialias)
    blob = PREPROCESSING["letterbox"](ramp(4, 8), end)
    assert blob[1, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert blob[2, 4].tolist() == [255, 255, 255, 255, 0, 0, 0, 0]


def test_without_antialiasing_only_the_four_nearest_pixels_count() -> None:
    # Of four columns for one, the two in the middle.
    columns = np.tile(np.array([0, 100, 200, 60], np.uint8), (4, 2))
    image = Image.fromarray(np.stack([columns] * 3, axis=2))
    sharp = PREPROCESSING["resize-crop"](image, plain("resize-crop", (1, 2), antialias=False))
    assert sharp[0, 0].tolist() == [150, 150]
    soft = PREPROCESSING["resize-crop"](image, plain("resize-crop", (1, 2)))
    assert (soft[0, 0] < 130).all()


def opencv_linear(pixels: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """What OpenCV's INTER_LINEAR computes, one pixel at a time, before it rounds."""
    height, width = pixels.shape[:2]
    out = np.zeros((size, size, 3))
    for y in range(size):
        for x in range(size):
            sy, sx = (y + 0.5) * height / size - 0.5, (x + 0.5) * width / size - 0.5
            top, left = int(np.floor(sy)), int(np.floor(sx))
            for dy, by in ((0, 1 - (sy - top)), (1, sy - top)):
                for dx, bx in ((0, 1 - (sx - left)), (1, sx - left)):
                    row = min(max(top + dy, 0), height - 1)
                    column = min(max(left + dx, 0), width - 1)
                    out[y, x] += by * bx * pixels[row, column]
    return out


@given(width=st.integers(1, 40), height=st.integers(1, 40), size=st.integers(1, 12))
def test_a_letterbox_without_antialiasing_is_the_picture_made_square_and_sampled(
    width: int, height: int, size: int
) -> None:
    pixels = np.random.default_rng(width * 64 + height).integers(0, 256, (height, width, 3))
    square = np.zeros((max(width, height),) * 2 + (3,), np.uint8)
    square[:height, :width] = pixels
    given = plain("letterbox", (size, size), pad="end", antialias=False)
    blob = PREPROCESSING["letterbox"](Image.fromarray(pixels.astype(np.uint8)), given)
    np.testing.assert_allclose(blob.transpose(1, 2, 0), opencv_linear(square, size), atol=0.51)


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    name=st.sampled_from(list(PREPROCESSING)),
)
def test_a_letterbox_sees_all_and_any_other_no_more_than_there_is(
    width: int, height: int, name: str
) -> None:
    resize = (8, 10) if name != "letterbox" else (4, 6)
    left, top, right, bottom = seen_box((width, height), plain(name, (4, 6), resize=resize))
    if name == "letterbox":
        assert left <= 1e-9
        assert top <= 1e-9
        assert right >= width - 1e-9
        assert bottom >= height - 1e-9
    else:
        assert left >= -1e-9
        assert top >= -1e-9
        assert right <= width + 1e-9
        assert bottom <= height + 1e-9
        assert right > left
        assert bottom > top


@pytest.mark.parametrize("name", list(PREPROCESSING))
def test_a_picture_of_one_line_does_not_become_a_huge_one(name: str) -> None:
    changes = {} if name != "letterbox" else {"resize": (4, 6)}
    for size in ((60000, 1), (1, 60000)):
        blob = PREPROCESSING[name](
            Image.new("RGB", size, "white"), wanted(preprocessing=name, **changes)
        )
        assert blob.shape == (3, 4, 6)
