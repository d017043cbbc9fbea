"""Damaged, cut-off and hostile files end in a code; they are never taken for whole pictures."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import decode
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()


def code_of(data, settings=SETTINGS):
    with pytest.raises(ImageError) as caught:
        decode(data, settings)
    return caught.value.code


def picture(seed=0, size=(96, 80)):
    rows = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    return Image.fromarray(rows).resize(size, Image.Resampling.BICUBIC)


def encoded(name, image=None, **options):
    file = io.BytesIO()
    (image or picture()).save(file, name, **options)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def moving(name):
    return encoded(name, save_all=True, append_images=[picture(seed) for seed in (1, 2, 3)])


FILES = {
    "jpeg": lambda: encoded("JPEG"),
    "progressive jpeg": lambda: encoded("JPEG", progressive=True),
    "png": lambda: encoded("PNG"),
    "apng": lambda: moving("PNG"),
    "gif": lambda: encoded("GIF", interlace=0),
    "animated gif": lambda: moving("GIF"),
    "webp": lambda: encoded("WEBP"),
    "lossless webp": lambda: encoded("WEBP", lossless=True),
    "animated webp": lambda: moving("WEBP"),
    "avif": lambda: encoded("AVIF"),
    "animated avif": lambda: moving("AVIF"),
    "bmp": lambda: encoded("BMP"),
    "tiff": lambda: encoded("TIFF"),
    "lzw tiff": lambda: encoded("TIFF", compression="tiff_lzw"),
    "jpeg 2000": lambda: encoded("JPEG2000"),
    "ico": lambda: encoded("ICO"),
    "qoi": lambda: encoded("QOI"),
    "ppm": lambda: encoded("PPM"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_cut_off_file_is_truncated_or_complete(kind):
    """Wherever it is cut: the whole picture was there already, or there is no picture."""
    data = FILES[kind]()
    whole = [frame.tobytes() for frame in decode(data, SETTINGS).frames]
    codes = set()
    for cut in [*range(40, len(data) - 20, len(data) // 15), *range(len(data) - 20, len(data))]:
        try:
            frames = decode(data[:cut], SETTINGS).frames
        except ImageError as error:
            codes.add(error.code)
        else:
            assert [frame.tobytes() for frame in frames] == whole
    assert codes == {ErrorCode.TRUNCATED}


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "tiff"])
def test_a_partial_picture_when_allowed(kind):
    whole = FILES[kind]()
    allowing = DecodeSettings(allow_partial=True)
    decoded = decode(whole[: len(whole) * 3 // 4], allowing)
    assert decoded.partial
    assert not decode(whole, allowing).partial
    top = (0, 0, 96, 32)
    expected = decode(whole, SETTINGS).frames[0].crop(top)
    assert decoded.frames[0].crop(top).tobytes() == expected.tobytes()
    # As before: the allowance is not left switched on.
    assert code_of(whole[: len(whole) * 3 // 4]) == "truncated"


def test_no_picture_at_all_is_no_partial_picture():
    for kind in ("jpeg", "png", "gif"):
        assert code_of(FILES[kind]()[:30], DecodeSettings(allow_partial=True)) == "truncated"


def test_a_partial_animation_has_the_frames_before_the_cut():
    for name in ("GIF", "PNG"):
        data = moving(name)
        decoded = decode(data[: len(data) * 5 // 8], DecodeSettings(allow_partial=True))
        assert decoded.partial
        assert 2 <= len(decoded.frames) <= 3
        assert decoded.frames[1].tobytes() == decode(data, SETTINGS).frames[1].tobytes()


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 4},
    "grey": {},
    "cmyk": {},
    "not subsampled": {"subsampling": 0, "quality": 100},
}


def jpeg(kind):
    mode = {"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB")
    noise = np.random.default_rng(7).integers(0, 256, (75, 90, 3), np.uint8)
    return encoded("JPEG", Image.fromarray(noise).convert(mode), **JPEGS[kind])


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("end", [b"", b"\xff", b"\xff\xff", b"\0" * 20])
def test_a_jpeg_that_lacks_its_end_marker_only_is_whole(kind, end):
    data = jpeg(kind)
    whole = decode(data, SETTINGS).frames[0].tobytes()
    decoded = decode(data[:-2] + end, SETTINGS)
    assert (decoded.frames[0].tobytes(), decoded.partial) == (whole, False)


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_lacks_more_is_not(kind):
    """However little: the last bits may be padding, the bytes before them are not."""
    data = jpeg(kind)
    for lacking in (4, 5, 8, 20, 100, len(data) // 3):
        assert code_of(data[:-lacking]) == "truncated"


def test_a_progressive_jpeg_without_its_last_scan_is_not_whole():
    """All blocks are there, but coarse: nothing at the cut says so, only the scans' headers."""
    data = jpeg("progressive")
    for scans in range(1, data.count(b"\xff\xda")):
        cut = len(data)
        for _ in range(scans):
            cut = data.rindex(b"\xff\xda", 0, cut)
        assert code_of(data[: data.rindex(b"\xff\xc4", 0, cut)]) == "truncated"


