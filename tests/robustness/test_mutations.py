"""Damaged files of every format: a picture or a coded error, and nothing else."""

import importlib.util
import random
from pathlib import Path

import psutil
import pytest

from saferank.errors import ImageError
from saferank.indexer.decode import decode
from saferank.settings import DecodeSettings


def module(name):
    """Load a module that lies beside this file; the scripts use the same ones."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


SEEDS = module("seeds").seeds()
mutated = module("mutation").mutated


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_decode(name):
    decoded = decode(SEEDS[name], DecodeSettings())
    size = {"ico": (48, 36), "icns": (1024, 1024)}.get(name, (64, 48))
    assert (decoded.width, decoded.height) == (size[::-1] if "exif" in name else size)


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_a_picture_or_a_code():
    dice = random.Random(20240101)
    files = list(SEEDS.values())
    codes = set()
    for _ in range(2500):
        data = mutated(files, dice)
        try:
            frames = decode(data, DecodeSettings()).frames
        except ImageError as error:
            codes.add(str(error.code))
        else:
            assert all(frame.mode == "RGB" for frame in frames)
    codes.discard("kind_not_read")  # as the dice fall: a picture that begins as a film does
    assert codes == {"not_an_image", "truncated", "unreadable", "too_large"}
    for child in psutil.Process().children():
        assert child.memory_info().rss < 600 * 1024 * 1024
