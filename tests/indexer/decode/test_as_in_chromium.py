"""Files that decoders differ over look as they do in Chromium; see data/README.md."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saferank.indexer.decode import decode
from saferank.settings import DecodeSettings

DATA = Path(__file__).with_name("data")
FILES = sorted(path.name for path in DATA.glob("img_*") if not path.match("*.chromium.png"))


@pytest.mark.parametrize("name", FILES)
def test_within_two_levels(name):
    if name.endswith(".jxl"):
        pytest.importorskip("pillow_jxl")
    frames = decode((DATA / name).read_bytes(), DecodeSettings()).frames
    here = np.concatenate([np.asarray(frame) for frame in frames])
    with Image.open(DATA / f"{name}.chromium.png") as recorded:
        there = np.asarray(recorded.convert("RGB"))
    assert here.shape == there.shape
    assert np.abs(here.astype(int) - there).max() <= 2
