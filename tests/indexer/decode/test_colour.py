"""What a viewer sees is what is decoded, to the pixel."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from saferank.errors import ImageError
from saferank.indexer.decode import decode, decode_reference
from saferank.indexer.decode.boxes import colour_space_of
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()
WHITE = (255, 255, 255)


def encoded(image, name, **options):
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def pixels(data, count=4):
    (frame,) = decode(data, SETTINGS).frames
    return [frame.getpixel((x, 0)) for x in range(count)]


def grey(*values):
    return [(value, value, value) for value in values]


def image(values, mode=None):
    array = np.array([values])
    return Image.fromarray(array, mode) if mode else Image.fromarray(array)


DEEP = image([np.uint16(v) for v in (0, 1000, 32768, 65535)])


@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_are_scaled_not_clipped(name):
    assert pixels(encoded(DEEP, name)) == grey(0, 3, 128, 255)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0, 0.25, 0.5, 1.0], (0, 64, 128, 255)),
        ([0.0, 64.0, 128.0, 255.0], (0, 64, 128, 255)),
        ([-1.0, 0.0, 1.0, 3.0], (0, 64, 128, 255)),
        ([float("nan"), 0.0, 0.5, 1.0], (0, 0, 128, 255)),
        ([7.0, 7.0, 7.0, 7.0], (7, 7, 7, 7)),
        ([-7.0, -7.0, -7.0, -7.0], (0, 0, 0, 0)),
    ],
)
def test_float_images(values, shown):
    assert pixels(encoded(image([np.float32(v) for v in values]), "TIFF")) == grey(*shown)


def test_integers_wider_than_sixteen_bits_are_stretched():
    wide = image([np.int32(v) for v in (-100_000, 0, 100_000, 300_000)])
    assert pixels(encoded(wide, "TIFF")) == grey(0, 64, 128, 255)


def test_one_bit_images():
    assert pixels(encoded(image([False, True, False, True]), "PNG")) == grey(0, 255, 0, 255)


RGBA = Image.fromarray(
    np.uint8([[(255, 0, 0, 0), (255, 0, 0, 128), (255, 0, 0, 255), (0, 0, 0, 1)]])
)


@pytest.mark.parametrize(
    ("name", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {}), ("TGA", {})],
)
def test_alpha_is_composited_over_white(name, options):
    shown = [WHITE, (255, 127, 127), (255, 0, 0), (254, 254, 254)]
    assert pixels(encoded(RGBA, name, **options)) == shown


def test_compositing_in_strips_is_seamless(monkeypatch):
    monkeypatch.setattr("saferank.indexer.decode.colour._STRIP", 40)
    half = Image.new("RGBA", (10, 11), (255, 0, 0, 128))
    (frame,) = decode(encoded(half, "PNG"), SETTINGS).frames
    assert frame.getcolors() == [(110, (255, 127, 127))]


def test_grey_with_alpha():
    both = np.uint8([[(0, 0), (0, 128), (100, 255), (255, 0)]])
    assert pixels(encoded(Image.fromarray(both, "LA"), "PNG")) == grey(255, 127, 100, 255)


@pytest.mark.parametrize(
    ("values", "transparency", "shown"),
    [
        ([np.uint8(v) for v in (0, 10, 20, 30)], 10, grey(0, 255, 20, 30)),
        ([np.uint16(v) for v in (0, 1000, 32768, 65535)], 1000, grey(0, 255, 128, 255)),
    ],
)
def test_a_transparent_grey_is_white(values, transparency, shown):
    assert pixels(encoded(image(values), "PNG", transparency=transparency)) == shown


@pytest.mark.parametrize(
    ("depth", "row", "transparent", "shown"),
    [
        (1, 0b01000000, 1, (0, 255)),
        (1, 0b01000000, 0x100, (255, 255)),
        (2, 0b01100000, 1, (255, 170)),
        (2, 0b01100000, 0x0102, (85, 255)),
        (2, 0b01100000, 5, (85, 170)),
        (4, 0x1E, 1, (255, 238)),
        (4, 0x1E, 0xFF0E, (17, 255)),
        (4, 0x1E, 0x11, (17, 238)),
    ],
)
def test_a_transparent_grey_of_few_bits(depth, row, transparent, shown):
    """As Chromium 156 shows it: the low byte is compared with what is stored."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, depth, 0, 0, 0, 0))
    clear = chunk(b"tRNS", struct.pack(">H", transparent))
    data = b"\x89PNG\r\n\x1a\n" + header + clear
    data += chunk(b"IDAT", zlib.compress(bytes([0, row]))) + chunk(b"IEND", b"")
    assert pixels(data, 2) == grey(*shown)