def test_a_jpeg_without_one_of_its_colours_is_not_whole():
    """Three scans, one a component, of which the last two are missing."""
    data = jpeg("grey")
    frame = data.index(b"\xff\xc0")
    three = b"\xff\xc0\0\x11" + data[frame + 4 : frame + 9] + b"\3\1\x11\0\2\x11\0\3\x11\0"
    assert code_of(data[:frame] + three + data[frame + 13 : -2]) == "truncated"


def test_a_png_with_a_hole_in_it():
    """A download laid out in advance and not filled: the length is right, the rest is zeros."""
    data = encoded("PNG")
    half = len(data) // 2
    holed = data[:half] + b"\0" * (len(data) - half)
    assert code_of(holed) == "unreadable"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"<!doctype html><html><body>Not found</body></html>",
        b"\0" * 5000,
        b"PK\x03\x04" + b"x" * 100,
    ],
)
def test_what_is_not_an_image(data):
    assert code_of(data) == "not_an_image"


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


@pytest.mark.parametrize("side", [8_000, 60_000, 2**31 - 1])
def test_declared_pixels_are_checked_before_decoding(side):
    """There is no pixel data at all, so only the header can have been looked at."""
    assert code_of(png_header(side, side) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")) == (
        "too_large"
    )


def test_too_many_pixels_are_said_without_anybody_elses_limit():
    data = png_header(60_000, 60_000) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ImageError) as caught:
        decode(data, DecodeSettings())
    assert str(caught.value) == (
        "the image declares 3,600,000,000 pixels, more than are allowed; raise decode.max_pixels "
        "to score it"
    )


@pytest.mark.parametrize("depth", [8, 16])
def test_declared_pixels_are_checked_before_a_transparent_colour(depth):
    header = struct.pack(">IIBBBBB", 20_000, 20_000, depth, 2, 0, 0, 0)
    idat = zlib.compress(b"\0" * 1_000_000, 9)
    chunks = ((b"IHDR", header), (b"tRNS", b"\0" * 6), (b"IDAT", idat), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)
    assert code_of(data) == "too_large"


def test_the_pixel_limit_is_inclusive():
    data = encoded("PNG", picture(size=(96, 80)))
    assert decode(data, DecodeSettings(max_pixels=96 * 80)).width == 96
    assert code_of(data, DecodeSettings(max_pixels=96 * 80 - 1)) == "too_large"


def test_a_gif_frame_larger_than_its_canvas_counts():
    data = bytearray(encoded("GIF"))
    frame = data.index(b",\0\0\0\0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert code_of(bytes(data)) == "too_large"


def test_a_jpeg_of_endless_scans_is_refused():
    data = encoded("JPEG", picture(size=(800, 800)), progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:-2] + data[last:-2] * 5000 + data[-2:]
    assert code_of(bomb) == "too_large"


def test_png_text_is_never_unpacked():
    """Ten megabytes of zeros in a text chunk: nobody sees them, so they do not matter."""
    plain = encoded("PNG")
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 10_000_000))
    data = plain[:33] + bomb * 20 + plain[33:]
    assert decode(data, SETTINGS).frames[0].tobytes() == picture().tobytes()


BROKEN_PROFILES = {
    "unpacks without end": b"x\0\0" + zlib.compress(b"\0" * 10_000_000),
    "is not packed": b"x\0\0garbage",
    "is cut off": b"x\0\0" + zlib.compress(bytes(range(256)))[:-9],
    "is packed in an unknown way": b"x\0\1" + zlib.compress(b""),
    "has no name": b"\0\0" + zlib.compress(b""),
    "is empty": b"",
}


