"""One small file of every format that is read, and of their main variants."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

Maker = Callable[[], bytes]


def picture(seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A smooth picture of 64 x 48 pixels; another for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 4), np.uint8)
    image = Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def _saved(name: str, mode: str = "RGB", frames: int = 1, **options: object) -> bytes:
    file = io.BytesIO()
    others = [picture(seed, mode) for seed in range(1, frames)]
    more = {"save_all": True, "append_images": others} if others else {}
    picture(mode=mode).save(file, name, **more, **options)
    return file.getvalue()


def _heif() -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(picture()).save(file)
    return file.getvalue()


def _deep() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(picture(mode="L"), np.uint16) * 257).save(file, "PNG")
    return file.getvalue()


def _numbers() -> bytes:
    """A PNG whose colours are given by numbers."""
    plain = _saved("PNG")
    chunks = {
        b"cICP": bytes([12, 8, 0, 1]),
        b"gAMA": struct.pack(">I", 100_000),
        b"cHRM": struct.pack(
            ">8I", *(31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
        ),
    }
    added = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    )
    return plain[:33] + added + plain[33:]


def _masks() -> bytes:
    """A bitmap with four bits a colour and four of transparency."""
    pixels = np.random.default_rng(0).integers(0, 2**16, (48, 64), np.uint16).tobytes()
    header = struct.pack("<IiiHHIIiiII", 56, 64, 48, 1, 16, 3, len(pixels), 0, 0, 0, 0)
    header += struct.pack("<4I", 0xF00, 0xF0, 0xF, 0xF000)
    return b"BM" + struct.pack("<IHHI", 70 + len(pixels), 0, 0, 70) + header + pixels


def _icon(kind: int, bits: int) -> bytes:
    mode = {32: "RGBA", 24: "RGB", 8: "P", 1: "1"}[bits]
    data = bytearray(_saved("ICO", mode, bitmap_format="bmp", sizes=[(64, 48)]))
    data[2] = kind
    return bytes(data)


def _outside() -> bytes:
    data = bytearray(_saved("GIF", "P"))
    data[6:10] = struct.pack("<HH", 1, 1)
    return bytes(data)


def _preview() -> bytes:
    """A TIFF file whose picture is in a directory below a preview, as in a camera's file."""
    file = bytearray(_saved("TIFF", frames=2, tiffinfo={254: 1, 330: 0}))
    (first,) = struct.unpack_from("<I", file, 4)
    below = file.index(struct.pack("<HHI", 330, 4, 1), first) + 8
    end = first + 2 + 12 * file[first]
    file[below : below + 4], file[end : end + 4] = file[end : end + 4], bytes(4)
    (second,) = struct.unpack_from("<I", file, below)
    kind = file.index(struct.pack("<HHI", 254, 4, 1), second) + 8
    file[kind] = 0
    return bytes(file)


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    return exif.tobytes()


def seeds() -> dict[str, bytes]:
    """Give the files by name."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    makers: dict[str, Maker] = {
        "jpeg": partial(_saved, "JPEG"),
        "jpeg grey": partial(_saved, "JPEG", "L"),
        "jpeg progressive": partial(_saved, "JPEG", progressive=True, subsampling=0),
        "jpeg cmyk": partial(_saved, "JPEG", "CMYK"),
        "jpeg exif icc": partial(_saved, "JPEG", exif=_exif(), icc_profile=profile),
        "mpo": partial(_saved, "MPO", frames=2),
        "png": partial(_saved, "PNG"),
        "png grey alpha": partial(_saved, "PNG", "LA"),
        "png alpha": partial(_saved, "PNG", "RGBA"),
        "png palette": partial(_saved, "PNG", "P", transparency=3),
        "png 16 bit": _deep,
        "png 1 bit": partial(_saved, "PNG", "1"),
        "png exif icc": partial(_saved, "PNG", exif=_exif(), icc_profile=profile),
        "apng": partial(_saved, "PNG", "RGBA", frames=4),
        "gif": partial(_saved, "GIF", "P"),
        "gif animated": partial(_saved, "GIF", frames=5, disposal=2),
        "webp": partial(_saved, "WEBP"),
        "webp lossless alpha": partial(_saved, "WEBP", "RGBA", lossless=True),
        "webp animated": partial(_saved, "WEBP", "RGBA", frames=4),
        "webp turned": partial(_saved, "WEBP", exif=_exif()),
        "png numbers": _numbers,
        "gif outside": _outside,
        "bmp masks": _masks,
        "ico bitmap": partial(_icon, 1, 32),
        "ico palette": partial(_icon, 1, 8),
        "cur": partial(_icon, 2, 24),
        "jpeg without end": lambda: _saved("JPEG")[:-2],
        "avif": partial(_saved, "AVIF", speed=10),
        "avif animated": partial(_saved, "AVIF", frames=3, speed=10),
        "heif": _heif,
        "bmp": partial(_saved, "BMP"),
        "bmp palette": partial(_saved, "BMP", "P"),
        "dib": partial(_saved, "DIB"),
        "tiff": partial(_saved, "TIFF", frames=2),
        "tiff preview": _preview,
        "tiff lzw": partial(_saved, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": partial(_saved, "TIFF", compression="jpeg"),
        "tiff deflate cmyk": partial(_saved, "TIFF", "CMYK", compression="tiff_adobe_deflate"),
        "tiff group 4": partial(_saved, "TIFF", "1", compression="group4"),
        "tiff float": partial(_saved, "TIFF", "F"),
        "jpeg 2000": partial(_saved, "JPEG2000"),
        "jpeg 2000 alpha": partial(_saved, "JPEG2000", "RGBA"),
        "ico": partial(_saved, "ICO"),
        "icns": partial(_saved, "ICNS", "RGBA"),
        "ppm": partial(_saved, "PPM"),
        "pgm": partial(_saved, "PPM", "L"),
        "tga": partial(_saved, "TGA", compression="tga_rle"),
        "pcx": partial(_saved, "PCX"),
        "sgi": partial(_saved, "SGI"),
        "dds": partial(_saved, "DDS"),
        "qoi": partial(_saved, "QOI"),
        "im": partial(_saved, "IM"),
        "msp": partial(_saved, "MSP", "1"),
        "xbm": partial(_saved, "XBM", "1"),
        "blp": partial(_saved, "BLP", "P"),
        "spider": partial(_saved, "SPIDER", "F"),
    }
    if find_spec("pillow_jxl") is not None:  # the extra "jxl"
        makers["jxl"] = partial(_saved, "JXL")
        makers["jxl boxed"] = partial(_saved, "JXL", "RGBA", use_container=True, lossless=True)
    return {name: maker() for name, maker in makers.items()}
