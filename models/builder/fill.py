"""First weights of a net, drawn as Caffe draws them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from saferank.errors import UnsupportedLayer
from saferank.models.caffe import Prototxt, layer_figures
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.layer import Layer
from saferank.models.caffe.weights import add_blobs


def fill(prototxt: Prototxt, *, seed: int) -> pb.NetParameter:
    """Draw the weights of a net by the fillers that its prototxt names.

    The distributions are those of Caffe's ``filler.hpp``; the values are not the same, as they come
    from another generator. The statistics of a normalisation, which Caffe leaves at zero until the
    net is trained, are mean 0 and variance 1 here.

    Args:
        prototxt: the network, at phase TEST.
        seed: the same one gives the same weights.

    Returns:
        What a caffemodel holds: names, types and blobs.

    Raises:
        ModelFormatError: the prototxt is wrong.
        UnsupportedLayer: a layer cannot be converted, or its filler is not known.
    """
    filler = Filler(prototxt.message.name, seed)
    layer_figures(prototxt, source=filler)
    return filler.message


class Filler:
    """Gives each layer that asks new blobs, see ``fill``, and keeps them.

    Args:
        name: of the net.
        seed: the same one gives the same weights to the same layers.

    Attributes:
        message: what was drawn so far, as a caffemodel holds it.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.message = pb.NetParameter(name=name)
        self._random = np.random.default_rng(seed)

    def blobs_of(self, layer: Layer, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Draw the layer's blobs, in just these shapes."""
        fillers = _fillers(layer, len(shapes))
        blobs = [
            self._draw(layer, filler, tuple(shape))
            for filler, shape in zip(fillers, shapes, strict=True)
        ]
        add_blobs(self.message, layer.name, layer.type, blobs)
        return blobs

    def check_unused(self, layer: Layer) -> None:
        """There is nothing that could be left over."""

    def _draw(
        self, layer: Layer, filler: pb.FillerParameter, shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        match filler.type:
            case "constant":
                return np.full(shape, filler.value, np.float32)
            case "gaussian":
                drawn = self._random.normal(filler.mean, filler.std, shape)
            case "uniform":
                drawn = self._random.uniform(filler.min, filler.max, shape)
            case "xavier":
                bound = sqrt(3 / _fan(filler, shape))
                drawn = self._random.uniform(-bound, bound, shape)
            case "msra":
                drawn = self._random.normal(0, sqrt(2 / _fan(filler, shape)), shape)
            case other:
                layer.refuse(f'filler "{other}" is not known here', "weight_filler")
        return drawn.astype(np.float32)


def _fan(filler: pb.FillerParameter, shape: tuple[int, ...]) -> float:
    """Number of values that one value is made of, or goes into, or their mean."""
    fan_in, fan_out = prod(shape[1:]), prod(shape) // (shape[1] if len(shape) > 1 else 1)
    match filler.variance_norm:
        case pb.FillerParameter.FAN_OUT:
            return fan_out
        case pb.FillerParameter.AVERAGE:
            return (fan_in + fan_out) / 2
        case _:
            return fan_in


def _fillers(layer: Layer, count: int) -> Sequence[pb.FillerParameter]:
    """The filler of each blob."""
    proto = layer.proto
    match layer.type:
        case "Convolution" | "Deconvolution":
            both = proto.convolution_param.weight_filler, proto.convolution_param.bias_filler
            return both[:count]
        case "InnerProduct":
            both = proto.inner_product_param.weight_filler, proto.inner_product_param.bias_filler
            return both[:count]
        case "Scale":
            ones = _given_or(proto.scale_param, 1)
            return (ones, proto.scale_param.bias_filler)[:count]
        case "BatchNorm":
            return _constant(0), _constant(1), _constant(1)
        case "PReLU":
            return (_given_or(proto.prelu_param, 0.25),)
        case other:
            raise UnsupportedLayer(
                f"{layer.where('type')}: first weights of {other} are not known here"
            )


def _given_or(
    parameters: pb.ScaleParameter | pb.PReLUParameter, value: float
) -> pb.FillerParameter:
    return parameters.filler if parameters.HasField("filler") else _constant(value)


def _constant(value: float) -> pb.FillerParameter:
    return pb.FillerParameter(type="constant", value=value)
