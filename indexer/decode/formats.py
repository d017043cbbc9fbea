"""Which file formats are read, and how a file is recognised: by its bytes only."""

from __future__ import annotations

from importlib.util import find_spec

from PIL import Image

from saferank.indexer.decode import boxes

_HAVE_HEIF = find_spec("pillow_heif") is not None  # the extra "heif"
if _HAVE_HEIF:
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)

# Everything that Pillow decodes itself. Left out: EPS (runs Ghostscript on the file), and the
# formats that Pillow only recognises (BUFR, GRIB, HDF5, MPEG, WMF).
_READ = (
    "AVIF BLP BMP CUR DCX DDS DIB FITS FLI FTEX GBR GIF HEIF ICNS ICO IM IMT IPTC JPEG JPEG2000 "
    "MCIDAS MSP PCD PCX PIXAR PNG PPM PSD QOI SGI SPIDER SUN TGA TIFF WEBP XBM XPM XVTHUMB"
)

# Decoded in this process; the other formats in a child (see isolation.py).
COMMON = frozenset({"GIF", "JPEG", "PNG", "WEBP"})

# Files whose further images are shown too: animations, and the pages of a document. (Those of
# GIF, PNG and TIFF are found by gif.py, apng.py and tiff.py.) In the others they are renditions
# of the first image: sizes, layers, stereo partner, gain map.
SEQUENCES = frozenset({"AVIF", "DCX", "FLI", "IM", "SPIDER", "WEBP"})

JPEGS = frozenset({"JPEG", "MPO"})
BOXED = frozenset({"AVIF", "HEIF"})  # files of ISO's base media boxes

_HEIF_BRANDS = (*boxes.HEIC, b"mif1", b"msf1")


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


def lacks_extra(data: bytes) -> bool:
    """Say whether the bytes are a HEIF image that cannot be read for want of the extra."""
    own = boxes.brands(data)
    return not _HAVE_HEIF and bool(own) and own[0] in _HEIF_BRANDS
