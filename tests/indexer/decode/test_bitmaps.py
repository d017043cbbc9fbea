"""Windows bitmaps, and the richest picture of icons and cursors: as Chromium 156 shows them."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from saferank.errors import ImageError
from saferank.indexer.decode import decode
from saferank.settings import DecodeSettings

WHITE, BLACK, RED, BLUE = (255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255)
PLAIN, RLE8, RLE4, MASKS, ALPHA_MASKS = 0, 1, 2, 3, 6
SETTINGS = DecodeSettings()


def header(length, bits, packing=PLAIN, *, size=(2, 1), masks=(), colours=0):
    body = struct.pack("<IiiHHIIiiII", length, *size, 1, bits, packing, 0, 0, 0, colours, 0)
    return (body + b"".join(mask.to_bytes(4, "little") for mask in masks)).ljust(length, b"\0")


def bmp(head, pixels, between=b""):
    start = 14 + len(head) + len(between)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + between + pixels


def row(data, settings=SETTINGS):
    (frame,) = decode(data, settings).frames
    return [frame.getpixel((x, 0)) for x in range(frame.width)]


def code_of(data):
    with pytest.raises(ImageError) as caught:
        decode(data, SETTINGS)
    return caught.value.code


# Blue, green, red and a fourth byte, which may be transparency.
DEEP = bytes([0, 0, 255, 255, 255, 0, 0, 0])
BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


@pytest.mark.parametrize(
    ("head", "second"),
    [
        # The fourth byte is transparency where a mask says so.
        (header(40, 32), BLUE),
        (header(52, 32, MASKS, masks=BGRA[:3]), BLUE),
        (header(56, 32, masks=BGRA), BLUE),
        (header(56, 32, MASKS, masks=BGRA), WHITE),
        (header(108, 32, masks=BGRA), WHITE),
        (header(124, 32, MASKS, masks=BGRA), WHITE),
        (header(124, 32, ALPHA_MASKS, masks=BGRA), WHITE),
        (header(124, 32, MASKS, masks=BGRA[:3]), BLUE),
    ],
)
def test_transparency_of_thirty_two_bits(head, second):
    assert row(bmp(head, DEEP)) == [RED, second]


def test_masks_may_come_behind_a_short_header():
    masks = struct.pack("<4I", *BGRA)
    assert row(bmp(header(40, 32, MASKS), DEEP, masks[:12])) == [RED, BLUE]
    assert row(bmp(header(40, 32, ALPHA_MASKS), DEEP, masks)) == [RED, WHITE]


@pytest.mark.parametrize(
    ("masks", "values", "shown"),
    [
        ((0xF800, 0x7E0, 0x1F, 0), (0xF800, 0x001F), [RED, BLUE]),
        ((0x7C00, 0x3E0, 0x1F, 0x8000), (0xFC00, 0x001F), [RED, WHITE]),
        ((0x7C00, 0x3E0, 0x1F, 0x8000), (0x8210, 0xFFFF), [(0, 132, 132), WHITE]),
        ((0xF00, 0xF0, 0xF, 0xF000), (0xF800, 0x8F00), [(136, 0, 0), (255, 119, 119)]),
        ((0xC0, 0x38, 0x7, 0), (0x40, 0x07), [(85, 0, 0), BLUE]),
        ((0x7C00, 0, 0x1F, 0), (0x7C00, 0x001F), [RED, BLUE]),
    ],
)
def test_any_bits_may_be_a_colour(masks, values, shown):
    pixels = struct.pack("<HH", *values)
    assert row(bmp(header(56, 16, MASKS, masks=masks), pixels)) == shown


def test_sixteen_bits_without_masks_are_five_a_colour():
    pixels = struct.pack("<HH", 0xFC00, 0x001F)
    assert row(bmp(header(124, 16, masks=(*BGRA[:3], 0x8000)), pixels)) == [RED, BLUE]


def test_more_than_eight_bits_a_colour():
    masks = (0x3FF00000, 0xFFC00, 0x3FF, 0)
    pixels = struct.pack("<II", 0x200 << 20, 0x3FF)
    assert row(bmp(header(124, 32, MASKS, masks=masks), pixels)) == [(128, 0, 0), BLUE]


def test_a_bitmap_that_is_transparent_everywhere_is_looked_at_opaque_as_well():
    """Chromium shows nothing of it; many viewers take it for a mistake."""
    nothing = bmp(header(124, 32, MASKS, masks=BGRA), bytes([0, 0, 255, 0] * 2))
    assert row(nothing) == [WHITE, WHITE]
    (other,) = decode(nothing, SETTINGS).alternatives
    assert other.getpixel((0, 0)) == RED


PALETTE = bytes([0, 0, 255, 0, 255, 0, 0, 0])


@pytest.mark.parametrize(
    ("bits", "pixels", "shown"),
    [
        (1, b"\x40\0\0\0", [RED, BLUE]),
        (2, b"\x10\0\0\0", [RED, BLUE]),
        (4, b"\x01\0\0\0", [RED, BLUE]),
        (8, b"\0\1\0\0", [RED, BLUE]),
        (8, b"\0\2\0\0", [RED, BLACK]),
    ],
)
def test_a_pixel_has_the_colour_of_its_place_in_the_palette(bits, pixels, shown):
    assert row(bmp(header(40, bits, colours=2), pixels, PALETTE)) == shown


@pytest.mark.parametrize(
    ("packing", "pixels", "shown"),
    [
        (RLE8, b"\4\1\0\1", [BLUE] * 4),
        (RLE8, b"\1\1\0\2\2\0\1\0\0\1", [BLUE, BLACK, BLACK, RED]),
        (RLE8, b"\0\3\1\0\1\0\1\1\0\1", [BLUE, RED, BLUE, BLUE]),
        (RLE8, b"\xff\1\0\1", [BLUE] * 4),
        (RLE4, b"\4\x10\0\1", [BLUE, RED, BLUE, RED]),
        (RLE4, b"\0\3\x10\x10\1\1\0\1", [BLUE, RED, BLUE, RED]),
    ],
)
def test_runs_of_pixels_are_unpacked(packing, pixels, shown):
    """What is left out is black."""
    bits = {RLE8: 8, RLE4: 4}[packing]
    head = header(40, bits, packing, size=(4, 1), colours=2)
    assert row(bmp(head, pixels, PALETTE)) == shown


def test_rows_go_either_way():
    pixels = bytes([0, 0, 255, 0, 255, 0, 0, 0])
    for height, shown in ((2, BLUE), (-2, RED)):
        assert row(bmp(header(40, 32, size=(1, height)), pixels)) == [shown]


def test_a_profile_in_the_file_counts():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    head = bytearray(header(124, 24, masks=BGRA[:3]))
    head[56:60] = b"DEBM"
    pixels = bytes([0, 0, 255, 255, 0, 0, 0, 0])
    head[112:120] = struct.pack("<II", 124 + len(pixels), len(profile))
    first, _ = row(bmp(bytes(head), pixels + profile))
    assert first[2] > 250 > 10 > first[0]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bmp(header(40, 32), DEEP[:-1]), "truncated"),
        (bmp(header(40, 8, RLE8, colours=2), b"\1\1", PALETTE), "truncated"),
        (bmp(header(40, 32), b"")[:40], "truncated"),
        (bmp(header(40, 32, size=(60_000, 60_000)), b""), "too_large"),
        (bmp(header(40, 7), DEEP), "unreadable"),
        (bmp(header(40, 32, size=(-2, 1)), DEEP), "unreadable"),
        (bmp(header(40, 32, size=(2, 0)), DEEP), "unreadable"),
        (bmp(header(99, 32), DEEP), "unreadable"),
        (bmp(header(40, 32, 4), DEEP), "unreadable"),
        (bmp(header(40, 8, MASKS, colours=2), b"\0\1\0\0", PALETTE), "unreadable"),
    ],
)
def test_a_damaged_bitmap_has_the_code_of_its_damage(data, code):
    assert code_of(data) == code


def bitmap(colour, bits=32, size=(16, 16), mask=b"", height=None):
    """A bitmap of one colour as icons have it: twice as high, with a mask below."""
    width, rows = size
    pixel = {24: bytes(colour), 32: bytes(colour), 8: b"\1"}[bits]
    palette = PALETTE if bits == 8 else b""
    head = header(40, bits, size=(width, height or 2 * rows), colours=2 if bits == 8 else 0)
    return head + palette + pixel * width * rows + mask.ljust(4 * rows, b"\0")


RED32, CLEAR32, BLUE24 = bitmap((0, 0, 255, 255)), bitmap((0, 0, 255, 0)), bitmap((255, 0, 0), 24)
BLUE8 = bitmap((), 8)


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(file, "PNG")
    return file.getvalue()


def icon(*pictures, kind=1):
    """An icon of pictures given as (bytes, width, colours, depth)."""
    start = 6 + 16 * len(pictures)
    directory, bodies = struct.pack("<HHH", 0, kind, len(pictures)), b""
    for body, side, colours, depth in pictures:
        place = start + len(bodies)
        directory += struct.pack("<BBBBHHII", side, side, colours, 0, 1, depth, len(body), place)
        bodies += body
    return directory + bodies


@pytest.mark.parametrize(
    ("pictures", "shown"),
    [
        ([(BLUE8, 16, 2, 8), (RED32, 16, 0, 32)], RED),
        ([(RED32, 16, 0, 32), (BLUE8, 16, 2, 8)], RED),
        ([(BLUE8, 16, 2, 0), (RED32, 16, 0, 0)], RED),
        ([(RED32, 16, 0, 32), (png("blue"), 16, 0, 32)], RED),
        ([(bitmap((0, 0, 255, 255), size=(8, 8)), 8, 0, 32), (BLUE8, 16, 2, 8)], BLUE),
        ([(png("blue"), 16, 0, 32)], BLUE),
        # Bytes of transparency count where there is one that is not zero; else the mask does.
        ([(CLEAR32, 16, 0, 32)], RED),
        ([(bitmap((0, 0, 255, 0), mask=b"\xff" * 64), 16, 0, 32)], WHITE),
        ([(bitmap((0, 0, 255, 255), mask=b"\xff" * 64), 16, 0, 32)], RED),
        ([(bitmap((255, 0, 0), 24, mask=b"\xff" * 64), 16, 0, 24)], WHITE),
        ([(BLUE24[:-64], 16, 0, 24)], BLUE),
    ],
)
@pytest.mark.parametrize("kind", ["ICO", "CUR"])
def test_the_richest_picture_of_an_icon_is_shown(pictures, shown, kind):
    if kind == "CUR":  # it has the place that it points with instead of a depth
        pictures = [(body, side, colours, 7) for body, side, colours, _ in pictures]
    decoded = decode(icon(*pictures, kind=["ICO", "CUR"].index(kind) + 1), SETTINGS)
    assert decoded.format == kind
    assert decoded.frames[0].getpixel((0, 0)) == shown


def test_a_mask_hides_single_pixels():
    mask = b"".join(struct.pack(">I", 0x80000000) for _ in range(16))
    shown = row(icon((bitmap((255, 0, 0), 24, mask=mask), 16, 0, 24)))
    assert shown == [WHITE] + [BLUE] * 15


def test_a_png_in_an_icon_is_read_like_any_other():
    plain = png((50, 50, 50))
    linear = plain[:33] + bytes.fromhex("00000004634943500108000123a5d4a1") + plain[33:]
    broken = plain[:33] + bytes.fromhex("0000000467414d41000186a000000000") + plain[33:]
    assert row(icon((broken, 16, 0, 32))) == row(icon((plain, 16, 0, 32)))
    with pytest.raises(ImageError):
        decode(icon((linear[:60], 16, 0, 32)), SETTINGS)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (icon((RED32[:200], 16, 0, 32)), "truncated"),
        (icon((png("red")[:50], 16, 0, 32)), "truncated"),
        (icon((b"\x28\0\0\0junk" * 9, 16, 0, 32)), "unreadable"),
        (icon((bitmap((0, 0, 255, 255), height=1), 16, 0, 32)), "unreadable"),
        (icon((header(40, 32, size=(40_000, 40_000)), 16, 0, 32)), "too_large"),
    ],
)
def test_a_damaged_icon_has_the_code_of_its_damage(data, code):
    assert code_of(data) == code


def test_a_texture_that_begins_as_a_cursor_does_is_still_one():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    Image.fromarray(noise).save(file, "TGA")
    assert file.getvalue().startswith(b"\0\0\2\0")
    decoded = decode(file.getvalue(), SETTINGS)
    assert decoded.format == "TGA"
    assert np.array_equal(np.asarray(decoded.frames[0]), noise)
