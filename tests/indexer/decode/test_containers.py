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


SHORT, LONG, LONG8 = 3, 4, 16
REDUCED, PAGE, MASK = 1, 2, 4
RGB, FILTER_ARRAY, LINEAR_RAW = 2, 32803, 34892


def tiff(*chain, order="<", big=False):
    """A TIFF file; a directory is (image, values of other tags, directories below it)."""
    pointer, count, kind = ("Q", "Q", LONG8) if big else ("I", "H", LONG)
    header = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    file = bytearray(header + (struct.pack(order + "HH", 8, 0) if big else b""))
    first = len(file)
    file += struct.pack(order + pointer, 0)

    def put(body):
        place = len(file)
        file.extend(body + b"\0" * (len(body) % 2))
        return place

    def directory(image, tags=None, below=()):
        places = [directory(*each)[0] for each in below]
        strip = put(image.tobytes())
        values = {
            256: (LONG, [image.width]),
            257: (LONG, [image.height]),
            258: (SHORT, [8] * 3),
            259: (SHORT, [1]),
            262: (SHORT, [RGB]),
            273: (kind, [strip]),
            277: (SHORT, [3]),
            278: (LONG, [image.height]),
            279: (LONG, [len(image.tobytes())]),
            **({330: (kind, places)} if places else {}),
            **{tag: (LONG, [value]) for tag, value in (tags or {}).items()},
        }
        entries = b""
        for tag, (type_, numbers) in sorted(values.items()):
            letter = {SHORT: "H", LONG: "I", LONG8: "Q"}[type_]
            body = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
            if len(body) > struct.calcsize(pointer):
                body = struct.pack(order + pointer, put(body))
            head = struct.pack(f"{order}HH{pointer}", tag, type_, len(numbers))
            entries += head + body.ljust(struct.calcsize(pointer), b"\0")
        body = struct.pack(order + count, len(values)) + entries + b"\0" * struct.calcsize(pointer)
        place = put(body)
        return place, place + len(struct.pack(order + count, 0) + entries)

    link = first
    for each in chain:
        place, next_link = directory(*each)
        struct.pack_into(order + pointer, file, link, place)
        link = next_link
    return bytes(file)


def plain(colour, side):
    return Image.new("RGB", (side, side), colour)


def seen(pictures):
    return [(picture.getpixel((0, 0)), picture.width) for picture in pictures]


BLUE, WHITE = ((0, 0, 255), 32), ((255, 255, 255), 8)
PREVIEW, FULL = (plain("white", 8), {254: REDUCED}), (plain("blue", 32), {254: 0})


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_cameras_picture_is_below_its_preview(order):
    """The preview is looked at as well: some viewers know the chain of directories only."""
    decoded = decode(tiff((*PREVIEW, [FULL]), order=order), SETTINGS)
    assert (seen(decoded.frames), seen(decoded.alternatives)) == ([BLUE], [WHITE])
    assert (decoded.frame_count, decoded.width) == (1, 32)


def test_pointers_of_eight_bytes():
    decoded = decode(tiff((*PREVIEW, [FULL]), big=True), SETTINGS)
    assert (seen(decoded.frames), seen(decoded.alternatives)) == ([BLUE], [WHITE])


@pytest.mark.parametrize("rendition", [{254: REDUCED}, {254: MASK}, {255: 2}, {254: 0x10001}])
def test_a_rendition_is_no_page(rendition):
    first, second = (plain("white", 8), rendition), FULL
    for chain in ((first, second), (second, first)):
        decoded = decode(tiff(*chain), SETTINGS)
        assert (seen(decoded.frames), seen(decoded.alternatives)) == ([BLUE], [WHITE])
        assert decoded.frame_count == 1


@pytest.mark.parametrize("tags", [{}, {254: PAGE}, {255: 3}])
def test_pages_are_all_looked_at(tags):
    decoded = decode(tiff((plain("blue", 32), tags), (plain("white", 8), tags)), SETTINGS)
    assert seen(decoded.frames) == [BLUE, WHITE]


def test_a_picture_that_calls_itself_reduced_is_one_where_there_is_no_other():
    assert seen(decode(tiff(PREVIEW), SETTINGS).frames) == [WHITE]


def test_several_pictures_below_one():
    below = [FULL, PREVIEW, (plain("red", 16), {}, [(plain("lime", 8), {})])]
    decoded = decode(tiff((*PREVIEW, below)), SETTINGS)
    assert seen(decoded.frames) == [BLUE, ((255, 0, 0), 16)]  # readers do not go deeper


def test_a_directory_with_a_thumbnail_alone_holds_no_picture():
    """One below, as EXIF data have it: no width, and a JPEG by the old tags."""
    data = bytearray(tiff((*FULL, [(plain("white", 8), {513: 8, 514: 99})])))
    below = data.index(struct.pack("<HHII", 256, LONG, 1, 8))
    data[below : below + 2] = struct.pack("<H", 253)
    assert seen(decode(bytes(data), SETTINGS).frames) == [BLUE]


@pytest.mark.parametrize("colours", [FILTER_ARRAY, LINEAR_RAW])
def test_a_cameras_raw_data_are_not_scored_by_their_preview(colours):
    raw = (plain("blue", 32), {254: 0, 262: colours})
    for data in (tiff((*PREVIEW, [raw])), tiff(raw), tiff(FULL, raw)):
        with pytest.raises(ImageError, match="raw") as caught:
            decode(data, SETTINGS)
        assert caught.value.code == "kind_not_read"


def test_directories_in_a_circle_come_to_an_end():
    data = bytearray(tiff(FULL, PREVIEW))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    assert seen(decode(bytes(data), SETTINGS).frames) == [BLUE]


def test_more_directories_than_allowed_are_refused():
    data = tiff(*[FULL] * 4)
    assert decode(data, DecodeSettings(max_frame_count=4)).frame_count == 4
    assert code_of(data, DecodeSettings(max_frame_count=3)) == "too_large"


@pytest.mark.parametrize("major", [b"avis", b"avif"])
def test_of_an_avif_both_the_animation_and_its_still_picture_are_looked_at(major):
    """Browsers show what the major brand names; who knows no animations shows the picture."""
    frames = [plain(colour, 16) for colour in ("red", "lime", "blue")]
    data = encoded("AVIF", frames[0], save_all=True, append_images=frames[1:], quality=100)
    decoded = decode(data[:8] + major + data[12:], SETTINGS)
    moving, still = (3, 1) if major == b"avis" else (1, 3)
    assert (len(decoded.frames), len(decoded.alternatives)) == (moving, still)
    assert decoded.frame_count == moving


def test_an_animated_heif_is_not_scored_by_its_still_picture():
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(noise()).save(file)
    film = struct.pack(">I4s", 16, b"moov") + b"\0" * 8
    with pytest.raises(ImageError, match="animation") as caught:
        decode(file.getvalue() + film, SETTINGS)
    assert caught.value.code == "kind_not_read"
    assert decode(file.getvalue() + film.replace(b"moov", b"mpvd"), SETTINGS).format == "HEIF"
