"""Giving each layer its blobs out of the weights file."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ModelFormatError
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.layer import Layer
from saferank.models.caffe.weights import Blob, Weights, format_shape

_WITH_BLOBS = {
    "BatchNorm",
    "Bias",
    "Convolution",
    "Deconvolution",
    "Embed",
    "InnerProduct",
    "PReLU",
    "Parameter",
    "Scale",
}


class Binding:
    """Finds blobs by layer name only, as Caffe does, but accepts nothing that is missing.

    Caffe leaves a layer without an entry at its filler values, without a word.
    """

    def __init__(self, weights: Weights, layers: Sequence[Layer]) -> None:
        self._file = weights
        self._layers = layers
        # A later entry of the same name overwrites an earlier one.
        self._stored = dict(weights.layers)
        self._taken: dict[str, Layer] = {}
        self._shared = self._shared_blobs(weights, layers)
        self._owner_shapes: dict[str, tuple[int, ...]] = {}

    @staticmethod
    def _shared_blobs(weights: Weights, layers: Sequence[Layer]) -> dict[str, Blob]:
        """Blobs that several layers share by a param name; the last in the file counts."""
        names = {layer.name: [spec.name for spec in layer.proto.param] for layer in layers}
        return {
            spec_name: blob
            for layer_name, blobs in weights.layers
            for spec_name, blob in zip(names.get(layer_name, []), blobs, strict=False)
            if spec_name
        }

    def blobs_of(self, layer: Layer, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The layer's blobs, in just these shapes.

        Raises:
            ModelFormatError: they are missing, of other number or shape, or not finite.
        """
        if not shapes:
            return []
        if layer.name in self._taken:
            layer.fail(
                f'the name "{layer.name}" is used by two layers with weights; they must differ',
                "name",
            )
        self._taken[layer.name] = layer
        params = [spec.name for spec in layer.proto.param]
        names = [params[index] if index < len(params) else "" for index in range(len(shapes))]
        stored = self._stored.get(layer.name) or []
        if not stored and not all(name in self._shared for name in names):
            self._missing(layer, len(shapes))
        if stored and len(stored) != len(shapes):
            layer.fail(
                f"needs {len(shapes)} blobs, {self._file.name} has {len(stored)} for it", "type"
            )
        arrays = []
        for index, (name, shape) in enumerate(zip(names, shapes, strict=True)):
            if stored:
                self._check_shape(layer, index, stored[index], shape)
            blob = self._shared[name] if name in self._shared else stored[index]
            if name:
                self._check_shared(layer, index, name, tuple(shape))
            self._check_values(layer, index, blob)
            arrays.append(blob.data.reshape(tuple(shape)))
        return arrays

    def check_unused(self, layer: Layer) -> None:
        """Refuse blobs for a layer that has taken none."""
        stored = self._stored.get(layer.name)
        if stored and layer.name not in self._taken:
            layer.fail(f"has no blobs, {self._file.name} has {len(stored)} for it", "type")

    def _check_shape(self, layer: Layer, index: int, blob: Blob, shape: Sequence[int]) -> None:
        if not blob.matches(shape):
            layer.fail(
                f"weight blob {index} is {blob} in {self._file.name} but the prototxt needs "
                f"{format_shape(shape)}: another net, or another input size than in training",
                "num_output",
            )
        count = prod(shape)
        if blob.data.size != count:
            layer.fail(
                f"blob {index} has the shape {blob} = {count} values, but {blob.data.size} are "
                f"stored in {self._file.name}; fetch it again"
            )

    def _check_shared(self, layer: Layer, index: int, name: str, shape: tuple[int, ...]) -> None:
        owner = self._owner_shapes.setdefault(name, shape)
        permissive = layer.proto.param[index].share_mode == pb.ParamSpec.PERMISSIVE
        same = prod(owner) == prod(shape) if permissive else owner == shape
        layer.need(
            bool(same),
            f'blob {index} needs {format_shape(shape)}, but "{name}", which it shares, is '
            f"{format_shape(owner)}",
            "param",
        )

    def _check_values(self, layer: Layer, index: int, blob: Blob) -> None:
        broken = int(np.count_nonzero(~np.isfinite(blob.data)))
        if broken:
            kind = "NaN" if np.isnan(blob.data).any() else "infinite values"
            layer.fail(
                f"blob {index} holds {broken} {kind} in {self._file.name}: the training diverged"
            )

    def _missing(self, layer: Layer, count: int) -> None:
        needed = [each.name for each in self._layers if each.type in _WITH_BLOBS]
        have = self._file.names
        if not set(needed) & set(have):
            raise ModelFormatError(
                f"{self._file.name}: none of the layers with weights ({_some(needed)}) is in it; "
                f'it has {_some(have) or "none at all"} of net "{self._file.net}": the wrong file?'
            )
        layer.fail(
            f"{layer.type} needs {count} weight blobs; they are missing from {self._file.name}, "
            f"which has {_some(have)}"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
