"""A worker for tests of what surrounds the model: ``celery -A testworker worker``.

Everything is real but the model, which is fast and gives an image's brightness under the real
model's identity. Each image that goes through it is noted in the file ``TEST_INFERENCES``.
``TEST_POISON`` names an image, by the digest of its bytes, that ends the process.
"""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
from brightness import Brightness
from numpy.typing import NDArray

from saferank.indexer.decode import Decoded
from saferank.indexer.worker import resources
from saferank.settings import DecodeSettings, get_settings

_INFERENCES = os.environ.get("TEST_INFERENCES")
_POISON = os.environ.get("TEST_POISON")
_SECONDS = float(os.environ.get("TEST_SECONDS", "0"))
_decode = resources.decode


class SlowBrightness(Brightness):
    def probabilities(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(_SECONDS * len(blobs))
        return super().probabilities(blobs)


def noted_decode(data: bytes, settings: DecodeSettings) -> Decoded:
    """Every image that is decoded goes through the model; the note says which."""
    digest = hashlib.sha256(data).hexdigest()
    if _INFERENCES and _POISON and digest == _POISON:
        _note(f"{_INFERENCES}.kills", str(os.getpid()))
        os.abort()
    decoded = _decode(data, settings)
    if _INFERENCES:
        _note(_INFERENCES, digest)
    return decoded


def _note(path: str, line: str) -> None:
    with Path(path).open("a") as file:  # short appends are atomic
        file.write(f"{line}\n")


def load_brightness(name: str, *, passes: int) -> SlowBrightness:
    return SlowBrightness(resources.model_identity(name))


resources.load_model = load_brightness
resources.decode = noted_decode

from saferank.indexer.worker.celery import app  # noqa: E402, F401

get_settings()
