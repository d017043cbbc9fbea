"""A file holds several pictures, or more than pictures: what is looked at, and what is not."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from saferank.errors import ImageError
from saferank.indexer.decode import decode
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()
SCANS = b"\xff\xda\0\x0c" * 20_000  # as many as no encoder writes


def code_of(data, settings=SETTINGS):
    with pytest.raises(ImageError) as caught:
        decode(data, settings)
    return caught.value.code


def noise(size=(96, 80)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def encoded(name, image=None, **options):
    file = io.BytesIO()
    (image or noise()).save(file, name, **options)
    return file.getvalue()


BEHIND = {
    "a film": b"\0\0\0\x18ftypmp42\0\0\0\0" + SCANS,
    "the parts of a panorama": encoded("JPEG", progressive=True) * 400,
    "what makes no sense": SCANS + b"\xff",
}


@pytest.mark.parametrize("what", BEHIND)
@pytest.mark.parametrize("progressive", [False, True])
def test_what_follows_a_jpeg_is_not_of_its_picture(what, progressive):
    photo = encoded("JPEG", noise((1600, 1200)), progressive=progressive)
    decoded = decode(photo + BEHIND[what], SETTINGS)
    assert decoded.frames[0].tobytes() == decode(photo, SETTINGS).frames[0].tobytes()


def test_what_is_inside_the_metadata_of_a_jpeg_is_not_of_its_picture():
    photo = encoded("JPEG", noise((1600, 1200)), comment=SCANS[:60_000])
    assert decode(photo, SETTINGS).width == 1600


def test_a_jpeg_that_is_cut_off_behind_its_thumbnail_is_not_whole():
    """The thumbnail has an end marker; what belongs to the metadata ends nothing."""
    photo = encoded("JPEG", comment=encoded("JPEG", noise((16, 16))))
    assert code_of(photo[: len(photo) // 2]) == "truncated"


def test_what_follows_a_png_is_not_of_its_picture():
    photo = encoded("PNG")
    damaged = struct.pack(">I", 4) + b"IDATabcd" + b"\0" * 4
    for behind in (damaged, b"\0" * 100, photo):
        assert decode(photo + behind, SETTINGS).frames[0].tobytes() == noise().tobytes()


@pytest.mark.parametrize("major", [b"avif", b"mif1", b"msf1", b"miaf", b"MA1B", b"isom"])
def test_the_compatible_brands_tell_an_avif(major, monkeypatch):
    """Also where HEIF is not read: nobody must ask for an extra that it does not need."""
    monkeypatch.setattr("saferank.indexer.decode.formats._HAVE_HEIF", False)
    data = encoded("AVIF")
    assert b"avif" in data[16:32]
    decoded = decode(data[:8] + major + data[12:], SETTINGS)
    assert decoded.format == "AVIF"
    assert decoded.frames[0].tobytes() == decode(data, SETTINGS).frames[0].tobytes()


@pytest.mark.parametrize("major", [b"heic", b"mif1", b"miaf"])
def test_the_compatible_brands_tell_an_heif(major, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(noise()).save(file)
    data = file.getvalue()
    data = data[:8] + major + data[12:]
    assert decode(data, SETTINGS).format == "HEIF"
    monkeypatch.setattr("saferank.indexer.decode.formats._HAVE_HEIF", False)
    with pytest.raises(ImageError, match=r"saferank\[heif\]"):
        decode(data, SETTINGS)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_the_setting_holds_where_pillow_would_allow_less(name, monkeypatch):
    """Its own limit of 179 million pixels, made smaller here."""
    data = encoded(name, noise((64, 48)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 // 2 - 1)
    assert decode(data, DecodeSettings(max_pixels=64 * 48)).width == 64
    assert code_of(data, DecodeSettings(max_pixels=64 * 48 - 1)) == "too_large"


def test_a_higher_limit_allows_more_scans():
    """Else a picture that is allowed would be refused for its ten scans."""
    photo = encoded("JPEG", Image.new("RGB", (4000, 4000)), progressive=True)
    last = photo.rindex(b"\xff\xda")
    scanned = photo[:-2] + photo[last:-2] * 160 + photo[-2:]
    assert code_of(scanned) == "too_large"
    assert decode(scanned, DecodeSettings(max_pixels=100_000_000)).width == 4000