def test_a_transparent_colour_is_white():
    colours = Image.fromarray(np.uint8([[(255, 0, 0), (0, 255, 0), (1, 2, 3), (0, 0, 0)]]))
    shown = [WHITE, (0, 255, 0), (1, 2, 3), (0, 0, 0)]
    assert pixels(encoded(colours, "PNG", transparency=(255, 0, 0))) == shown


@pytest.mark.parametrize(
    ("name", "transparency", "second"),
    [
        ("PNG", 1, WHITE),
        ("GIF", 1, WHITE),
        ("PNG", b"\xff\x80\xff\xff", (127, 255, 127)),
        ("PNG", b"\xff\x00", WHITE),
    ],
)
def test_palettes_with_transparency(name, transparency, second):
    palette = Image.fromarray(np.uint8([[0, 1, 2, 3]])).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    shown = [(255, 0, 0), second, (0, 0, 255), (9, 9, 9)]
    assert pixels(encoded(palette, name, transparency=transparency)) == shown


@pytest.mark.parametrize(
    ("name", "options"), [("JPEG", {"quality": 100, "subsampling": 0}), ("TIFF", {})]
)
def test_cmyk_is_not_inverted(name, options):
    inks = np.uint8([[(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 0, 255)]])
    blocks = np.kron(inks, np.ones((8, 8, 1), np.uint8))
    (frame,) = decode(encoded(Image.fromarray(blocks, "CMYK"), name, **options), SETTINGS).frames
    shown = [frame.getpixel((x, 4)) for x in (4, 12, 20, 28)]
    assert shown == [WHITE, (0, 255, 255), (255, 0, 255), (0, 0, 0)]


def test_lab_keeps_its_colours():
    colours = np.uint8([[(250, 10, 10), (10, 250, 10), (128, 128, 128), (255, 255, 255)]])
    lab = ImageCms.profileToProfile(
        Image.fromarray(colours),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    shown = pixels(encoded(lab, "TIFF"))
    assert np.abs(np.array(shown) - colours[0]).max() <= 12  # eight-bit LAB is coarse


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(png, kind, body):
    return png[:33] + chunk(kind, body) + png[33:]


def test_png_gamma_is_applied_as_browsers_do():
    plain = encoded(Image.new("RGB", (1, 1), (50, 100, 200)), "PNG")
    linear = with_chunk(plain, b"gAMA", struct.pack(">I", 100_000))
    usual = with_chunk(plain, b"gAMA", struct.pack(">I", 45_455))
    overruled = with_chunk(linear, b"sRGB", b"\0")
    assert pixels(linear, 1) == [(122, 168, 229)]
    assert pixels(usual, 1) == [(50, 100, 200)]
    assert pixels(overruled, 1) == [(50, 100, 200)]


def gamma(value):
    return chunk(b"gAMA", struct.pack(">I", value))


def chromaticities(*values):
    return chunk(b"cHRM", struct.pack(">8i", *(round(value * 100_000) for value in values)))


def code_points(primaries, transfer, matrix=0, full_range=1):
    return chunk(b"cICP", bytes([primaries, transfer, matrix, full_range]))


def profile(body):
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(body))


def broken(whole):
    return whole[:-4] + b"\0\0\0\0"


