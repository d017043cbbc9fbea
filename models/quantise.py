"""Making the eight-bit net of a cheap first pass, from pictures of one's own.

What the layers' values range over is measured on those pictures; nothing is trained. The result is
a net for estimates only: it may be off by a quarter of the scale near the middle.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ConfigurationError
from saferank.models.cache import converted
from saferank.models.description import Fast, ModelDescription, locate
from saferank.models.runtime_openvino import IR, import_openvino

LEAST = 100
"""Pictures; with fewer, the ranges say little."""

_NET, _FILES = "first.zip", ("prototxt", "weights")


def quantise(
    description: ModelDescription, folder: Path, blobs: Sequence[NDArray[np.float32]]
) -> bytes:
    """Make the eight-bit net of a model.

    Args:
        description: of the model.
        folder: that its files are relative to.
        blobs: (3, H, W) float32 each, as ``Model.preprocess`` gives them, at least ``LEAST``.

    Returns:
        The net as a file for ``OpenvinoRuntime``.

    Raises:
        ConfigurationError: there are too few pictures.
        ModelError: the model's files are not there, or not the right ones.
    """
    if len(blobs) < LEAST:
        raise ConfigurationError(
            f"{len(blobs)} readable pictures are too few to measure ranges on; give {LEAST} or more"
        )
    openvino = import_openvino()
    import nncf

    net = openvino.Core().read_model(converted(locate(description, folder)))
    data = nncf.Dataset([blob[None] for blob in blobs])
    quantised = nncf.quantize(net, data, subset_size=len(blobs))
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(packed, "w") as archive:
        # Halved once more on the disk, the layers that stay exact would not be.
        openvino.save_model(quantised, Path(name) / IR[0], compress_to_fp16=False)
        for each in IR:
            archive.write(Path(name) / each, each)
    return packed.getvalue()


def write(
    description: ModelDescription, folder: Path, net: bytes, margin: float, target: Path
) -> Path:
    """Write a model with a cheap first pass: its description, and the eight-bit net beside it.

    Args:
        description: of the model that was quantised.
        folder: that its files are relative to.
        net: as ``quantise`` makes it.
        margin: the lowest estimate after which the exact probability follows.
        target: folder to write into; made when missing.

    Returns:
        Path of the description.
    """
    import tomli_w

    fast = Fast(margin=margin, network=_NET, network_sha256=hashlib.sha256(net).hexdigest())
    files = description.files
    if files.package is None:
        places = {name: str((folder / getattr(files, name)).resolve()) for name in _FILES}
        files = files.model_copy(update=places)
    values = description.model_copy(update={"fast": fast, "files": files})
    target.mkdir(parents=True, exist_ok=True)
    (target / _NET).write_bytes(net)
    path = target / "model.toml"
    path.write_text(
        tomli_w.dumps(values.model_dump(mode="json", exclude_unset=True, exclude_none=True))
    )
    return path
