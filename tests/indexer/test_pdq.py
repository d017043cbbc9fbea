from __future__ import annotations

import io

import numpy as np
import pdqhash
import pytest
from PIL import Image
from skimage import data

from saferank.indexer.pdq import pdq_of, pdqs_of_known, windows
from saferank.mappings.known import FARTHEST, as_bits, distances, mirrored_of, turned

PICTURE = Image.fromarray(data.astronaut())
OTHER = Image.fromarray(data.coffee())


def published(image: Image.Image) -> str:
    bits, _ = pdqhash.compute(np.asarray(image))
    return np.packbits(bits.astype(np.uint8)).tobytes().hex()


def apart(one: str, other: str) -> int:
    return int(distances(one, as_bits([other]))[0])


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_the_hash_is_that_of_the_library_that_others_use(name: str) -> None:
    whole = Image.fromarray(getattr(data, name)())
    assert apart(pdq_of(whole), published(whole)) <= 20
    small = whole.resize((64, 64))
    assert pdq_of(small) == published(small)


def test_any_small_picture_has_the_quality_and_hash_of_that_library() -> None:
    random = np.random.default_rng(0)
    found = {True: 0, False: 0}
    for contrast in np.linspace(0.01, 1, 300):
        coarse = random.integers(0, 256, (*random.integers(3, 40, 2), 3)) * contrast
        image = Image.fromarray(coarse.astype(np.uint8)).resize((64, 64))
        _, quality = pdqhash.compute(np.asarray(image))
        assert pdq_of(image) == (published(image) if quality >= 30 else "")
        found[quality >= 30] += 1
    assert min(found.values()) > 20


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_copies_of_other_sizes_have_nearly_the_same_hash(name: str) -> None:
    whole = Image.fromarray(getattr(data, name)())
    hash = pdq_of(whole)
    for share in (0.125, 0.25, 0.4, 0.8, 2, 4):
        size = (round(whole.width * share), round(whole.height * share))
        copy = jpeg(whole.resize(size, Image.Resampling.BILINEAR), 85)
        assert apart(hash, pdq_of(copy)) <= 20, share


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK"])
def test_any_mode_has_a_hash(mode: str) -> None:
    assert len(pdq_of(PICTURE.convert(mode))) == 64


def test_a_flat_picture_has_none() -> None:
    for image in (
        Image.new("RGB", (300, 200), "red"),
        Image.new("L", (1, 1)),
        PICTURE.resize((1, 9)),
    ):
        assert pdq_of(image) == ""
    assert pdqs_of_known(Image.new("RGB", (300, 200))) == ()


def test_copies_are_near_and_others_are_not() -> None:
    known = as_bits(pdqs_of_known(PICTURE))
    width, height = PICTURE.size
    copies = {
        "jpeg": jpeg(PICTURE, 30),
        "small": PICTURE.resize((130, 130)),
        "grey": PICTURE.convert("L"),
        "mirrored": PICTURE.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "upside down": PICTURE.transpose(Image.Transpose.ROTATE_180),
        "cropped": PICTURE.crop((0, 0, round(width * 0.95), round(height * 0.95))),
    }
    for name, copy in copies.items():
        assert distances(pdq_of(copy), known).min() <= FARTHEST, name
    assert distances(pdq_of(OTHER), known).min() > 2 * FARTHEST


def test_a_hash_alone_tells_about_those_of_the_picture_turned() -> None:
    ways = as_bits(turned(pdq_of(PICTURE)))
    flip = PICTURE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert apart(mirrored_of(pdq_of(PICTURE)), pdq_of(flip)) <= 20
    for turn in Image.Transpose:
        assert distances(pdq_of(PICTURE.transpose(turn)), ways).min() <= FARTHEST


@pytest.mark.parametrize("cut", [0.0, 0.015, 0.03, 0.05])
def test_windows_reach_all_edges(cut: float) -> None:
    boxes = windows((400, 300), cut)
    assert {box[2] - box[0] for box in boxes} == {400 - round(400 * cut)}
    assert min(box[0] for box in boxes) == min(box[1] for box in boxes) == 0
    assert (max(box[2] for box in boxes), max(box[3] for box in boxes)) == (400, 300)