D65 = (0.3127, 0.329)
SRGB = (*D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3 = (*D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
MARK = chunk(b"sRGB", b"\0")


def seen_with(*chunks, colour=(50, 100, 200), late=b""):
    """What is seen of a colour, in a PNG with some chunks."""
    plain = encoded(Image.new("RGB", (1, 1), colour), "PNG")
    end = plain.index(b"IEND") - 4
    return pixels(plain[:33] + b"".join(chunks) + plain[33:end] + late + plain[end:], 1)[0]


# Every value is what Chromium 156 shows.
@pytest.mark.parametrize(
    ("chunks", "shown"),
    [
        # Of a gamma and primaries: a power curve, a matrix, and sRGB's curve.
        ([gamma(45_455), chromaticities(*SRGB)], (46, 99, 201)),
        ([gamma(100_000), chromaticities(*SRGB)], (122, 168, 229)),
        ([gamma(45_455), chromaticities(*P3)], (16, 102, 208)),
        ([gamma(45_455), chromaticities(0.3457, 0.3585, *P3[2:])], (0, 101, 208)),
        # Of a gamma alone: the same with sRGB's primaries, unless it is about what sRGB has.
        ([gamma(100_000)], (122, 168, 229)),
        ([gamma(55_556)], (65, 119, 210)),
        ([gamma(43_181)], (42, 95, 199)),
        ([gamma(43_182)], (50, 100, 200)),
        ([gamma(47_727)], (50, 100, 200)),
        ([gamma(47_728)], (51, 105, 204)),
        ([gamma(1)], (0, 0, 0)),
        ([gamma(4_294_967_295)], (255, 255, 255)),
        ([gamma(0)], (50, 100, 200)),
        # Primaries alone count for nothing, and those of no light take the gamma along.
        ([chromaticities(*P3)], (50, 100, 200)),
        ([gamma(100_000), chromaticities(*[0] * 8)], (50, 100, 200)),
        ([gamma(100_000), chromaticities(*P3[:-1], -0.06)], (50, 100, 200)),
        # The first of each counts, and none that is broken or comes after the pixels.
        ([gamma(100_000), gamma(45_455), chromaticities(*SRGB)], (122, 168, 229)),
        ([broken(gamma(100_000)), chromaticities(*SRGB)], (50, 100, 200)),
        ([chunk(b"gAMA", b"\0\1\2"), chromaticities(*SRGB)], (50, 100, 200)),
        ([gamma(100_000), broken(MARK), chromaticities(*SRGB)], (122, 168, 229)),
        # What says it better counts instead.
        ([gamma(100_000), chromaticities(*P3), MARK], (50, 100, 200)),
        ([profile(b"no profile"), gamma(100_000), chromaticities(*SRGB)], (122, 168, 229)),
        ([code_points(1, 13), gamma(100_000), chromaticities(*P3)], (50, 100, 200)),
    ],
)
def test_png_gamma_and_primaries(chunks, shown):
    assert np.abs(np.subtract(seen_with(*chunks), shown)).max() <= 1


def test_png_colour_after_the_pixels_does_not_count():
    late = gamma(100_000) + chromaticities(*P3)
    assert seen_with(late=late) == seen_with(late=code_points(12, 8)) == (50, 100, 200)


@pytest.mark.parametrize(
    ("transfer", "shown"),
    [
        (1, 39), (4, 46), (5, 26), (6, 39), (7, 68), (8, 122), (11, 39), (13, 50), (14, 39),
        (15, 39), (17, 34),
        (0, 50), (2, 50), (9, 50), (12, 50), (200, 50),
    ],
)  # fmt: skip
def test_png_transfer_functions(transfer, shown):
    seen = seen_with(code_points(1, transfer), colour=(50, 50, 50))[0]
    assert seen == pytest.approx(shown, abs=1)


@pytest.mark.parametrize(
    ("primaries", "shown"),
    [
        (1, (200, 150, 100)), (4, (221, 146, 92)), (5, (202, 150, 101)), (6, (197, 150, 99)),
        (8, (214, 148, 92)), (9, (227, 142, 90)), (11, (207, 148, 91)), (12, (209, 147, 91)),
        (22, (201, 150, 100)), (2, (200, 150, 100)), (99, (200, 150, 100)),
    ],
)  # fmt: skip
def test_png_primaries_by_code_point(primaries, shown):
    seen = seen_with(code_points(primaries, 13), colour=(200, 150, 100))
    assert np.abs(np.subtract(seen, shown)).max() <= 1


def test_code_points_count_before_a_profile_where_they_are_of_use():
    as_srgb, as_adobe = seen_with(code_points(1, 13), profile(ADOBE)), seen_with(profile(ADOBE))
    assert as_srgb == (50, 100, 200) != as_adobe
    assert seen_with(code_points(2, 2), profile(ADOBE)) == as_adobe
    assert seen_with(code_points(12, 13, full_range=0), profile(ADOBE)) == as_adobe
    assert seen_with(code_points(1, 13), code_points(1, 8)) == (50, 100, 200)


def test_code_points_count_in_every_frame_of_an_animation():
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", (50, 50, 50))]
    data = with_chunk(
        encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), b"cICP", b"\1\x08\0\1"
    )
    assert decode(data, SETTINGS).frames[1].getpixel((0, 0)) == (122, 122, 122)


@pytest.mark.parametrize(
    ("codes", "shown"),
    [
        ((1, 13), (200, 150, 100)),
        ((12, 13), (209, 147, 90)),
        ((9, 14), (227, 142, 88)),  # television's curve is taken for sRGB here
        ((1, 8), (229, 202, 168)),
        ((1, 16), (200, 150, 100)),  # PQ: viewers disagree
        ((2, 2), (200, 150, 100)),
    ],
)
@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
def test_code_points_in_boxes(name, codes, shown):
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heif' is not installed")
    colour, file = Image.new("RGB", (64, 64), (200, 150, 100)), io.BytesIO()
    if name == "HEIF":
        heif.from_pillow(colour).save(file, quality=100, chroma=444)
    else:
        colour.save(file, name, quality=100, subsampling="4:4:4")
    plain = file.getvalue()
    at = plain.index(b"colrnclx") + 8
    seen = pixels(plain[:at] + struct.pack(">HH", *codes) + plain[at + 4 :], 1)[0]
    assert np.abs(np.subtract(seen, shown)).max() <= 3


@pytest.mark.parametrize("at", [b"ipma", b"pitm", b"ipco", b"iprp", b"meta", b"colr"])
@pytest.mark.parametrize("value", [0, 1, 7, 0xFF])
def test_damaged_boxes_are_no_colour_space(at, value):
    data = bytearray(encoded(Image.new("RGB", (16, 16), (200, 150, 100)), "AVIF"))
    place = data.index(at)
    data[place + 4 : place + 12] = bytes([value]) * 8
    assert colour_space_of(bytes(data)) is None


def test_a_transparent_colour_of_sixteen_bits_is_compared_whole():
    colours = [(0x1234, 0x5678, 0x9ABC), (0x1235, 0x5678, 0x9ABC), (0x12FF, 0x5678, 0x9ABC)]
    rows = b"\0" + struct.pack(">9H", *(value for colour in colours for value in colour))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, 16, 2, 0, 0, 0))
    transparent = chunk(b"tRNS", struct.pack(">3H", *colours[0]))
    data = b"\x89PNG\r\n\x1a\n" + header + transparent + chunk(b"IDAT", zlib.compress(rows))
    shown = pixels(data + chunk(b"IEND", b""), 3)
    assert shown == [WHITE, (0x12, 0x56, 0x9A), (0x12, 0x56, 0x9A)]


