"""Of a strip of panels, parts are looked at too: a net sees it squeezed into a square."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from saferank.indexer.decode import decode
from saferank.indexer.decode.tiles import boxes
from saferank.models import load_model
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()
PANEL = Path(__file__).with_name("data") / "panel.webp"


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


@given(st.integers(64, 2000), st.integers(3, 400), st.integers(2, 32))
def test_parts_cover_a_strip_and_lie_half_over_each_other(short, ratio, limit):
    size = (short, short * ratio)
    parts = boxes(size, limit)
    assert 2 <= len(parts) <= limit
    starts, ends = [top for _, top, _, _ in parts], [bottom for _, _, _, bottom in parts]
    assert (starts[0], ends[-1]) == (0, short * ratio)
    lengths = {end - start for start, end in zip(starts, ends, strict=True)}
    assert len(lengths) == 1
    length = lengths.pop()
    assert length >= short
    assert all(after - before <= length / 2 + 1 for before, after in pairwise(starts))
    lying = boxes(size[::-1], limit)
    assert [(top, left, bottom, right) for left, top, right, bottom in lying] == parts


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        ((100, 299), 0),
        ((100, 300), 5),
        ((300, 100), 5),
        ((63, 6300), 0),
        ((64, 6400), 32),
        ((400, 300), 0),
    ],
)
def test_which_pictures_are_cut(size, parts):
    decoded = decode(png(Image.new("RGB", size)), SETTINGS)
    assert (len(decoded.frames), len(decoded.pictures)) == (1, 1 + parts)


def test_the_parts_of_an_animation_are_bounded():
    frames = [Image.new("RGB", (64, 640), (n, n, n)) for n in range(16)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    decoded = decode(file.getvalue(), SETTINGS)
    assert (len(decoded.frames), len(decoded.pictures)) == (16, 16 + 32)


def test_a_panel_of_a_strip_counts():
    """Twenty painted panels: nineteen dull ones and one that has 0.4 alone."""
    panel = decode(PANEL.read_bytes(), SETTINGS).frames[0]
    strip = Image.new("RGB", (240, 180 * 20), (90, 140, 90))
    strip.paste(panel, (0, 180 * 7))
    model = load_model(threads=1)

    def highest(pictures):
        blobs = np.stack([model.preprocess(picture) for picture in pictures])
        return model.probabilities(blobs).max()

    decoded = decode(png(strip), SETTINGS)
    assert highest([panel]) > 0.4
    assert highest(decoded.frames) < 0.05
    assert highest(decoded.pictures) > 0.2
