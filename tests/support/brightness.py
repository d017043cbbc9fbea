"""A classifier whose answers a test can know: the probability is an image's mean brightness."""

import base64
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saferank.indexer.decode import Decoded, decode
from saferank.indexer.fetch import Fetcher
from saferank.indexer.score.pipeline import Pipeline
from saferank.settings import DecodeSettings, FetchSettings


class Brightness:
    """Counts what it is asked, so that a test can see what was not asked again."""

    margin: float | None = None
    scaled_to: int | None = None
    frame_rule = "highest"

    def __init__(self, identity: str = "brightness-1") -> None:
        self.identity = identity
        self.batches: list[int] = []

    @property
    def frames(self) -> int:
        return sum(self.batches)

    @property
    def net(self) -> object:
        return self

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        assert image.mode == "RGB"
        return np.asarray(image.resize((4, 4)), np.float32).transpose(2, 0, 1) / 255

    def probabilities(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(len(blobs))
        return blobs.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)

    def classes(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.probabilities(blobs)[:, None]

    def combined(self, classes: NDArray[np.float32]) -> NDArray[np.float32]:
        return classes[:, 0]


def png(level: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A grey picture; its probability is ``level / 255``."""
    buffer = io.BytesIO()
    Image.new("L", size, level).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def brightness_pipeline(
    model: Brightness | None = None,
    *,
    decoder: Callable[[bytes], Decoded] | None = None,
    batch_size: int = 16,
    max_images: int = 256,
    threads: int = 1,
) -> Pipeline:
    return Pipeline(
        model or Brightness(),
        Fetcher(FetchSettings()).fetch,
        decoder or (lambda data: decode(data, DecodeSettings())),
        batch_size=batch_size,
        max_images=max_images,
        threads=threads,
    )
