"""How long an image takes until it can be classified, next to Pillow alone and to inference.

The calls are interleaved; medians and ratios of one run.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from saferank.indexer.decode import decode
from saferank.models import load_model
from saferank.settings import DecodeSettings

SIZES = {"400 x 300": (400, 300), "1600 x 1200": (1600, 1200), "12 megapixels": (4000, 3000)}
FORMATS = {"JPEG": {}, "PNG": {}, "WEBP": {"method": 0}, "GIF": {}, "AVIF": {"speed": 10}}
ROUNDS = 9


def photograph(size: tuple[int, int]) -> Image.Image:
    """A smooth picture with some noise, which compresses as photographs do."""
    dice = np.random.default_rng(0)
    coarse = Image.fromarray(dice.integers(0, 256, (24, 32, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
    noise = dice.integers(-6, 7, smooth.shape, np.int16)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def medians(*calls: Callable[[], object]) -> list[float]:
    """Milliseconds of each call, taken in turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append((time.perf_counter() - start) * 1000)
    return [statistics.median(taken) for taken in times]


def main() -> None:
    settings, model = DecodeSettings(), load_model()
    table = Table(
        "image", "Pillow ms", "decode ms", "ratio", "preprocess ms", "inference ms", box=None
    )
    for label, size in SIZES.items():
        for name, options in FORMATS.items():
            file = io.BytesIO()
            photograph(size).save(file, name, **options)
            data = file.getvalue()
            frame = decode(data, settings).frames[0]
            blob = model.preprocess(frame)[None]
            alone, ours, preprocess, inference = medians(
                lambda data=data: Image.open(io.BytesIO(data)).convert("RGB"),
                lambda data=data: decode(data, settings),
                lambda frame=frame: model.preprocess(frame),
                lambda blob=blob: model.probabilities(blob),
            )
            cells = (alone, ours, ours / alone, preprocess, inference)
            forms = ("{:.1f}", "{:.1f}", "{:.2f}", "{:.1f}", "{:.1f}")
            row = [form.format(cell) for form, cell in zip(forms, cells, strict=True)]
            table.add_row(f"{name}, {label}", *row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
