"""Animations: a bounded number of frames, spread over the whole, each as it is shown."""

import io
import struct
import zlib
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from saferank.errors import ImageError
from saferank.indexer.decode import boxes, decode
from saferank.indexer.decode.frames import chosen
from saferank.settings import DecodeSettings

OPTIONS = {
    "GIF": {},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    "TIFF": {},
}


def animation(name, frames, **options):
    file = io.BytesIO()
    frames[0].save(file, name, save_all=True, append_images=frames[1:], **OPTIONS[name], **options)
    return file.getvalue()


def shades(count, size=(16, 16)):
    """Frame n is grey of value n: what was looked at can be read off."""
    return [Image.new("RGB", size, (n, n, n)) for n in range(count)]


def values(decoded):
    return [frame.getpixel((0, 0))[0] for frame in decoded.frames]


@given(st.integers(1, 2_000), st.integers(1, 50), st.sampled_from([0.0, 0.04, 1 / 3]))
def test_frames_that_are_shown_alike_are_spread_evenly(count, limit, delay):
    places = chosen([delay] * count, limit)
    assert len(places) == min(count, limit)
    assert all(0 <= place < count for place in places)
    if limit > 1:
        assert (places[0], places[-1]) == (0, count - 1)
        gaps = [after - before for before, after in pairwise(places)]
        assert not gaps or 1 <= min(gaps) <= max(gaps) <= min(gaps) + 1


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300), st.integers(1, 40))
def test_what_is_shown_long_is_looked_at(milliseconds, limit):
    places = chosen([each / 1000 for each in milliseconds], limit)
    assert len(places) == min(len(milliseconds), limit)
    assert places == sorted(set(places))
    shown = [100 if each <= 10 else each for each in milliseconds]
    picked = [shown[place] for place in places]
    assert max(picked) == max(shown)
    if limit >= 3:
        assert {0, len(shown) - 1} <= set(places)
        long_enough = [n for n, each in enumerate(shown) if each * (limit - 1) >= sum(shown)]
        assert set(long_enough) <= set(places)


def test_the_longest_are_looked_at_and_browsers_rule_for_short_delays_counts():
    assert 77 in chosen([0.04] * 77 + [0.05] + [0.04] * 922, 4)
    # As short as that, a frame is shown for a tenth of a second: so it is the longest.
    assert 77 in chosen([0.04] * 77 + [0.01] + [0.04] * 922, 4)
    assert 77 in chosen([0.04] * 77 + [0.0] + [0.04] * 922, 4)
    assert 77 not in chosen([0.04] * 77 + [0.011] + [0.04] * 922, 4)


LONG = 61


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF"])
def test_the_frame_that_is_on_screen_most_of_the_time_is_looked_at(name):
    delays = [40] * 101
    delays[LONG] = 60_000
    decoded = decode(animation(name, shades(101), duration=delays), DecodeSettings(max_frames=3))
    assert decoded.frame_count == 101
    assert values(decoded) == pytest.approx([0, LONG, 100], abs=1)


