"""A small model, and pictures of stripes that lie or stand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_model import write_small_model


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("small"), ("lying", "standing"))


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of 48 pictures."""
    folder = tmp_path_factory.mktemp("stripes")
    random = np.random.default_rng(0)
    lines = ["image,label"]
    for number in range(48):
        period = random.uniform(5, 12)
        wave = np.sin(np.arange(48) / period * 2 * np.pi + random.uniform(0, 6))
        pixels = np.tile(wave, (48, 1)) * random.uniform(40, 100) + random.uniform(90, 160)
        pixels = pixels + random.normal(0, 15, (48, 48))
        standing = number % 2 == 1
        image = Image.fromarray((pixels if standing else pixels.T).clip(0, 255).astype(np.uint8))
        image.save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'standing' if standing else 'lying'}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"
