"""Every test image of Pillow itself: no crash, and whatever Pillow shows is shown here too.

The images come with Pillow's source distribution, which the package client fetches; set
SAFERANK_TEST_PILLOW_IMAGES to a folder that has them to use that instead. It takes a minute and
fifty megabytes, so it has a target of its own: ``make test-robustness``.
"""

import io
import os
import subprocess
import sys
import tarfile
import warnings
from collections import defaultdict
from pathlib import Path

import PIL
import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table

from saferank.errors import ImageError
from saferank.indexer.decode import decode
from saferank.settings import DecodeSettings

# What Pillow shows and we do not, each for the reason its code and message give.
REFUSED = {
    # An animation whose frames are out of order or missing: viewers disagree about what it
    # shows, and Pillow shows the first frame only.
    "apng/chunk_no_fdat.png": "unreadable",
    "apng/chunk_repeat_fctl.png": "unreadable",
    "apng/sequence_fdat_fctl.png": "unreadable",
    "apng/sequence_gap.png": "unreadable",
    "apng/sequence_reorder.png": "unreadable",
    "apng/sequence_reorder_chunk.png": "unreadable",
    "apng/sequence_repeat.png": "unreadable",
    "apng/sequence_repeat_chunk.png": "unreadable",
    "apng/sequence_start.png": "unreadable",
}


@pytest.fixture(scope="session")
def pillow_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("SAFERANK_TEST_PILLOW_IMAGES"):
        return Path(given)
    folder = tmp_path_factory.mktemp("pillow")
    download = ["pip", "download", "--quiet", "--no-deps", "--no-binary", "pillow", "--dest"]
    subprocess.run(
        [sys.executable, "-m", *download, folder, f"pillow=={PIL.__version__}"], check=True
    )
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / f"pillow-{PIL.__version__}" / "Tests" / "images"


def shown_by_pillow(data: bytes) -> bool:
    """Leaving EPS aside: it is a program, which Pillow has Ghostscript run where there is one."""
    Image.init()
    try:
        Image.open(io.BytesIO(data), formats=[name for name in Image.OPEN if name != "EPS"]).load()
    except Exception:
        return False
    return True


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(900)
def test_all_of_them(pillow_images: Path) -> None:
    warnings.simplefilter("ignore")
    decoded, refused, failed = 0, {}, defaultdict(list)
    for path in sorted(pillow_images.rglob("*")):
        if not path.is_file():
            continue
        data, name = path.read_bytes(), str(path.relative_to(pillow_images))
        try:
            decode(data, DecodeSettings())
            decoded += 1
        except ImageError as error:
            failed[str(error.code)].append((name, str(error)))
            if shown_by_pillow(data):
                refused[name] = str(error.code)
    report(decoded, failed)
    assert refused == REFUSED
    assert decoded > 800


def report(decoded: int, failed: dict[str, list[tuple[str, str]]]) -> None:
    table = Table("code", "file", "why", title=f"{decoded} decoded; the others:", box=None)
    for code, files in sorted(failed.items()):
        for name, why in files:
            table.add_row(code, name, why)
    Console(width=180).print(table)
