"""Whether a description fits its net: what loading alone does not show, seen on pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    from PIL import Image

    from saferank.models.model import Model

# Two passes over the same blob may differ by this much, for sums in another order.
_SAME = 1e-3


def check(model: Model, picture: Image.Image) -> NDArray[np.float32]:
    """Run a model on a picture, and on others that are black, white and noise.

    Returns:
        Probabilities of the picture's classes: (classes,) float32.

    Raises:
        ConfigurationError: the description does not fit the net.
        ModelError: what the net gives is no probability, or depends on other images.
    """
    blobs = np.stack([model.preprocess(each) for each in (picture, *_made(picture.size))])
    _check_kind(model, blobs)
    together = model.classes(blobs)
    model.by_category(blobs)
    alone = np.concatenate([model.classes(blob[None]) for blob in blobs])
    name, output = model.description.name, model.description.output
    if np.abs(together - alone).max() > _SAME:
        raise ModelError(
            f"model {name}: images of one batch change each other's probabilities; export the net "
            "for inference, or for one image at a time"
        )
    if (alone == alone[0]).all():
        raise ModelError(
            f'model {name}: output "{output.blob}" is the same for every picture; mean and scale '
            "may not be those of the net"
        )
    return np.asarray(alone[0], np.float32)


def _made(size: tuple[int, int]) -> list[Image.Image]:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return [Image.new("RGB", size), Image.new("RGB", size, "white"), Image.fromarray(noise)]


def _check_kind(model: Model, blobs: NDArray[np.float32]) -> None:
    """A softmax of probabilities would be none the wiser: all classes about equally likely."""
    output = model.description.output
    if output.kind not in ("softmax", "sigmoid"):
        return
    values = model.forward(blobs).get(output.blob)
    if values is None:
        return  # said by the pass over the classes
    if (values >= 0).all() and (values <= 1).all():
        raise ConfigurationError(
            f'model {model.description.name}: all values of the output "{output.blob}" lie in '
            f'0..1, so they are probabilities already; say kind = "probabilities" instead of '
            f'"{output.kind}"'
        )