def test_bytes_behind_an_animation_do_not_hide_its_delays():
    delays = [40] * 101
    delays[LONG] = 60_000
    data = animation("WEBP", shades(101), duration=delays)
    start = data.index(b"ANMF")
    again = data[start : start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")]
    assert LONG in values(decode(data + again, DecodeSettings(max_frames=3)))


@pytest.mark.parametrize("place", ["mdhd", "stts", "hdlr"])
@pytest.mark.parametrize("body", [b"\xff" * 60, b"\0" * 60])
def test_damaged_delays_of_an_avif_are_no_reason_to_fail(place, body):
    data = animation("AVIF", shades(9))
    start = data.index(place.encode(), data.index(b"moov")) + 4
    damaged = data[:start] + body + data[start + len(body) :]
    assert all(each >= 0 for each in islice(boxes.delays(damaged), 1000))


@pytest.mark.parametrize("name", OPTIONS)
def test_frames_are_spread_over_the_whole(name):
    decoded = decode(animation(name, shades(101)), DecodeSettings(max_frames=5))
    assert decoded.frame_count == 101
    assert values(decoded) == pytest.approx([0, 25, 50, 75, 100], abs=1)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_short_animation_is_looked_at_whole(name):
    decoded = decode(animation(name, shades(3)), DecodeSettings())
    assert decoded.frame_count == 3
    assert values(decoded) == pytest.approx([0, 1, 2], abs=1)


@pytest.mark.parametrize("name", ["GIF", "PNG"])
def test_what_a_frame_leaves_behind(name):
    """Red everywhere; then a blue square that is cleared; then a green one in a transparent
    frame: nothing of blue may be left."""
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    red = Image.new("RGBA", (20, 20), "red")
    blue, green = clear.copy(), clear.copy()
    blue.paste("blue", (0, 0, 10, 10))
    green.paste("lime", (10, 10, 20, 20))
    disposal = {"GIF": 2, "PNG": 1}[name]  # their numbers for "clear it"
    data = animation(name, [red, blue, green], disposal=disposal)
    frames = decode(data, DecodeSettings()).frames
    at = [[frame.getpixel(place) for place in ((5, 5), (15, 15), (15, 5))] for frame in frames]
    red, green, blue, white = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    assert at == [[red, red, red], [blue, white, white], [white, green, white]]


@pytest.mark.parametrize("name", ["GIF", "PNG"])
def test_frames_without_disposal_add_up(name):
    base = Image.new("RGBA", (20, 20), "red")
    patch = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    patch.paste("blue", (0, 0, 10, 10))
    options = {"GIF": {"disposal": 1}, "PNG": {"disposal": 0, "blend": 1}}[name]
    frames = decode(animation(name, [base, patch], **options), DecodeSettings()).frames
    assert frames[1].getpixel((5, 5)) == (0, 0, 255)
    assert frames[1].getpixel((15, 15)) == (255, 0, 0)


def test_large_frames_are_fewer_so_that_memory_is_bounded():
    data = animation("PNG", shades(9, (100, 100)))
    decoded = decode(data, DecodeSettings(max_pixels=30_000))
    assert values(decoded) == [0, 4, 8]


def test_more_frames_than_allowed_are_refused():
    data = animation("GIF", shades(20))
    with pytest.raises(ImageError, match="20 frames") as caught:
        decode(data, DecodeSettings(max_frame_count=19))
    assert caught.value.code == "too_large"
    assert decode(data, DecodeSettings(max_frame_count=20)).frame_count == 20


def test_an_animation_that_takes_too_long_is_given_up():
    data = animation("WEBP", shades(50))
    with pytest.raises(ImageError, match="50 frames") as caught:
        decode(data, DecodeSettings(timeout=1e-6))
    assert caught.value.code == "decode_timeout"


def test_pages_of_other_sizes_are_each_checked():
    pages = [Image.new("RGB", (10, 10)), Image.new("RGB", (200, 200))]
    with pytest.raises(ImageError) as caught:
        decode(animation("TIFF", pages), DecodeSettings(max_pixels=20_000))
    assert caught.value.code == "too_large"


def test_thousands_of_frames():
    """A five-thousand-frame file is within the limits as they are."""
    one = io.BytesIO()
    Image.new("P", (1, 1)).save(one, "GIF")
    start = one.getvalue().index(b",")
    frame = one.getvalue()[start:-1]
    decoded = decode(one.getvalue()[:start] + frame * 5000 + b";", DecodeSettings())
    assert (decoded.frame_count, len(decoded.frames)) == (5000, 16)


def gif(*blocks, size=(4, 1)):
    """A GIF of red, green, blue and black, put together by hand."""
    table = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0])
    return b"GIF89a" + struct.pack("<HHBBB", *size, 0x81, 0, 0) + table + b"".join(blocks) + b";"


