"""An AVIF may say that only a part of its picture is to be shown; viewers disagree about it."""

import io
import struct

import pytest
from PIL import Image

from saferank.indexer.decode import decode
from saferank.settings import DecodeSettings

SIZE = (64, 48)
PICTURE = Image.new("RGB", SIZE, "blue")
PICTURE.paste("red", (8, 16, 40, 32))


def aperture(width, height, right, down):
    """The property's box; each number is a numerator and a denominator."""
    return struct.pack(">I4sIIIIiIiI", 40, b"clap", *width, *height, *right, *down)


# The red part: 32 × 16 pixels, whose middle is 8 to the left of the picture's.
RED = aperture((32, 1), (16, 1), (-8, 1), (0, 1))


def avif(box=b"", exif=None):
    """An AVIF whose one picture has a further property."""
    file = io.BytesIO()
    PICTURE.save(file, "AVIF", quality=100, **({} if exif is None else {"exif": exif}))
    data = bytearray(file.getvalue())
    if not box:
        return bytes(data)

    def start(kind):
        return data.index(kind) - 4

    def grow(place, by):
        (size,) = struct.unpack_from(">I", data, place)
        struct.pack_into(">I", data, place, size + by)
        return place + size

    places = [start(kind) for kind in (b"meta", b"iprp", b"ipco", b"ipma")]
    meta, iprp, ipco, ipma = places
    (pictures,) = struct.unpack_from(">I", data, data.index(b"mdat") - 4)
    assert pictures  # the file's data come behind what describes them
    position, properties = ipco + 8, 1
    while position < ipma:
        position, properties = (
            position + struct.unpack_from(">I", data, position)[0],
            properties + 1,
        )
    # Behind version, flags and the number of items: the item, and how many properties it has.
    count = ipma + 8 + 4 + 4 + 2
    behind = count + 1 + data[count]
    data[count] += 1
    data[behind:behind] = bytes([0x80 | properties])
    data[ipma:ipma] = box
    for place, by in ((ipco, len(box)), (iprp, len(box) + 1), (meta, len(box) + 1)):
        grow(place, by)
    grow(ipma + len(box), 1)
    _move(data, len(box) + 1)
    return bytes(data)


def _move(data, by):
    """Let the file's index name places further behind."""
    iloc = data.index(b"iloc")
    version, sizes, items = data[iloc + 4], data[iloc + 8], data[iloc + 10 : iloc + 12]
    assert (version, sizes) == (0, 0x44)
    place = iloc + 12
    for _ in range(int.from_bytes(items, "big")):
        extents = int.from_bytes(data[place + 4 : place + 6], "big")
        place += 6
        for _ in range(extents):
            (offset,) = struct.unpack_from(">I", data, place)
            struct.pack_into(">I", data, place, offset + by)
            place += 8


def sizes(data):
    decoded = decode(data, DecodeSettings())
    return [picture.size for picture in decoded.frames], [
        picture.size for picture in decoded.alternatives
    ]


def test_the_whole_picture_and_the_part_are_looked_at():
    decoded = decode(avif(RED), DecodeSettings())
    (whole,), (part,) = decoded.frames, decoded.alternatives
    assert (whole.size, part.size) == (SIZE, (32, 16))
    assert decoded.frame_count == 1
    red, _, blue = part.resize((1, 1)).getpixel((0, 0))
    assert red > 240
    assert blue < 15


def test_the_part_is_turned_as_the_picture_is():
    exif = Image.Exif()
    exif[0x0112] = 6  # stored as the file's own property of a rotation
    decoded = decode(avif(RED, exif), DecodeSettings())
    assert decoded.frames[0].size == SIZE[::-1]
    assert [picture.size for picture in decoded.alternatives] == [(16, 32)]
    red, _, blue = decoded.alternatives[0].resize((1, 1)).getpixel((0, 0))
    assert red > 240
    assert blue < 15


@pytest.mark.parametrize(
    "box",
    [
        b"",
        aperture((64, 1), (48, 1), (0, 1), (0, 1)),  # all of it
        aperture((65, 1), (48, 1), (0, 1), (0, 1)),  # more than there is
        aperture((32, 1), (16, 1), (-17, 1), (0, 1)),  # partly outside
        aperture((32, 1), (16, 1), (0, 1), (17, 1)),
        aperture((0, 1), (16, 1), (0, 1), (0, 1)),
        aperture((32, 0), (16, 1), (0, 1), (0, 1)),
        aperture((1, 4), (1, 4), (0, 1), (0, 1)),  # less than a pixel
    ],
)
def test_a_part_that_makes_no_sense_is_none(box):
    assert sizes(avif(box)) == ([SIZE], [])


def test_fractions_of_pixels_are_rounded():
    # 31.5 × 16.25 pixels from 16.25, 15.875.
    part = aperture((63, 2), (65, 4), (0, 1), (0, 1))
    assert sizes(avif(part)) == ([SIZE], [(32, 16)])
