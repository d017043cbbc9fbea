"""Loading and running the built-in classifier.

    python benchmarks/bench_models.py

Loading is timed in fresh processes, with an empty cache (cold) and with the converted net in it
(warm). Batches are interleaved in one run. Times are medians.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import platformdirs
from PIL import Image
from rich.console import Console
from rich.table import Table

from saferank.models import Model, load_model

LOAD = """
import time
from saferank.models import load_model
start = time.perf_counter()
load_model("open_nsfw")
print(time.perf_counter() - start)
"""


def load_seconds(cache: Path) -> float:
    """Seconds of ``load_model`` in a fresh process."""
    (cache / "saferank").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (cache / "saferank" / "weights").symlink_to(
            platformdirs.user_cache_path("saferank") / "weights"
        )
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(done.stdout)


def loading(runs: int = 5) -> tuple[float, float]:
    """Median seconds of a cold and of a warm load."""
    cold, warm = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(load_seconds(Path(folder)))
            warm.append(load_seconds(Path(folder)))
    return statistics.median(cold), statistics.median(warm)


def batches(model: Model, sizes: tuple[int, ...], runs: int = 7) -> dict[int, float]:
    """Median milliseconds an image, by batch size."""
    blobs = np.random.default_rng(1).normal(0, 60, (max(sizes), 3, 224, 224)).astype(np.float32)
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(runs):
        for size in sizes:
            start = time.perf_counter()
            model.probabilities(blobs[:size])
            times[size].append((time.perf_counter() - start) / size * 1000)
    return {size: statistics.median(each) for size, each in times.items()}


def preprocessing(model: Model, runs: int = 30) -> float:
    """Median milliseconds from a decoded picture of 1024 x 768 to a blob."""
    noise = np.random.default_rng(2).integers(0, 256, (768, 1024, 3), dtype=np.uint8)
    image, times = Image.fromarray(noise), []
    for _ in range(runs):
        start = time.perf_counter()
        model.preprocess(image)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    table = Table("what", "median", title="open_nsfw, one thread")
    cold, warm = loading()
    table.add_row("load, nothing in the cache", f"{cold:.2f} s")
    table.add_row("load, converted net in the cache", f"{warm:.2f} s")
    model = load_model("open_nsfw")
    table.add_row("preprocessing, 1024x768", f"{preprocessing(model):.1f} ms")
    for size, each in batches(model, (1, 4, 16)).items():
        table.add_row(f"network, batch of {size}", f"{each:.1f} ms an image")
    Console().print(table)


if __name__ == "__main__":
    main()