def palette_png(*before):
    rows = b"\0" + bytes([0, 1, 2, 250])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 8, 3, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + pixels


PALETTE = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
CLEAR = chunk(b"tRNS", b"\0")


@pytest.mark.parametrize(
    ("chunks", "first"),
    [
        ([PALETTE, CLEAR], WHITE),
        ([CLEAR, PALETTE], (255, 0, 0)),
        ([PALETTE, broken(CLEAR)], (255, 0, 0)),
        ([PALETTE, chunk(b"tRNS", b"")], (255, 0, 0)),
        ([PALETTE, chunk(b"tRNS", b"\0\xff\xff\xff\xff")], WHITE),
        ([PALETTE, chunk(b"tRNS", b"\0" + b"\xff" * 255)], WHITE),
        ([PALETTE, chunk(b"tRNS", b"\0" + b"\xff" * 256)], (255, 0, 0)),
        ([PALETTE, CLEAR, chunk(b"tRNS", b"\xff")], WHITE),
    ],
)
def test_palettes_as_browsers_take_them(chunks, first):
    """A colour that the palette lacks is its last."""
    assert pixels(palette_png(*chunks)) == [first, (0, 255, 0), (0, 0, 255), (0, 0, 255)]


def fixed(value):
    """An ICC s15Fixed16Number."""
    return struct.pack(">i", round(value * 65536))


