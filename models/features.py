"""Blobs from the middle of a net as features of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from saferank.models.description import ModelDescription, load_description, locate
from saferank.models.model import open_net
from saferank.models.preprocess import PREPROCESSING
from saferank.models.runtime import Runtime

if TYPE_CHECKING:
    from PIL import Image


class FeatureNet:
    """A net that gives some of its blobs; see ``open_features``."""

    def __init__(self, description: ModelDescription, runtime: Runtime) -> None:
        self._input = description.input
        self._runtime = runtime

    def of(self, image: Image.Image) -> dict[str, NDArray[np.float32]]:
        """The blobs of one image, by Caffe's names, without the axis of images."""
        blob = PREPROCESSING[self._input.preprocessing](image, self._input)
        return {
            name: out[0] for name, out in self._runtime.run({self._input.blob: blob[None]}).items()
        }


def open_features(
    name_or_path: str | Path, blobs: Sequence[str], *, threads: int = 1
) -> FeatureNet:
    """Open a classifier for some of its blobs.

    Args:
        name_or_path: a built-in name, or the path of a description.
        blobs: their names; each has its value at the end of the pass, after all layers that work
            in place.
        threads: of one forward pass; 0 is one a core.

    Raises:
        ModelError: the files are wrong or missing, or there is no such blob.
        ConfigurationError: the description is wrong, or the model is an ONNX file.
    """
    description, folder = load_description(name_or_path)
    files = locate(description, folder)
    given = description.input
    net = open_net(
        *files.caffe,
        shapes={given.blob: (1, 3, *given.size)},
        blobs=blobs,
        threads=threads,
    )
    return FeatureNet(description, net)
