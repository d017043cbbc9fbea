"""BatchNorm, Scale, Bias, LRN, MVN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.layer import Layer, converts, same_shape, show


def _mean(graph: GraphBuilder, value: str, axes: Sequence[int]) -> str:
    return graph.op("ReduceMean", value, graph.constant(axes, np.int64), keepdims=1)


@converts("BatchNorm", in_place=True)
def batch_norm(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """``(x - mean) / sqrt(variance + eps)``, a channel at a time, without a scale of its own."""
    x, p = layer.only_bottom(), layer.proto.batch_norm_param
    layer.need(len(x.shape) >= 2, "BatchNorm needs a bottom of at least two axes", "bottom")
    channels = x.shape[1]
    mean, variance, factor = layer.weights((channels,), (channels,), (1,))
    # A layer's own phase wins over the net's; TRAIN means the statistics of the batch.
    training = layer.proto.HasField("phase") and layer.proto.phase == pb.TRAIN
    if not (p.use_global_stats if p.HasField("use_global_stats") else not training):
        graph.mixes_images = True
        axes = [axis for axis in range(len(x.shape)) if axis != 1]
        centred = graph.op("Sub", x.value, _mean(graph, x.value, axes))
        spread = _mean(graph, graph.op("Mul", centred, centred), axes)
        deviation = graph.op("Sqrt", graph.op("Add", spread, graph.constant(p.eps)))
        return same_shape(layer, graph.op("Div", centred, deviation))
    # The stored sums are weighted by the third blob; 0 stands for "nothing seen", not for infinity.
    weight = np.float32(0) if factor[0] == 0 else np.float32(1) / factor[0]
    broadcast = (channels,) + (1,) * (len(x.shape) - 2)
    with np.errstate(invalid="ignore"):
        root = np.sqrt(variance * weight + np.float32(p.eps))
    centred = graph.op("Sub", x.value, graph.constant((mean * weight).reshape(broadcast)))
    return same_shape(layer, graph.op("Div", centred, graph.constant(root.reshape(broadcast))))


def _span(layer: Layer, axis: int, num_axes: int) -> tuple[int, ...]:
    """The axes of the bottom that a blob of Scale or Bias covers."""
    x = layer.bottoms[0]
    start = layer.axis(axis, x)
    if num_axes == 0:
        return ()  # one number for all, wherever the axis is
    layer.need(num_axes >= -1, "num_axes must be at least -1", "num_axes")
    end = len(x.shape) if num_axes == -1 else start + num_axes
    layer.need(
        end <= len(x.shape),
        f"num_axes {num_axes} from axis {axis} on goes past its bottom {show(x)}",
        "num_axes",
    )
    return x.shape[start:end]


def _second_bottom(layer: Layer, graph: GraphBuilder, axis: int) -> str:
    """The second bottom as the factor or summand, placed at ``axis`` of the first."""
    x, other = layer.bottoms
    if not other.shape:
        return other.value
    start = layer.axis(axis, x)
    covered = x.shape[start : start + len(other.shape)]
    layer.need(
        covered == other.shape,
        f"its second bottom {show(other)} does not match its first, {show(x)}, "
        f"from axis {start} on",
        "bottom",
    )
    after = len(x.shape) - start - len(other.shape)
    return graph.reshape(other, (*other.shape, *(1,) * after)).value


def _placed(layer: Layer, blob: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A blob with ones for the axes after those it covers, so that it broadcasts."""
    if blob.ndim == 0:
        return blob
    x = layer.bottoms[0]
    after = len(x.shape) - layer.axis(axis, x) - blob.ndim
    return blob.reshape((*blob.shape, *(1,) * after))


def _one_or_two_bottoms(layer: Layer) -> None:
    layer.count(tops=1)
    layer.need(
        len(layer.bottoms) in (1, 2),
        f"{layer.type} takes one or two bottoms, it has {len(layer.bottoms)}",
        "bottom",
    )


