"""JPEG XL: the header is read before anything is decoded, and what is no still picture refused."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from saferank.errors import ImageError
from saferank.indexer.decode import decode, jxl
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()
# How a file of three frames begins; the plug-in for Pillow gives the last one alone.
ANIMATION = bytes.fromhex("ff0acb044d0020260804010040004b188b158055")


def code_of(data, settings=SETTINGS):
    with pytest.raises(ImageError) as caught:
        decode(data, settings)
    return caught.value.code


@pytest.fixture
def encoded():
    pytest.importorskip("pillow_jxl")

    def encode(image, **options):
        file = io.BytesIO()
        image.save(file, "JXL", lossless=True, effort=1, **options)
        return file.getvalue()

    return encode


def written(*fields):
    """A code stream that begins with these fields, each a number and its bits."""
    number, place = 0, 0
    for value, count in fields:
        number |= value << place
        place += count
    return b"\xff\x0a" + number.to_bytes(place // 8 + 1, "little") + b"\0" * 20


def boxed(*boxes):
    framed = ((8 + len(body)).to_bytes(4, "big") + kind + body for kind, body in boxes)
    return b"\0\0\0\x0cJXL \r\n\x87\n" + b"".join(framed)


SMALL_TALL = ((0, 1), (1, 2), (7299, 13), (0, 3), (0, 2), (99, 9))  # 100 x 7300
DEFAULT, OTHER = (1, 1), (0, 1)
YES, NO = (1, 1), (0, 1)


@given(st.integers(1, 1 << 30), st.integers(1, 1 << 30))
def test_the_header_says_any_size(width, height):
    data = written((0, 1), (3, 2), (height - 1, 30), (0, 3), (3, 2), (width - 1, 30), DEFAULT)
    assert jxl.read_header(data) == jxl.Header((width, height), is_animated=False)


@pytest.mark.parametrize(
    ("ratio", "width"), [(1, 240), (2, 288), (3, 320), (4, 360), (5, 426), (6, 300), (7, 480)]
)
def test_a_width_may_be_said_as_a_ratio_to_the_height(ratio, width):
    assert jxl.read_header(written((1, 1), (29, 5), (ratio, 3))).size == (width, 240)


@pytest.mark.parametrize(
    "between",
    [
        [NO, NO],
        [YES, *SMALL_TALL, NO],
        [NO, YES, YES, (2, 2), (3, 5), (0, 3), (3, 2), (5, 9)],  # a preview, in eighths
        [NO, YES, NO, (0, 2), (3, 6), (1, 3)],
    ],
)
def test_the_mark_of_an_animation_is_found_behind_other_fields(between):
    for animated in (YES, NO):
        data = written(*SMALL_TALL, OTHER, YES, (5, 3), *between, animated)
        assert jxl.read_header(data) == jxl.Header((100, 7300), is_animated=animated == YES)


def test_a_code_stream_in_boxes_and_in_parts():
    stream = written(*SMALL_TALL, DEFAULT)
    parts = [(b"jxlp", b"\0\0\0\0" + stream[:3]), (b"jxlp", b"\x80\0\0\1" + stream[3:])]
    for boxes in ([(b"ftyp", b"jxl "), (b"jxlc", stream)], [(b"Exif", b"x" * 9), *parts]):
        assert jxl.read_header(boxed(*boxes)).size == (100, 7300)


@pytest.mark.parametrize("data", [boxed(), boxed((b"jxlc", b"")), boxed((b"jxlp", b"\0"))])
def test_a_container_without_a_picture(data):
    with pytest.raises(ImageError):
        jxl.read_header(data)


@given(st.binary(max_size=80))
def test_any_bytes_have_a_header_or_are_refused(data):
    for begin in (b"\xff\x0a", boxed()):
        with suppress(ImageError):
            assert min(jxl.read_header(begin + data).size) > 0  # A format without empty pictures.


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr("saferank.indexer.decode.formats._HAVE_JXL", False)
    for data in (b"\xff\x0a" + b"\0" * 30, boxed()):
        with pytest.raises(ImageError, match=r"saferank\[jxl\]") as caught:
            decode(data, SETTINGS)
        assert caught.value.code == "kind_not_read"


def picture(mode, size=(37, 61)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("use_container", [False, True])
def test_a_picture_is_decoded_as_it_was_encoded(encoded, mode, use_container):
    data = encoded(picture(mode), use_container=use_container)
    assert jxl.read_header(data) == jxl.Header((37, 61), is_animated=False)
    decoded = decode(data, SETTINGS)
    assert (decoded.format, decoded.frame_count) == ("JXL", 1)
    both = (decoded.frames[0], picture(mode).convert("RGB"))
    here, there = (np.asarray(each, int) for each in both)
    assert np.abs(here - there).max() <= 1


def test_transparency_is_over_white(encoded):
    data = encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 0)))
    assert decode(data, SETTINGS).frames[0].getpixel((5, 5)) == (255, 255, 255)


def test_numbers_with_a_fraction_are_meant_for_0_to_1(encoded):
    """Lossy coding goes a little beyond; the picture must not turn black for it."""
    values = np.linspace(0, 1.02, 256, dtype=np.float32).reshape(16, 16)
    shown = np.asarray(decode(encoded(Image.fromarray(values)), SETTINGS).frames[0])
    assert (shown[0, 0, 0], shown[-1, -1, 0]) == (0, 255)
    assert (np.diff(shown[..., 0].ravel().astype(int)) >= 0).all()


def test_exif_does_not_turn_it(encoded):
    """The code stream says how a picture lies; what metadata say does not count, as in Chromium."""
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode(encoded(picture("RGB"), exif=exif.tobytes()), SETTINGS)
    assert (decoded.width, decoded.height, decoded.alternatives) == (37, 61, [])


def test_the_size_is_checked_before_it_is_decoded(encoded):
    data = encoded(picture("RGB"))
    assert decode(data, DecodeSettings(max_pixels=37 * 61)).width == 37
    assert code_of(data, DecodeSettings(max_pixels=37 * 61 - 1)) == "too_large"
    declared = written((0, 1), (1, 2), (8191, 13), (0, 3), (3, 2), (1 << 29, 30))
    assert code_of(declared) == "too_large"


def test_an_animation_is_not_scored_by_its_last_frame(encoded):
    with pytest.raises(ImageError, match="animation") as caught:
        decode(ANIMATION, SETTINGS)
    assert caught.value.code == "kind_not_read"


@pytest.mark.parametrize("use_container", [False, True])
def test_a_file_that_is_cut_off_is_refused(encoded, use_container):
    data = encoded(picture("RGB"), use_container=use_container)
    for length in range(2, len(data) - 1, len(data) // 9):
        assert code_of(data[:length]) in ("truncated", "unreadable", "not_an_image")
