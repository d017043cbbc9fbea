"""Score a folder of images both ways: as Yahoo's code reads them, and as a viewer sees them.

    python tests/robustness/as_viewed.py FOLDER

Prints both probabilities for each file and what makes them differ, or the error code.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from saferank.errors import ImageError
from saferank.indexer.decode import Decoded, decode, decode_reference
from saferank.indexer.decode.colour import over_white, to_srgb
from saferank.indexer.decode.exif import orientation
from saferank.models import Model, load_model
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()


def score(model: Model, frames: list[Image.Image]) -> float:
    """Give the highest probability over the frames."""
    return float(model.probabilities(np.stack([model.preprocess(f) for f in frames])).max())


def reasons(data: bytes, decoded: Decoded) -> list[str]:
    """Say what sets the picture that is seen apart from the one that Yahoo's code reads."""
    image = Image.open(io.BytesIO(data))
    image.load()
    found = []
    if decoded.frame_count > 1:
        found.append(f"{len(decoded.frames)} of {decoded.frame_count} frames, the highest counts")
    if orientation(image).seen != 1:
        found.append(f"turned upright (EXIF {orientation(image).seen})")
    if decoded.alternatives:
        found.append("as other viewers show it")
    if image.mode.startswith("I") or image.mode == "F":
        found.append(f"deep grey scaled, not clipped ({image.mode})")
    elif image.mode in ("CMYK", "LAB"):
        found.append(f"{image.mode} converted by its profile")
    seen = to_srgb(image)
    if seen.mode == "RGBA" and seen.getchannel("A").getextrema() != (255, 255):
        found.append("transparency over white")
    elif image.mode in ("RGB", "L", "P") and over_white(seen).tobytes() != (
        image.convert("RGB").tobytes()
    ):
        found.append("colour profile or gamma")
    return found


def probability(model: Model, read: Callable[[], list[Image.Image]]) -> tuple[str, str]:
    """Give the score, or the error code and its message."""
    try:
        return f"{score(model, read()):.4f}", ""
    except ImageError as error:
        return str(error.code), str(error)


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    model = load_model()
    table = Table("file", "reference", "as viewed", "why", box=None)
    for path in sorted(Path(sys.argv[1]).iterdir()):
        data = path.read_bytes()
        reference, _ = probability(model, partial(_reference_frames, data))
        viewed, why = probability(model, partial(_viewed_frames, data))
        if not why and reference != viewed:
            why = ", ".join(reasons(data, decode(data, SETTINGS)))
        table.add_row(path.name, reference, viewed, why)
    Console(width=150).print(table)


def _reference_frames(data: bytes) -> list[Image.Image]:
    return [decode_reference(data, SETTINGS)]


def _viewed_frames(data: bytes) -> list[Image.Image]:
    return decode(data, SETTINGS).pictures


if __name__ == "__main__":
    main()