@pytest.mark.parametrize("why", BROKEN_PROFILES)
def test_a_png_profile_that_is_broken_does_not_spoil_the_picture(why):
    assert_whole(added(chunk(b"iCCP", BROKEN_PROFILES[why])))


def test_a_large_png_profile_counts():
    """Printers' profiles have a megabyte and more."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    large = swapped_red_and_blue(srgb) + b"\0" * 2_000_000
    data = added(chunk(b"iCCP", b"x\0\0" + zlib.compress(large)))
    assert decode(data, SETTINGS).frames[0].tobytes() != picture().tobytes()


def swapped_red_and_blue(profile):
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def added(*chunks):
    plain = encoded("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def assert_whole(data):
    assert decode(data, SETTINGS).frames[0].tobytes() == picture().tobytes()


@pytest.mark.parametrize("kind", [b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"eXIf", b"cICP", b"tRNS",
                                  b"sBIT", b"pHYs", b"tEXt", b"abCd"])  # fmt: skip
@pytest.mark.parametrize("body", [b"", b"x", b"\0\1\2", b"\xff" * 40])
def test_what_adds_to_a_png_does_not_spoil_it(kind, body):
    """Of a wrong length, or with a wrong checksum: browsers show the picture without it."""
    assert_whole(added(chunk(kind, body)[:-4] + b"\0\0\0\0"))
    if len(body) < 40:
        assert_whole(added(chunk(kind, body)))


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT"])
def test_what_makes_up_a_png_must_be_whole(kind):
    data = bytearray(encoded("PNG"))
    start = data.index(kind) - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    data[end - 1] ^= 1
    assert code_of(bytes(data)) == "unreadable"


def test_pixels_that_unpack_beyond_the_declared_size_are_not_unpacked():
    idat = chunk(b"IDAT", zlib.compress(b"\0" * 50_000_000, 9))
    decoded = decode(png_header(16, 16) + idat + chunk(b"IEND", b""), SETTINGS)
    assert (decoded.width, decoded.height) == (16, 16)


PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2))


def short_png(kind, depth, interlace, size, value, missing=0):
    """A whole file, all of one value, whose pixel data end some bytes before the last row does."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    rows = []
    for left, across, top, down in (*PASSES, (0, 1, 1, 2)) if interlace else [(0, 1, 0, 1)]:
        width, height = len(range(left, size[0], across)), len(range(top, size[1], down))
        row = bytes([value]) * ((width * channels * depth + 7) // 8)
        rows += [b"\0" + row] * height if width else []
    packed = zlib.compress(b"".join(rows)[: -missing or None])
    header = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, interlace)
    palette = chunk(b"PLTE", bytes([9, 9, 9, 255, 255, 255])) if kind == 3 else b""
    pixels = chunk(b"IDAT", packed[:9]) + chunk(b"IDAT", packed[9:])
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette
    return start + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 5), (16, 16)])
@pytest.mark.parametrize(
    ("kind", "depth"), [(0, 1), (0, 4), (0, 16), (2, 8), (3, 2), (3, 8), (4, 8), (6, 8), (6, 16)]
)
def test_a_png_without_its_last_row_is_not_whole(kind, depth, size, interlace):
    """Pillow decodes it, with black where browsers show the page."""
    for value in (0, 1):
        decode(short_png(kind, depth, interlace, size, value), SETTINGS)
        row = (size[0] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind] * depth + 7) // 8
        short = short_png(kind, depth, interlace, size, value, missing=1 + row)
        assert code_of(short) == "truncated"
    assert decode(short, DecodeSettings(allow_partial=True)).partial


def test_a_frame_without_its_last_row_is_not_whole():
    data = moving("PNG")
    at = data.rindex(b"fdAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    rows = zlib.decompress(data[at + 8 : at + 4 + length])
    cut = chunk(b"fdAT", data[at + 4 : at + 8] + zlib.compress(rows[: len(rows) * 9 // 10]))
    assert code_of(data[: at - 4] + cut + data[at + 8 + length :]) == "truncated"
