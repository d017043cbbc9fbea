"""A Caffe net as a function of its weights."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from saferank.models.builder.fill import Filler
from saferank.models.caffe import Prototxt, Weights, layer_figures
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.layer import Layer
from saferank.models.training.layers import FUNCTIONS, Blobs, Pass, batch_norm

# Blobs of each layer that has any, by its name.
Parameters = Mapping[str, Blobs]

_NOT_HERE = {"Accuracy", "Data", "ImageData", "Input", "MemoryData", "SoftmaxWithLoss"}


@dataclass(frozen=True)
class Outputs:
    """What one pass gives.

    Attributes:
        blobs: every blob of the net by name, as it is at the end of the pass.
        statistics: of the BatchNorm layers, after the pass.
    """

    blobs: Mapping[str, jax.Array]
    statistics: Parameters


class Network:
    """The layers between the images and the logits.

    Args:
        prototxt: a net for deployment or for training; layers of data and losses are passed over.
        frozen_statistics: normalise by the stored statistics in training, too, and leave them.

    Attributes:
        losses: the blobs of logits that a loss is taken of, and its weight; the bottom of the
            last softmax where the net has no loss of its own.

    Raises:
        UnsupportedLayer: a layer cannot be trained.
    """

    def __init__(self, prototxt: Prototxt, *, frozen_statistics: bool) -> None:
        self._by_stored = frozen_statistics
        self._layers = [
            _layer(proto, prototxt.name)
            for proto in prototxt.message.layer
            if proto.type not in _NOT_HERE
        ]
        for layer in self._layers:
            if layer.type not in FUNCTIONS and layer.type != "BatchNorm":
                layer.refuse(f"{layer.type} cannot be trained", "type")
        self.losses = _losses(prototxt.message)

    def start(self, given: Parameters) -> tuple[Parameters, Parameters]:
        """Part blobs into those that learn, and the statistics of normalisations."""
        names = {layer.name for layer in self._layers if layer.type == "BatchNorm"}
        return (
            {name: blobs for name, blobs in given.items() if name not in names},
            {name: blobs for name, blobs in given.items() if name in names},
        )

    def multipliers(self, weights: Parameters) -> tuple[Mapping[str, tuple[float, ...]], ...]:
        """``lr_mult`` and ``decay_mult`` of each blob; 1 where the net does not say."""
        protos = {layer.name: layer.proto for layer in self._layers}

        def read(field: str) -> dict[str, tuple[float, ...]]:
            return {
                name: tuple(
                    getattr(protos[name].param[place], field)
                    if place < len(protos[name].param)
                    else 1.0
                    for place in range(len(blobs))
                )
                for name, blobs in weights.items()
            }

        return read("lr_mult"), read("decay_mult")

    def __call__(
        self,
        weights: Parameters,
        statistics: Parameters,
        images: Mapping[str, jax.Array],
        *,
        training: bool,
        key: jax.Array,
    ) -> Outputs:
        """Run the net.

        Args:
            weights: blobs that learn.
            statistics: blobs of BatchNorm layers.
            images: the inputs by the names of their blobs, float32.
            training: the phase.
            key: makes what dropout drops.
        """
        blobs = dict(images)
        seen = dict(statistics)
        for layer in self._layers:
            bottoms = [blobs[name] for name in layer.proto.bottom]
            (top,) = layer.proto.top
            if layer.type == "BatchNorm":
                by_batch = training and not self._by_stored
                blobs[top], seen[layer.name] = batch_norm(
                    layer, statistics[layer.name], bottoms[0], by_batch=by_batch
                )
            else:
                # A key of its own for each layer, whatever the layers before it.
                own = jax.random.fold_in(key, zlib.crc32(layer.name.encode()))
                own_blobs = weights.get(layer.name, ())
                run = Pass(training, own)
                blobs[top] = FUNCTIONS[layer.type](layer, own_blobs, bottoms, run)
        return Outputs(blobs, seen)


def _layer(proto: pb.LayerParameter, file: str) -> Layer:
    in_place = bool(proto.bottom) and list(proto.top) == list(proto.bottom)
    return Layer(proto, file, in_place=in_place)


def _losses(message: pb.NetParameter) -> Sequence[tuple[str, float]]:
    found = [
        (each.bottom[0], each.loss_weight[0] if each.loss_weight else 1.0)
        for each in message.layer
        if each.type == "SoftmaxWithLoss"
    ]
    if found:
        return found
    last = next(each for each in reversed(message.layer) if each.type == "Softmax")
    return [(last.bottom[0], 1.0)]


class _Reader:
    """Takes blobs out of a weights file as a net asks for them; new ones where there are none."""

    def __init__(self, weights: Weights, filler: Filler) -> None:
        self._stored = dict(weights.layers)
        self._filler = filler
        self.blobs: dict[str, Blobs] = {}
        self.new: list[str] = []

    def blobs_of(self, layer: Layer, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        stored = self._stored.get(layer.name)
        if stored is None:
            self.new.append(layer.name)
            arrays = self._filler.blobs_of(layer, shapes)
        else:
            layer.need(
                len(stored) == len(shapes)
                and all(blob.matches(shape) for blob, shape in zip(stored, shapes, strict=True)),
                f"its weights have the shapes {', '.join(map(str, stored))}, not those that the "
                "net needs; give the layer another name to start it anew",
                "name",
            )
            arrays = [
                np.asarray(blob.data.reshape(tuple(shape)))
                for blob, shape in zip(stored, shapes, strict=True)
            ]
        self.blobs[layer.name] = tuple(map(jnp.asarray, arrays))
        return arrays

    def check_unused(self, layer: Layer) -> None:
        """What the net does not use is left."""


def starting_blobs(
    prototxt: Prototxt, weights: Weights, *, seed: int
) -> tuple[Parameters, Sequence[str]]:
    """The blobs that training starts from: stored ones by layer name, new ones by the fillers.

    Args:
        prototxt: the net, for deployment.
        weights: what there is already.
        seed: of the new ones.

    Returns:
        Blobs by layer, and the names of the layers that start anew.

    Raises:
        ModelFormatError: stored blobs have other shapes than the net needs.
    """
    reader = _Reader(weights, Filler(prototxt.message.name, seed))
    layer_figures(prototxt, source=reader)
    return reader.blobs, reader.new
