"""Which file formats are read, and how a file is recognised: by its bytes only."""

from __future__ import annotations

from importlib.util import find_spec

from PIL import Image

from saferank.indexer.decode import boxes, jxl, video

_HAVE_HEIF = find_spec("pillow_heif") is not None  # the extra "heif"
if _HAVE_HEIF:
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
_HAVE_VIDEO = find_spec("av") is not None  # the extra "video"
_HAVE_JXL = find_spec("pillow_jxl") is not None  # the extra "jxl"
if _HAVE_JXL:
    import pillow_jxl  # noqa: F401  (registers itself)

# Everything that Pillow decodes itself. Left out: EPS (runs Ghostscript on the file), and the
# formats that Pillow only recognises (BUFR, GRIB, HDF5, MPEG, WMF).
_READ = (
    "AVIF BLP BMP CUR DCX DDS DIB FITS FLI FTEX GBR GIF HEIF ICNS ICO IM IMT IPTC JPEG JPEG2000 "
    "JXL MCIDAS MSP PCD PCX PIXAR PNG PPM PSD QOI SGI SPIDER SUN TGA TIFF WEBP XBM XPM XVTHUMB"
)

# Decoded in this process; the other formats in a child (see isolation.py).
COMMON = frozenset({"GIF", "JPEG", "PNG", "WEBP"})

# Files whose further images are shown too: animations, and the pages of a document. (Those of
# GIF, PNG and TIFF are found by gif.py, apng.py and tiff.py.) In the others they are renditions
# of the first image: sizes, layers, stereo partner, gain map.
SEQUENCES = frozenset({"AVIF", "DCX", "FLI", "IM", "SPIDER", "WEBP"})

BOXED = frozenset({"AVIF", "HEIF"})  # files of ISO's base media boxes

_HEIF_BRANDS = (*boxes.HEIC, *boxes.GENERAL)


def readable() -> list[str]:
    """Pillow's names of the formats that are read."""
    Image.init()
    return [name for name in _READ.split() if name in Image.OPEN]


def recognise(data: bytes) -> str | None:
    """Name the format that the first bytes announce, whether it is read or not.

    Returns:
        Pillow's name, or None when no format with a signature claims the bytes.
    """
    Image.init()
    prefix = data[:16].ljust(16, b"\0")  # some plug-ins do not expect less
    for name, (_, accept) in Image.OPEN.items():
        if accept is not None and accept(prefix) is True:
            return name
    return None


def lacks_extra(data: bytes) -> str | None:
    """Name the extra for want of which the image cannot be read, if it is one of such a kind."""
    if not _HAVE_HEIF and data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "heif"
    if not _HAVE_VIDEO and video.kind_of(data) is not None:
        return "video"
    return "jxl" if not _HAVE_JXL and jxl.is_jxl(data) else None
