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

from saferank.indexer import resources
from saferank.indexer.decode import Decoded
from saferank.settings import DecodeSettings, get_settings

_INFERENCES = os.environ.get("TEST_INFERENCES")
_POISON = os.environ.get("TEST_POISON")
_SECONDS = float(os.environ.get("TEST_SECONDS", "0"))
_decode = resources.decode


class NotedBrightness(Brightness):
    def probabilities(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(_SECONDS * len(blobs))
        values = super().probabilities(blobs)
        if _INFERENCES:
            lines = "".join(f"{hashlib.sha256(blob.tobytes()).hexdigest()}\n" for blob in blobs)
            with Path(_INFERENCES).open("a") as file:  # short appends are atomic
                file.write(lines)
        return values


def decode_unless_poison(data: bytes, settings: DecodeSettings) -> Decoded:
    if _POISON and hashlib.sha256(data).hexdigest() == _POISON:
        if _INFERENCES:
            with Path(f"{_INFERENCES}.kills").open("a") as file:
                file.write(f"{os.getpid()}\n")
        os.abort()
    return _decode(data, settings)


def load_brightness(name: str) -> NotedBrightness:
    return NotedBrightness(resources.model_identity(name))


resources.load_model = load_brightness
resources.decode = decode_unless_poison

from saferank.indexer.worker import app  # noqa: E402, F401

get_settings()
