"""EXIF orientation: obeyed as browsers do; what other viewers may obey is looked at as well.

Every case was tried in Chromium 156.
"""

import io
import struct
import zlib

import pytest
from PIL import Image

from saferank.indexer.decode import decode
from saferank.settings import DecodeSettings

SIZE = (48, 32)
PICTURE = Image.new("RGB", SIZE, "red")
PICTURE.paste("blue", (0, 0, 24, 16))
BYTE, SHORT, LONG, SBYTE, SSHORT, SLONG = 1, 3, 4, 6, 8, 9
FORMS = {BYTE: "B", SHORT: "H", LONG: "I", SBYTE: "b", SSHORT: "h", SLONG: "i"}
ORDERS = {">": b"MM\0*", "<": b"II*\0"}


def entry(value, kind=SHORT, count=1, order=">"):
    body = struct.pack(order + FORMS[kind], value).ljust(4, b"\0")
    return struct.pack(order + "HHI", 0x0112, kind, count) + body


def tiff(*entries, order=">"):
    start = ORDERS[order] + struct.pack(order + "IH", 8, len(entries))
    return start + b"".join(entries) + b"\0\0\0\0"


def jpeg(*blocks):
    file = io.BytesIO()
    PICTURE.save(file, "JPEG")
    data = file.getvalue()
    segments = [b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block for block in blocks]
    return data[:2] + b"".join(segments) + data[2:]


def exif(*entries, order=">"):
    return b"Exif\0\0" + tiff(*entries, order=order)


def turns(data):
    """Whether the picture that counts lies on its side, and whether some other one does."""
    decoded = decode(data, DecodeSettings())
    assert (decoded.width, decoded.height) == decoded.frames[0].size
    sizes = [[picture.size for picture in some] for some in (decoded.frames, decoded.alternatives)]
    return tuple(SIZE[::-1] in each for each in sizes)


OBEYED, CLAIMED, NEITHER = (True, False), (False, True), (False, False)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", FORMS)
def test_only_a_short_is_obeyed(kind, order):
    data = jpeg(exif(entry(6, kind, order=order), order=order))
    assert turns(data) == (OBEYED if kind == SHORT else CLAIMED)


@pytest.mark.parametrize(
    ("entries", "turned"),
    [
        ([entry(6, count=2)], CLAIMED),
        ([entry(6), entry(1)], OBEYED),
        ([entry(1), entry(6)], CLAIMED),
        ([entry(9), entry(6)], OBEYED),
        ([entry(6, LONG), entry(3)], CLAIMED),
        ([entry(0)], NEITHER),
        ([entry(9)], NEITHER),
    ],
)
def test_the_first_short_that_makes_sense_is_obeyed(entries, turned):
    assert turns(jpeg(exif(*entries))) == turned


@pytest.mark.parametrize(
    ("blocks", "obeyed"),
    [
        ([exif(entry(6)), exif(entry(3))], True),
        ([b"http://ns.adobe.com/xap/1.0/\0<x/>", exif(entry(6))], True),
        ([exif(entry(6)).replace(b"MM\0*", b"MM\0+")], False),
        ([exif(entry(6))[:-12]], False),
        ([exif(entry(6)).replace(b"\0\1\1\x12", b"\xff\xff\1\x12")], True),
    ],
)
def test_other_blocks_and_damage(blocks, obeyed):
    assert turns(jpeg(*blocks))[0] == obeyed


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


PNG = io.BytesIO()
PICTURE.save(PNG, "PNG")
PNG = PNG.getvalue()


def png(*chunks, late=b""):
    end = PNG.index(b"IEND") - 4
    return PNG[:33] + b"".join(chunks) + PNG[33:end] + late + PNG[end:]


@pytest.mark.parametrize(
    ("data", "turned"),
    [
        (png(chunk(b"eXIf", tiff(entry(6)))), OBEYED),
        (png(chunk(b"eXIf", tiff(entry(6, LONG)))), CLAIMED),
        (png(chunk(b"eXIf", tiff(entry(6))), chunk(b"eXIf", tiff(entry(3)))), OBEYED),
        (png(late=chunk(b"eXIf", tiff(entry(6)))), CLAIMED),
        (png(chunk(b"eXIf", tiff(entry(1))), late=chunk(b"eXIf", tiff(entry(6)))), NEITHER),
        (png(chunk(b"eXIf", tiff(entry(6)))[:-4] + b"\0\0\0\0"), NEITHER),
        (png(chunk(b"eXIf", exif(entry(6)))), NEITHER),
    ],
)
def test_a_png_is_turned_by_an_exif_block_that_viewers_read(data, turned):
    assert turns(data) == turned


@pytest.mark.parametrize("block", [tiff(entry(6)), exif(entry(6))])
@pytest.mark.parametrize("more", [[], [PICTURE.rotate(180)]])
def test_webp_is_not_turned_but_looked_at_turned_as_well(block, more):
    file = io.BytesIO()
    PICTURE.save(file, "WEBP", exif=block, save_all=bool(more), append_images=more)
    decoded = decode(file.getvalue(), DecodeSettings())
    assert [picture.size for picture in decoded.frames] == [SIZE] * (1 + len(more))
    assert [picture.size for picture in decoded.alternatives] == [SIZE[::-1]] * (1 + len(more))
    assert decoded.pictures == [*decoded.frames, *decoded.alternatives]


def test_many_claims_cost_no_more_than_three_pictures():
    data = jpeg(exif(*(entry(value, LONG) for value in (2, 3, 4, 5, 6, 7, 8)), entry(1)))
    assert len(decode(data, DecodeSettings()).pictures) <= 3


def test_turned_pictures_come_through_the_child_as_well():
    """AVIF is decoded there: its own turn counts, which Pillow tells as EXIF."""
    file = io.BytesIO()
    PICTURE.save(file, "AVIF", exif=exif(entry(6)), quality=100)
    assert turns(file.getvalue()) == OBEYED
