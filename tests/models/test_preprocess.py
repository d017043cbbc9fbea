import numpy as np
import pytest
from PIL import Image

from saferank.models.preprocess import PREPROCESSING, Input


def wanted(**changes: object) -> Input:
    values = {
        "size": (4, 6),
        "resize": (8, 10),
        "preprocessing": "resize-crop",
        "mean": (10.0, 20.0, 30.0),
    }
    return Input.model_validate(values | changes)


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
    blob = PREPROCESSING[name](Image.new(mode, (1, 3)), wanted())
    assert blob.shape == (3, 4, 6)
    assert np.isfinite(blob).all()


def test_the_way_through_jpeg_changes_pixels() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    direct, through = (
        PREPROCESSING[name](image, wanted()) for name in ("resize-crop", "resize-jpeg-crop")
    )
    assert np.abs(direct - through).max() > 10
