"""Formats with risky decoders are read in a child, which may hang, crash or swell."""

import io
import os
import signal
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from saferank.errors import ImageError
from saferank.indexer.decode import decode, decode_reference
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()


def encoded(image, name):
    file = io.BytesIO()
    image.save(file, name)
    return file.getvalue()


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 20, 3), np.uint8))


def slow_texture():
    """A DDS texture with odd colour masks: decoded in Python, a microsecond or two a pixel."""
    side = 3000
    header = struct.pack("<7I44x", 124, 0x1007, side, side, 0, 0, 0)
    header += struct.pack("<8I20x", 32, 0x41, 0, 32, 0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    return b"DDS " + header + bytes(side * side * 4)


def children():
    ours = "saferank.indexer.decode.child"
    return [child for child in psutil.Process().children() if ours in child.cmdline()]


def test_a_decoder_that_does_not_come_to_an_end_is_killed():
    decode(encoded(noise(0), "TIFF"), SETTINGS)
    (before,) = children()
    with pytest.raises(ImageError) as caught:
        decode(slow_texture(), DecodeSettings(timeout=0.1))
    assert caught.value.code == "decode_timeout"
    assert not before.is_running()
    picture = noise(1)
    assert decode(encoded(picture, "TIFF"), SETTINGS).frames[0].tobytes() == picture.tobytes()


def test_a_child_that_died_is_replaced():
    decode(encoded(noise(0), "TIFF"), SETTINGS)
    (child,) = children()
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    assert decode(encoded(noise(0), "TIFF"), SETTINGS).format == "TIFF"


def test_a_decoder_that_asks_for_too_much_memory_is_refused_it():
    """What the child does to itself, in a process of its own."""
    program = """
from saferank.errors import ImageError
from saferank.indexer.decode.child import limit_memory
from saferank.indexer.decode.failures import coded
from saferank.settings import DecodeSettings

limit_memory(DecodeSettings(max_pixels=1_000_000))
half = bytearray(100_000_000)
try:
    with coded(b"image"):
        bytearray(300_000_000)
except ImageError as error:
    print(error.code)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert ran.stdout == "too_large\n"


def test_threads_share_the_child():
    files = {seed: encoded(noise(seed), "TIFF") for seed in range(40)}
    with ThreadPoolExecutor(8) as pool:
        decoded = pool.map(lambda data: decode(data, SETTINGS).frames[0].tobytes(), files.values())
        assert list(decoded) == [noise(seed).tobytes() for seed in files]
    assert len(children()) == 1


def test_the_reference_takes_the_same_way():
    picture = noise(3)
    assert decode_reference(encoded(picture, "TIFF"), SETTINGS).tobytes() == picture.tobytes()
