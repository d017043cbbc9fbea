"""Media that are not read are told apart from what is no picture at all."""

import struct

import pytest

from saferank.errors import ImageError
from saferank.indexer.decode import decode
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect/></svg>"
DOCTYPE = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd"'


def refused(data):
    with pytest.raises(ImageError) as caught:
        decode(data, SETTINGS)
    return caught.value.code, str(caught.value)


def film(*brands):
    body = brands[0] + b"\0\0\0\1" + b"".join(brands[1:])
    return struct.pack(">I4s", 8 + len(body), b"ftyp") + body + b"\0\0\0\x08free" + b"\0" * 64


@pytest.mark.parametrize(
    "drawing",
    [
        SVG,
        b"\xef\xbb\xbf  \r\n" + SVG,
        b'<?xml version="1.0"?>\n<!-- a > remark --><!-- and another -->' + SVG,
        b"<?xml version='1.0'?>" + DOCTYPE + b">" + SVG,
        DOCTYPE + b' [<!ENTITY a "b"> <!ENTITY c "d">]>\n' + SVG,
        b"<svg:svg xmlns:svg='http://www.w3.org/2000/svg'/>",
        b"<!--" + b"x" * 30_000 + b"-->" + SVG,
        ("\ufeff" + SVG.decode()).encode("utf-16-le"),
        ("\ufeff" + SVG.decode()).encode("utf-16-be"),
    ],
)
def test_drawings(drawing):
    code, message = refused(drawing)
    assert (code, "SVG" in message) == ("kind_not_read", True)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\n%PDF-1.4\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "PostScript"),
        (film(b"M4A ", b"mp42"), "sound"),
        (film(b"crx ", b"isom"), "raw"),
        (b"RIFF\0\0\1\0AVI LIST" + b"\0" * 60, "AVI"),
        (b"RIFF\0\0\1\0WAVEfmt " + b"\0" * 60, "sound"),
        (b"\0\0\1\xba" + b"\0" * 60, "MPEG"),
        (b"\0\0\1\xb3" + b"\0" * 60, "MPEG"),
        (b"OggS\0\2" + b"\0" * 60, "Ogg"),
        (b"ID3\3" + b"\0" * 60, "sound"),
        (b"FUJIFILMCCD-RAW 0201" + b"\0" * 60, "raw"),
        (b"\xd7\xcd\xc6\x9a" + b"\0" * 60, "metafile"),
        (b"II\xbc\1" + b"\0" * 60, "JPEG XR"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 4\n" + b"\0" * 60, "Radiance"),
        (b"#?RGBE\nGAMMA=1\n\n-Y 4 +X 4\n" + b"\0" * 60, "Radiance"),
        (b"gimp xcf v011\0" + b"\0" * 60, "GIMP"),
        (b"ZWS\x0d" + b"\0" * 60, "Flash"),
        (b"\x8aMNG\r\n\x1a\n" + b"\0" * 60, "MNG"),
        (b"\x8bJNG\r\n\x1a\n" + b"\0" * 60, "JNG"),
    ],
)
def test_other_media(data, kind):
    code, message = refused(data)
    assert (code, kind in message) == ("kind_not_read", True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<",
        b"<!",
        b"<!--",
        b"<!doctype html><html><body>Not found</body></html>",
        b"<!doctype html><html><body>" + SVG + b"</body></html>",
        b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>',
        b"<svgalib/>",
        b"\xff\xfe<",
        b'{"error": "not found"}',
        b"RIFF\0\0\1\0ACON" + b"\0" * 60,
        film(b"mif1"),
    ],
)
def test_what_is_no_media_that_anybody_could_show(data):
    assert refused(data)[0] in ("not_an_image", "unreadable")