def block(values, left=0, disposal=0, transparent=None):
    """A frame one pixel high; each LZW code is preceded by a clear, so it is three bits."""
    flags = disposal << 2 | (transparent is not None)
    control = b"!\xf9\x04" + bytes([flags, 0, 0, transparent or 0]) + b"\0"
    codes = [code for value in values for code in (4, value)] + [5]
    packed = sum(code << 3 * place for place, code in enumerate(codes))
    data = packed.to_bytes((3 * len(codes) + 7) // 8, "little")
    image = b"," + struct.pack("<HHHHB", left, 0, len(values), 1, 0)
    return control + image + b"\x02" + bytes([len(data)]) + data + b"\0"


def letters(picture):
    names = {(255, 0, 0): "r", (0, 255, 0): "g", (0, 0, 255): "b", (0, 0, 0): "k"}
    return "".join(names.get(picture.getpixel((x, 0)), "-") for x in range(picture.width))


def rows(data):
    return [letters(frame) for frame in decode(data, DecodeSettings()).frames]


@pytest.mark.parametrize(
    ("blocks", "shown"),
    [
        # What the first frame leaves uncovered is empty, not the palette's first colour.
        ([block([1, 1], left=1)], ["-gg-"]),
        # A frame that is cleared leaves nothing, not the background colour.
        ([block([1, 1, 1, 1], disposal=2), block([2])], ["gggg", "b---"]),
        # Only the frame's own part is cleared.
        ([block([0, 0, 0, 0]), block([1], 1, disposal=2), block([2], 3)], ["rrrr", "rgrr", "r-rb"]),
        # A restored frame leaves what was there before it.
        ([block([0, 0, 0, 0]), block([1], 1, disposal=3), block([2], 3)], ["rrrr", "rgrr", "rrrb"]),
        # Transparent pixels show what is below them.
        ([block([0, 0, 0, 0]), block([1, 2, 1], 1, transparent=2)], ["rrrr", "rgrg"]),
        # Nothing outside the canvas is shown, and a frame need not lie inside it.
        ([block([0, 0, 0, 0]), block([1, 1, 1], 3)], ["rrrr", "rrrg"]),
        ([block([0, 0, 0, 0]), block([1], 9), block([1], 0)], ["rrrr", "rrrr", "grrr"]),
        # A canvas that the first frame sticks out of grows to hold it, at its place.
        ([block([0, 0, 0, 0, 0])], ["rrrrr"]),
        ([block([0, 1, 2], 3)], ["---rgb"]),
        ([block([0, 1, 2], 9)], ["---------rgb"]),
        ([block([0, 1], 4), block([2, 2, 2, 2], 0)], ["----rg", "bbbbrg"]),
    ],
)
def test_gif_frames_are_put_together_as_in_browsers(blocks, shown):
    assert rows(gif(*blocks)) == shown


def test_a_gif_without_a_canvas_size_has_that_of_its_first_frame():
    assert rows(gif(block([0, 1]), size=(0, 0))) == ["rg"]


@pytest.mark.parametrize(
    ("data", "alone"),
    [
        (gif(block([0, 1, 2, 1]), block([1])), []),
        (gif(block([0, 1], 2), block([1])), []),
        (gif(block([0, 1], 3)), ["rg"]),
        (gif(block([0, 1], 900)), ["rg"]),
        (gif(block([0, 1], 0), size=(1, 1)), ["rg"]),
        (gif(block([0, 1, 2, 1]), block([1], 9)), []),
        # Firefox takes no notice of the screen of the older version.
        (gif(block([0, 1], 2)).replace(b"GIF89a", b"GIF87a"), ["rg"]),
        (gif(block([0, 1, 2, 1])).replace(b"GIF89a", b"GIF87a"), []),
    ],
)
def test_a_first_frame_that_some_show_without_the_canvas_is_looked_at_alone(data, alone):
    assert [letters(picture) for picture in decode(data, DecodeSettings()).alternatives] == alone


def test_a_frame_placed_beyond_all_limits_is_refused():
    data = bytearray(gif(block([0])))
    frame = data.index(b",")
    data[frame + 1 : frame + 5] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError) as caught:
        decode(bytes(data), DecodeSettings())
    assert caught.value.code == "too_large"


