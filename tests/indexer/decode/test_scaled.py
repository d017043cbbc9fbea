"""JPEGs decoded at a fraction of their size: the same picture, or left to the whole way."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from saferank.errors import ImageError
from saferank.indexer.decode import decode, decode_scaled
from saferank.settings import DecodeSettings

LIMITS = DecodeSettings()


def photograph(size: tuple[int, int], **options: object) -> bytes:
    dice = np.random.default_rng(1)
    small = Image.fromarray(dice.integers(0, 256, (6, 8, 3), np.uint8))
    buffer = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", **options)  # type: ignore[arg-type]
    return buffer.getvalue()


WHOLE = photograph((800, 600))


@pytest.mark.parametrize(
    ("least", "size"), [(300, (400, 300)), (150, (200, 150)), (75, (100, 75)), (10, (100, 75))]
)
def test_each_side_keeps_as_many_pixels_as_are_asked_for(least: int, size: tuple[int, int]) -> None:
    scaled = decode_scaled(WHOLE, LIMITS, least)
    assert scaled is not None
    assert scaled.frames[0].size == size
    assert (scaled.width, scaled.height) == (800, 600)


def test_nothing_is_scaled_where_nothing_is_to_be_gained() -> None:
    assert decode_scaled(WHOLE, LIMITS, 301) is None
    buffer = io.BytesIO()
    Image.new("RGB", (800, 600)).save(buffer, "PNG")
    assert decode_scaled(buffer.getvalue(), LIMITS, 10) is None


def test_it_shows_what_the_whole_picture_shows() -> None:
    scaled = decode_scaled(WHOLE, LIMITS, 300)
    assert scaled is not None
    wanted = decode(WHOLE, LIMITS).frames[0].resize((400, 300), Image.Resampling.BOX)
    difference = np.abs(np.asarray(scaled.frames[0], int) - np.asarray(wanted, int))
    assert difference.mean() < 2


def test_it_is_turned_as_the_whole_picture_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = photograph((800, 600), exif=exif)
    scaled, whole = decode_scaled(data, LIMITS, 150), decode(data, LIMITS)
    assert scaled is not None
    assert (scaled.width, scaled.height) == (whole.width, whole.height) == (600, 800)
    assert scaled.frames[0].size == (150, 200)
    corner = np.asarray(whole.frames[0].resize((150, 200), Image.Resampling.BOX), int)
    assert np.abs(np.asarray(scaled.frames[0], int) - corner).mean() < 2


@given(end=st.integers(0, len(WHOLE) - 1))
def test_no_cut_file_is_taken_for_whole(end: int) -> None:
    try:
        decode(WHOLE[:end], LIMITS)
    except ImageError:
        assert decode_scaled(WHOLE[:end], LIMITS, 75) is None


def test_the_limit_on_pixels_is_that_of_the_whole_picture() -> None:
    assert decode_scaled(WHOLE, LIMITS.model_copy(update={"max_pixels": 479_999}), 75) is None


@pytest.mark.parametrize("size", [(205, 615), (615, 205), (200, 1600)])
def test_a_long_picture_is_left_whole_for_its_parts_are_looked_at(size: tuple[int, int]) -> None:
    data = photograph(size)
    assert len(decode(data, LIMITS).pictures) > 1
    # A half of 205 by 615 would be 103 by 308, which is not three times as long as wide.
    assert decode_scaled(data, LIMITS, 100) is None