@converts("Scale", in_place=True)
def scale(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Product with a blob or with the second bottom, and a bias if wanted."""
    _one_or_two_bottoms(layer)
    x, p = layer.bottoms[0], layer.proto.scale_param
    if len(layer.bottoms) == 2:
        # The second bottom is the factor; the only blob there can be is the bias, shaped like it.
        factor = _second_bottom(layer, graph, p.axis)
        shape = layer.bottoms[1].shape
        blobs = layer.weights(*([shape] if p.bias_term else []))
    else:
        shape = _span(layer, p.axis, p.num_axes)
        blobs = layer.weights(*([shape] * (2 if p.bias_term else 1)))
        factor = graph.constant(_placed(layer, blobs[0], p.axis))
    value = graph.op("Mul", x.value, factor)
    if p.bias_term:
        value = graph.op("Add", value, graph.constant(_placed(layer, blobs[-1], p.axis)))
    return same_shape(layer, value)


@converts("Bias", in_place=True)
def bias(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Sum with a blob or with the second bottom."""
    _one_or_two_bottoms(layer)
    x, p = layer.bottoms[0], layer.proto.bias_param
    if len(layer.bottoms) == 2:
        layer.weights()
        summand = _second_bottom(layer, graph, p.axis)
    else:
        (blob,) = layer.weights(_span(layer, p.axis, p.num_axes))
        summand = graph.constant(_placed(layer, blob, p.axis))
    return same_shape(layer, graph.op("Add", x.value, summand))


@converts("LRN", in_place=True)
def lrn(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Local response normalisation, across channels or within each."""
    x, p = layer.only_bottom(), layer.proto.lrn_param
    layer.need(len(x.shape) == 4, f"LRN needs a bottom of 4 axes, it is {show(x)}", "bottom")
    layer.need(p.local_size % 2 == 1, f"local_size must be odd, is {p.local_size}", "local_size")
    if p.norm_region == pb.LRNParameter.WITHIN_CHANNEL:
        return same_shape(layer, _lrn_within(graph, x, p))
    if layer.in_place:
        # Caffe writes scale ^ -beta over its bottom before it multiplies by that bottom, which is
        # then lost: the result is scale ^ (-2 beta).
        lost = graph.op("Pow", _scale_across(graph, x, p), graph.constant(-2 * p.beta))
        return same_shape(layer, lost)
    value = graph.op("LRN", x.value, size=p.local_size, alpha=p.alpha, beta=p.beta, bias=p.k)
    return same_shape(layer, value)


def _scale_across(graph: GraphBuilder, x: Tensor, p: pb.LRNParameter) -> str:
    """``k + alpha / n * (sum of the squares of n channels)``."""
    images, channels, height, width = x.shape
    squares = Tensor(graph.op("Mul", x.value, x.value), x.shape)
    planes = graph.reshape(squares, (images, 1, channels, height * width))
    half = p.local_size // 2
    mean = _mean_of_window(graph, planes.value, [p.local_size, 1], [half, 0])
    scale = graph.op("Add", graph.op("Mul", mean, graph.constant(p.alpha)), graph.constant(p.k))
    return graph.reshape(Tensor(scale, planes.shape), x.shape).value


def _lrn_within(graph: GraphBuilder, x: Tensor, p: pb.LRNParameter) -> str:
    # Always divided by the full window of local_size x local_size; k is not used, 1 is.
    squares, half = graph.op("Mul", x.value, x.value), p.local_size // 2
    mean = _mean_of_window(graph, squares, [p.local_size] * 2, [half] * 2)
    scale = graph.op("Add", graph.op("Mul", mean, graph.constant(p.alpha)), graph.constant(1))
    return graph.op("Mul", x.value, graph.op("Pow", scale, graph.constant(-p.beta)))


def _mean_of_window(graph: GraphBuilder, value: str, kernel: list[int], pad: list[int]) -> str:
    return graph.op(
        "AveragePool", value, kernel_shape=kernel, pads=[*pad, *pad], count_include_pad=1
    )


@converts("MVN", in_place=True)
def mvn(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Mean taken off, and divided by the standard deviation if wanted."""
    x, p = layer.only_bottom(), layer.proto.mvn_param
    layer.need(
        len(x.shape) <= 4, f"MVN needs a bottom of at most 4 axes, it is {show(x)}", "bottom"
    )
    # Whatever the bottom's axes, the top has four.
    x = graph.reshape(x, (*x.shape, *(1,) * (4 - len(x.shape))))
    axes = (1, 2, 3) if p.across_channels else (2, 3)
    value = graph.op("Sub", x.value, _mean(graph, x.value, axes))
    if p.normalize_variance:
        variance = _mean(graph, graph.op("Mul", value, value), axes)
        # eps is outside the root, unlike BatchNorm's.
        spread = graph.op("Add", graph.op("Sqrt", variance), graph.constant(p.eps))
        value = graph.op("Div", value, spread)
    return [Tensor(value, x.shape)]