def rgb_profile(colorants, gamma):
    """A matrix profile (ICC.1:2001): what an image tagged with a wide gamut carries."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Test\0" + b"\0" * 78
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    for name, colorant in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True):
        tags[name] = b"XYZ \0\0\0\0" + b"".join(map(fixed, colorant))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, bodies = b"", b""
    for name, body in tags.items():
        body += b"\0" * (-len(body) % 4)
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(bodies), len(body))
        bodies += body
    size = 128 + 4 + len(table) + len(bodies)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += b"\0" * 12 + b"acsp" + b"\0" * 28
    header += b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    header = header.ljust(128, b"\0")
    return header + struct.pack(">I", len(tags)) + table + bodies


# Adobe RGB (1998), its primaries adapted to D50.
ADOBE = rgb_profile(
    [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)], 2.2
)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_wide_gamut_is_converted_to_srgb(name):
    options = {"PNG": {}, "TIFF": {}, "JPEG": {"quality": 100}, "WEBP": {"lossless": True}}[name]
    tagged = Image.new("RGB", (16, 16), (200, 150, 100))
    shown = pixels(encoded(tagged, name, icc_profile=ADOBE, **options), 1)[0]
    # By the published matrices: (200, 150, 100) in Adobe RGB is (219, 150, 97) in sRGB.
    assert np.abs(np.array(shown) - (219, 150, 97)).max() <= 2


def test_a_profile_leaves_alpha_alone():
    tagged = Image.new("RGBA", (2, 1), (200, 150, 100, 255))
    tagged.putpixel((0, 0), (200, 150, 100, 0))
    shown = pixels(encoded(tagged, "PNG", icc_profile=ADOBE), 2)
    assert shown[0] == WHITE
    assert shown[1][0] > 210


def test_a_profile_that_swaps_channels_is_believed():
    swapped = rgb_profile(
        [(0.14307, 0.06061, 0.71410), (0.38515, 0.71687, 0.09708), (0.43607, 0.22249, 0.01392)],
        2.2,
    )
    shown = pixels(encoded(Image.new("RGB", (1, 1), (255, 0, 0)), "PNG", icc_profile=swapped), 1)
    assert shown[0][2] > 250 > 10 > shown[0][0]


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile at all",
        ADOBE[:200],
        ADOBE[:16] + b"CMYK" + ADOBE[20:],
        ADOBE[:16] + b"GRAY" + ADOBE[20:],
        ADOBE[:16] + b"Lab " + ADOBE[20:],
        ADOBE[:128] + b"\xff" * (len(ADOBE) - 128),
    ],
)
def test_a_broken_profile_is_ignored(profile):
    tagged = encoded(Image.new("RGB", (1, 1), (200, 150, 100)), "PNG", icc_profile=profile)
    assert pixels(tagged, 1) == [(200, 150, 100)]


def test_the_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    (frame,) = decode(encoded(Image.fromarray(noise), "PNG", icc_profile=profile), SETTINGS).frames
    assert np.array_equal(np.asarray(frame), noise)


def corners():
    """Four colours, so that each of the eight orientations looks different."""
    picture = Image.new("RGB", (48, 32), "red")
    picture.paste("lime", (24, 0, 48, 16))
    picture.paste("blue", (0, 16, 24, 32))
    picture.paste("white", (24, 16, 48, 32))
    return picture


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def seen(picture):
    """The colours clockwise from the upper left."""
    width, height = picture.size
    places = [(4, 4), (width - 5, 4), (width - 5, height - 5), (4, height - 5)]
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    return "".join(
        names[tuple(int(value > 127) for value in picture.getpixel(place))] for place in places
    )


# Clockwise from the upper left; "rgwb" is the picture as stored.
UPRIGHT = {1: "rgwb", 2: "grbw", 3: "wbrg", 4: "bwgr", 5: "rbwg", 6: "brgw", 7: "wgrb", 8: "gwbr"}


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
@pytest.mark.parametrize(("orientation", "upright"), UPRIGHT.items())
def test_exif_orientation(name, orientation, upright):
    decoded = decode(encoded(corners(), name, exif=exif(orientation)), SETTINGS)
    assert seen(decoded.frames[0]) == upright
    assert (decoded.width, decoded.height) == ((48, 32) if orientation < 5 else (32, 48))


def test_tiff_orientation_counts_once():
    decoded = decode(encoded(corners(), "TIFF", tiffinfo={0x0112: 6}), SETTINGS)
    assert seen(decoded.frames[0]) == UPRIGHT[6]


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", exif(99)])
def test_broken_exif_leaves_the_picture(block):
    assert seen(decode(encoded(corners(), "JPEG", exif=block), SETTINGS).frames[0]) == "rgwb"


def test_orientation_outside_exif_does_not_count():
    """Browsers ignore XMP, so whoever sets it must not change what is scored."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    assert seen(decode(encoded(corners(), "JPEG", xmp=xmp), SETTINGS).frames[0]) == "rgwb"


