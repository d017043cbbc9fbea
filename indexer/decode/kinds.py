"""Media that are not read, told apart from what is no picture at all.

Somebody sees them where they are shown, so they are not the same as an error page that a server
sends in place of a picture.
"""

from __future__ import annotations

import re

from saferank.indexer.decode import boxes, formats, video

# What Pillow recognises and cannot decode, or only by running a program.
_ONLY_RECOGNISED = {
    "BUFR": "a weather report (BUFR)",
    "EPS": "a PostScript program",
    "GRIB": "weather data (GRIB)",
    "HDF5": "scientific data (HDF5)",
    "MPEG": "a film (MPEG)",
    "WMF": "a Windows metafile",
}

# Where it is, what it is, and the kind that it tells.
_SIGNATURES = (
    (0, b"%!PS", "a PostScript program"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript program"),
    (8, b"AVI LIST", "a film (AVI)"),
    (0, b"FLV\1", "a film (Flash)"),
    (0, b"FWS", "a Flash animation"),
    (0, b"CWS", "a Flash animation"),
    (0, b"ZWS", "a Flash animation"),
    (0, b"\x8aMNG\r\n", "an MNG animation"),
    (0, b"\x8bJNG\r\n", "a JNG picture"),
    (0, b"\0\0\1\xba", "a film (MPEG)"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a film (Windows Media)"),
    (0, b"OggS", "a film or sound (Ogg)"),
    (0, b"ID3", "sound (MP3)"),
    (0, b"fLaC", "sound (FLAC)"),
    (8, b"WAVEfmt ", "sound (WAV)"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw data"),
    (0, b"FOVb", "a camera's raw data"),
    (0, b"IIRO", "a camera's raw data"),
    (0, b"IIRS", "a camera's raw data"),
    (0, b"MMOR", "a camera's raw data"),
    (0, b"IIU\0", "a camera's raw data"),
    (0, b"\0MRM", "a camera's raw data"),
    (0, b"II\xbc\1", "a JPEG XR picture"),
    (0, b"v/1\1", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance picture"),
    (0, b"#?RGBE", "a Radiance picture"),
    (0, b"gimp xcf", "a GIMP picture"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"FLIF", "a FLIF picture"),
    (0, b"BPG\xfb", "a BPG picture"),
    (0, b"\x97JB2\r\n\x1a\n", "a JBIG2 document"),
)
_RAW_BRAND = b"crx "

_BEGINNING = 65536  # bytes in which a drawing may have remarks before it begins
_PDF, _PDF_WITHIN = b"%PDF-", 1024
_ROOT = re.compile(rb"<([\w.-]+:)?svg[\s/>]")
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # marks of two bytes a character


def not_read(data: bytes) -> str | None:
    """Name the kind of media that the bytes are, with its article; None if they may be read.

    Args:
        data: the whole file.
    """
    if video.kind_of(data) is not None:
        return None
    name = formats.recognise(data)
    if name in _ONLY_RECOGNISED:
        return _ONLY_RECOGNISED[name]
    if name is not None:
        return None
    if (brands := boxes.brands(data)) and brands[0] not in boxes.GENERAL:
        return "a camera's raw data" if _RAW_BRAND in brands else "sound (MPEG-4)"
    for place, signature, kind in _SIGNATURES:
        if data.startswith(signature, place):
            return kind
    if _PDF in data[:_PDF_WITHIN]:
        return "a PDF document"
    return "an SVG drawing" if _is_drawing(data[:_BEGINNING]) else None


def _is_drawing(text: bytes) -> bool:
    """Whether the first element is the root of an SVG drawing."""
    if text.startswith(_WIDE):
        text = text.decode("utf-16", "ignore").encode()
    text = text.removeprefix(b"\xef\xbb\xbf").lstrip()
    while text.startswith((b"<?", b"<!")):
        end = b"-->" if text.startswith(b"<!--") else b">"
        declaration, _, rest = text.partition(end)
        if end == b">" and b"[" in declaration:  # a document type with declarations inside
            rest = text.partition(b"]")[2].partition(b">")[2]
        text = rest.lstrip()
    return _ROOT.match(text) is not None