def test_a_gif_that_stops_between_two_frames_is_truncated():
    """The trailer is missing: what comes after the cut could be anything."""
    whole = gif(block([0, 0, 0, 0]), block([1, 1, 1, 1]))
    with pytest.raises(ImageError) as caught:
        decode(whole[:-1], DecodeSettings())
    assert caught.value.code == "truncated"


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def row(colours):
    """The header and the packed pixels of an opaque PNG one pixel high."""
    colour = {"r": b"\xff\0\0", "g": b"\0\xff\0", "b": b"\0\0\xff", "k": b"\0\0\0"}
    return zlib.compress(b"\0" + b"".join(colour[name] for name in colours))


def control(number, width, left, disposal, blend=0):
    return chunk(
        b"fcTL", struct.pack(">IIIIIHHBB", number, width, 1, left, 0, 1, 10, disposal, blend)
    )


def apng(*chunks, width=4, frames=2):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, 8, 2, 0, 0, 0))
    declared = chunk(b"acTL", struct.pack(">II", frames, 0))
    return b"\x89PNG\r\n\x1a\n" + header + declared + b"".join(chunks) + chunk(b"IEND", b"")


def later(number, colours):
    return chunk(b"fdAT", struct.pack(">I", number) + row(colours))


FIRST = chunk(b"IDAT", row("rrrr"))


@pytest.mark.parametrize(
    ("chunks", "shown"),
    [
        # Cleared means empty, also where the picture has no transparency.
        ([control(0, 4, 0, 1), FIRST, control(1, 1, 1, 0), later(2, "b")], ["rrrr", "-b--"]),
        ([control(0, 4, 0, 0), FIRST, control(1, 2, 1, 0), later(2, "bb")], ["rrrr", "rbbr"]),
        # A frame without control before it is the default image: seen, but not kept.
        ([FIRST, control(0, 1, 1, 0), later(1, "g"), control(2, 1, 2, 0), later(3, "b")],
         ["rrrr", "-g--", "-gb-"]),
        # A restored frame leaves what was there, as often as it is asked to.
        ([control(0, 4, 0, 0), FIRST, control(1, 2, 0, 2), later(2, "bb"),
          control(3, 2, 1, 2), later(4, "gg"), control(5, 1, 3, 0), later(6, "k")],
         ["rrrr", "bbrr", "rggr", "rrrk"]),
    ],
)  # fmt: skip
def test_png_frames_are_put_together_as_in_browsers(chunks, shown):
    declared = sum(each[4:8] == b"fcTL" for each in chunks)
    assert rows(apng(*chunks, frames=declared)) == shown


@pytest.mark.parametrize("declared", [1, 2, 3, 4])
def test_png_frames_beyond_those_declared_are_not_shown(declared):
    """Else thousands of them, which nobody sees, would crowd out the few that are."""
    frames = [control(0, 4, 0, 0), FIRST, control(1, 1, 1, 0), later(2, "b")]
    data = apng(*frames, control(3, 1, 2, 0), later(4, "g"), frames=declared)
    assert rows(data) == ["rrrr", "rbrr", "rbgr"][:declared]