def test_only_the_first_image_of_a_phone_photograph_counts():
    second = Image.new("RGB", (48, 32), "black")
    data = encoded(corners(), "MPO", save_all=True, append_images=[second])
    decoded = decode(data, SETTINGS)
    assert decoded.format == "MPO"
    assert decoded.frame_count == len(decoded.frames) == 1
    assert seen(decoded.frames[0]) == "rgwb"


def test_heif_shows_its_primary_image_upright():
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heif' is not installed")
    file, both = io.BytesIO(), heif.HeifFile()
    both.add_from_pillow(Image.new("RGB", (64, 64), "black"))
    both.add_from_pillow(corners())
    both.save(file, primary_index=1, quality=90)
    decoded = decode(file.getvalue(), SETTINGS)
    assert (decoded.format, decoded.width, decoded.height) == ("HEIF", 48, 32)
    turned = io.BytesIO()
    heif.from_pillow(corners()).save(turned, exif=exif(6), quality=90)
    assert seen(decode(turned.getvalue(), SETTINGS).frames[0]) == UPRIGHT[6]


def test_heif_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setattr("saferank.indexer.decode.formats._HAVE_HEIF", False)
    with pytest.raises(ImageError, match=r"saferank\[heif\]") as caught:
        decode(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", SETTINGS)
    assert caught.value.code == "kind_not_read"


def test_the_reference_ignores_all_of_it():
    """Yahoo's code: no turning, no profile, hidden pixels count, sixteen bits are clipped."""
    turned = encoded(corners(), "JPEG", exif=exif(6))
    assert seen(decode_reference(turned, SETTINGS)) == "rgwb"
    tagged = encoded(Image.new("RGB", (1, 1), (200, 150, 100)), "PNG", icc_profile=ADOBE)
    assert decode_reference(tagged, SETTINGS).getpixel((0, 0)) == (200, 150, 100)
    assert decode_reference(encoded(RGBA, "PNG"), SETTINGS).getpixel((0, 0)) == (255, 0, 0)
    clipped = decode_reference(encoded(DEEP, "PNG"), SETTINGS)
    assert [clipped.getpixel((x, 0))[0] for x in range(4)] == [0, 255, 255, 255]
