"""What the pipeline is handed: models, fetching, decoding, and what is known of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saferank.mappings.record import ImageRecord
from saferank.models.frames import HIGHEST

Array = NDArray[np.float32]


class Classifier(Protocol):
    """The part of a model that scoring needs; ``saferank.models.Model`` has it.

    All of it may be called by several threads at once.
    """

    @property
    def identity(self) -> str:
        """Name, weights and preprocessing."""

    @property
    def net(self) -> object:
        """What runs: models with the same one take the same blobs and share forward passes."""

    def preprocess(self, image: Image.Image, /) -> Array:
        """Make a blob of shape (3, H, W) from an upright RGB image."""

    def classes(self, blobs: Array, /) -> Array:
        """What the net says of each of the blobs, shape (N, 3, H, W): (N, classes) in 0..1."""

    def combined(self, classes: Array, /) -> Array:
        """The probability in 0..1 of each row of what the net says."""


class DecodedImage(Protocol):
    """An image as a viewer would see it."""

    @property
    def frames(self) -> Sequence[Image.Image]:
        """The frames that browsers show, RGB."""

    @property
    def pictures(self) -> Sequence[Image.Image]:
        """The frames, what other viewers show in their place, and parts: all is looked at."""

    @property
    def places(self) -> Sequence[int]:
        """For each of the pictures, which frame it is or is a part of; further ones elsewhere."""

    @property
    def frame_count(self) -> int:
        """How many frames the file has."""

    @property
    def partial(self) -> bool:
        """Whether the file ends early and only a part of it could be decoded."""

    @property
    def width(self) -> int:
        """In pixels, upright."""

    @property
    def height(self) -> int:
        """In pixels, upright."""


@dataclass(frozen=True, slots=True)
class FirstPass:
    """A cheap look at every image, after which only some are looked at exactly.

    Attributes:
        margin: the lowest estimate after which the exact probability is wanted.
        estimate: as ``Classifier.classes``, not exact.
        decode: bytes → frames of a smaller picture, or None when they are to be decoded whole.
    """

    margin: float
    estimate: Callable[[Array], Array]
    decode: Callable[[bytes], DecodedImage | None]


@dataclass(frozen=True, slots=True)
class CategoryModel:
    """The model of one category, and how it is used.

    Attributes:
        model: gives the probabilities.
        first: a cheap look before it, the same for all models of one net; None to look at all
            images exactly.
        frames: how the frames of an image make one probability, see ``models.frames``.
    """

    model: Classifier
    first: FirstPass | None = None
    frames: str = HIGHEST


class KnownImages(Protocol):
    """What is known of images by their bytes, beyond the documents at hand."""

    def recall(self, model: str, sha256: str, /) -> ImageRecord | None:
        """What is known of an image under a model."""

    def keep(self, model: str, images: Iterable[ImageRecord], /) -> None:
        """Keep what is known of images."""


class FetchedImage(Protocol):
    """The bytes of an image."""

    @property
    def data(self) -> bytes:
        """The whole file."""

    @property
    def etag(self) -> str | None:
        """What the server calls this version, if it said."""

    @property
    def last_modified(self) -> str | None:
        """The server's date of this version, as sent."""


FetchedOrError = FetchedImage | ImageRecord | Exception
"""What fetching gave: an image, the record of one that has not changed since, or an error."""

Known = Mapping[str, Iterable[ImageRecord]]
"""Records of images, by the identity of the model that scored them."""

Guard = Callable[[str], AbstractContextManager[None]]
"""Entered with a digest, of a reference or of its bytes, around what may end the process.

May raise ImageError, for that image, and ServiceUnavailable.
"""
