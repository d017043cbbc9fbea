"""Layers that work on each value by itself."""

from __future__ import annotations

import math

import numpy as np

from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.layer import Layer, converts, same_shape, show


@converts("AbsVal")
def absval(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``|x|``; alone among the activations, Caffe does not let it work in place."""
    return same_shape(layer, graph.op("Abs", layer.only_bottom().value))


@converts("BNLL", in_place=True)
def bnll(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``log(1 + exp(x))`` without overflow."""
    return same_shape(layer, graph.op("Softplus", layer.only_bottom().value))


@converts("Clip", in_place=True)
def clip(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``x`` held between ``min`` and ``max``."""
    x, limits = layer.only_bottom(), layer.proto.clip_param
    low, high = graph.constant(limits.min), graph.constant(limits.max)
    return same_shape(layer, graph.op("Clip", x.value, low, high))


@converts("Dropout", in_place=True)
def dropout(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Nothing outside training: Caffe scales while training, not here."""
    x = layer.only_bottom()
    if layer.proto.phase == 0 and layer.proto.HasField("phase"):
        layer.refuse("phase: TRAIN makes this Dropout random", "phase")
    # A copy, not shared memory: what later works in place on one leaves the other.
    return same_shape(layer, graph.op("Identity", x.value))


@converts("ELU", in_place=True)
def elu(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""
    x = layer.only_bottom()
    return same_shape(layer, graph.op("Elu", x.value, alpha=layer.proto.elu_param.alpha))


@converts("Exp", in_place=True)
def exp(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``base ^ (shift + scale * x)``."""
    p, value = layer.proto.exp_param, layer.only_bottom().value
    base = _base(layer, p.base)
    inner, outer = math.log(base) * p.scale, base**p.shift
    if inner != 1:
        value = graph.op("Mul", value, graph.constant(inner))
    value = graph.op("Exp", value)
    if outer != 1:
        value = graph.op("Mul", value, graph.constant(outer))
    return same_shape(layer, value)


@converts("Log", in_place=True)
def log(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``log_base(shift + scale * x)``."""
    p, value = layer.proto.log_param, layer.only_bottom().value
    base = _base(layer, p.base)
    layer.need(base != 1, "the logarithm to base 1 does not exist", "base")
    value = graph.op("Log", _scale_and_shift(graph, value, p.scale, p.shift))
    if base != math.e:
        value = graph.op("Mul", value, graph.constant(1 / math.log(base)))
    return same_shape(layer, value)


def _base(layer: Layer, base: float) -> float:
    # The default of -1 stands for e.
    layer.need(base == -1 or base > 0, f"base {base:g} must be positive", "base")
    return math.e if base == -1 else base


def _scale_and_shift(graph: GraphBuilder, value: str, scale: float, shift: float) -> str:
    if scale != 1:
        value = graph.op("Mul", value, graph.constant(scale))
    if shift != 0:
        value = graph.op("Add", value, graph.constant(shift))
    return value


@converts("Power", in_place=True)
def power(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``(shift + scale * x) ^ power``."""
    x, p = layer.only_bottom(), layer.proto.power_param
    if np.float32(p.power) * np.float32(p.scale) == 0:
        # Caffe does not look at x then: power 0 gives 1 even for 0, scale 0 gives shift ^ power.
        with np.errstate(all="ignore"):
            constant = np.float32(1) if p.power == 0 else np.float32(p.shift) ** np.float32(p.power)
        return same_shape(layer, graph.full_like(x, float(constant)))
    value = _scale_and_shift(graph, x.value, p.scale, p.shift)
    if p.power != 1:
        value = graph.op("Pow", value, graph.constant(p.power))
    return same_shape(layer, value)


@converts("PReLU", in_place=True)
def prelu(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``x`` above 0, ``slope * x`` below, one slope a channel or one for all."""
    x = layer.only_bottom()
    layer.need(
        2 <= len(x.shape) <= 4, f"PReLU needs a bottom of 2 to 4 axes, it is {show(x)}", "bottom"
    )
    # A shared slope is a blob without axes, and its file entry has no shape.
    shape = () if layer.proto.prelu_param.channel_shared else (x.shape[1],)
    (slope,) = layer.weights(shape)
    slope = slope.reshape((*shape, *(1,) * (len(x.shape) - 2)) if shape else (1,))
    return same_shape(layer, graph.op("PRelu", x.value, graph.constant(slope)))


@converts("ReLU", in_place=True)
def relu(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``x`` above 0, ``negative_slope * x`` below."""
    x, slope = layer.only_bottom(), layer.proto.relu_param.negative_slope
    if slope == 0:
        return same_shape(layer, graph.op("Relu", x.value))
    return same_shape(layer, graph.op("LeakyRelu", x.value, alpha=slope))


@converts("Sigmoid", in_place=True)
def sigmoid(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``1 / (1 + exp(-x))``."""
    return same_shape(layer, graph.op("Sigmoid", layer.only_bottom().value))


@converts("Swish", in_place=True)
def swish(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``x * sigmoid(beta * x)``."""
    x, beta = layer.only_bottom(), layer.proto.swish_param.beta
    gate = graph.op("Sigmoid", _scale_and_shift(graph, x.value, beta, 0))
    return same_shape(layer, graph.op("Mul", x.value, gate))


@converts("TanH", in_place=True)
def tanh(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Hyperbolic tangent."""
    return same_shape(layer, graph.op("Tanh", layer.only_bottom().value))


@converts("Threshold", in_place=True)
def threshold(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """1 where ``x`` is above the threshold (not at it), else 0."""
    x = layer.only_bottom()
    above = graph.op("Greater", x.value, graph.constant(layer.proto.threshold_param.threshold))
    return same_shape(layer, graph.op("Cast", above, to=1))