@pytest.mark.parametrize(
    "chunks",
    [
        [control(0, 4, 0, 0), FIRST, control(2, 4, 0, 0), later(3, "gggg")],
        [control(0, 4, 0, 0), FIRST, later(1, "gggg"), control(1, 4, 0, 0)],
        [control(0, 4, 0, 0), FIRST, control(1, 4, 0, 0), control(2, 4, 0, 0), later(3, "gggg")],
        [control(0, 4, 0, 0), FIRST, control(1, 4, 0, 3), later(2, "gggg")],
        [control(0, 4, 0, 0), FIRST, control(1, 0, 0, 0), later(2, "")],
        [FIRST, later(0, "gggg")],
        [control(0, 4, 0, 0), FIRST, chunk(b"fcTL", b"\0\0\0\1")],
    ],
)
def test_png_frames_out_of_order(chunks):
    with pytest.raises(ImageError) as caught:
        decode(apng(*chunks), DecodeSettings())
    assert caught.value.code == "unreadable"


@pytest.mark.filterwarnings("ignore")
def test_a_png_that_announces_nonsense_is_a_still_picture():
    control_and_more = (control(0, 4, 0, 0), FIRST, control(1, 1, 0, 0), later(2, "b"))
    assert rows(apng(*control_and_more, frames=2)) == ["rrrr", "brrr"]
    assert rows(apng(*control_and_more, frames=2**31)) == ["rrrr"]


def test_translucent_png_frames_lie_over_each_other():
    base = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    veil = Image.new("RGBA", (4, 4), (0, 0, 255, 128))
    over = animation("PNG", [base, veil], disposal=0, blend=1)
    instead = animation("PNG", [base, veil], disposal=0, blend=0)
    seen = [decode(data, DecodeSettings()).frames[1].getpixel((0, 0)) for data in (over, instead)]
    assert seen == [(127, 0, 128), (127, 127, 255)]


def test_an_animated_png_is_turned_upright_and_its_profile_counts_for_every_frame():
    frames = shades(3, (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode(animation("PNG", frames, exif=exif), DecodeSettings())
    assert [frame.size for frame in decoded.frames] == [(2, 4)] * 3
    assert (decoded.width, decoded.height) == (2, 4)


FLAGS, TRANSPARENT = 20, 0x10  # in a WebP file that begins with its flags


def denying_transparency(data):
    assert data[12:16] == b"VP8X"
    return data[:FLAGS] + bytes([data[FLAGS] & ~TRANSPARENT]) + data[FLAGS + 1 :]


def half_clear(colour):
    picture = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    picture.paste(colour, (0, 0, 8, 16))
    return picture


@pytest.mark.parametrize("lossless", [True, False])
def test_an_animated_webp_is_transparent_whatever_its_header_says(lossless):
    frames = [half_clear("red"), half_clear("blue")]
    options = {"lossless": lossless, "quality": 100}
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], **options)
    data = file.getvalue()
    as_it_is, denied = (
        decode(each, DecodeSettings()) for each in (data, denying_transparency(data))
    )
    assert [each.getpixel((12, 8)) for each in denied.frames] == [(255, 255, 255)] * 2
    assert [each.tobytes() for each in denied.frames] == [
        each.tobytes() for each in as_it_is.frames
    ]
    assert denied.alternatives == []


@pytest.mark.parametrize("lossless", [True, False])
def test_a_still_webp_that_denies_its_transparency_is_looked_at_both_ways(lossless):
    """Chromium shows the colours that were to be hidden."""
    hiding = Image.new("RGBA", (16, 16), (0, 0, 255, 0))
    hiding.paste("red", (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x010E] = "makes the encoder write a header"
    file = io.BytesIO()
    hiding.save(file, "WEBP", lossless=lossless, quality=100, exact=True, exif=exif)
    decoded = decode(denying_transparency(file.getvalue()), DecodeSettings())
    assert decoded.frames[0].getpixel((12, 8)) == pytest.approx((0, 0, 255), abs=3)
    assert [each.getpixel((12, 8)) for each in decoded.alternatives] == [(255, 255, 255)]


def test_a_webp_with_a_plain_header_is_looked_at_once():
    exif = Image.Exif()
    exif[0x010E] = "a description"
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "WEBP", exif=exif)
    assert len(decode(file.getvalue(), DecodeSettings()).pictures) == 1
