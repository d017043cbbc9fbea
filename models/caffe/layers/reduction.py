"""Softmax, ArgMax, Reduction."""

from __future__ import annotations

from math import prod

import numpy as np

from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.layer import Layer, converts, same_shape

_OPS = {
    pb.ReductionParameter.SUM: "ReduceSum",
    pb.ReductionParameter.ASUM: "ReduceL1",
    pb.ReductionParameter.SUMSQ: "ReduceSumSquare",
    pb.ReductionParameter.MEAN: "ReduceMean",
}


@converts("Softmax", in_place=True)
def softmax(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Probabilities along one axis."""
    x = layer.only_bottom()
    axis = layer.axis(layer.proto.softmax_param.axis, x)
    graph.mixes_images |= axis == 0
    return same_shape(layer, graph.op("Softmax", x.value, axis=axis))


@converts("Reduction")
def reduction(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """All axes from ``axis`` on into one number; they disappear."""
    x, p = layer.only_bottom(), layer.proto.reduction_param
    axis = layer.axis(p.axis, x)
    shape = x.shape[:axis]
    rows = graph.reshape(x, (prod(shape), prod(x.shape[axis:])))
    value = graph.op(_OPS[p.operation], rows.value, graph.constant([1], np.int64), keepdims=0)
    if p.coeff != 1:
        value = graph.op("Mul", value, graph.constant(p.coeff))
    return [graph.reshape(Tensor(value, (prod(shape),)), shape)]


@converts("ArgMax")
def argmax(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Positions of the ``top_k`` largest values, as floats; or the values; or both."""
    x, p = layer.only_bottom(), layer.proto.argmax_param
    k = p.top_k
    layer.need(k > 0, "top_k must be positive", "top_k")
    if p.HasField("axis"):
        axis = layer.axis(p.axis, x)
        _enough(layer, k, x.shape[axis])
        values, positions = _largest(graph, x, axis, k)
        shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
        return [Tensor(values if p.out_max_val else positions, shape)]
    # Without an axis: over everything but the first, and at least three axes come out.
    count = prod(x.shape[1:])
    _enough(layer, k, count)
    flat = graph.reshape(x, (x.shape[0], count))
    values, positions = _largest(graph, flat, 1, k)
    rows = 2 if p.out_max_val else 1
    if p.out_max_val:
        positions = graph.op("Concat", positions, values, axis=1)
    rest = (1,) * (max(len(x.shape), 3) - 3)
    return [graph.reshape(Tensor(positions, (x.shape[0], rows * k)), (x.shape[0], rows, k, *rest))]


def _enough(layer: Layer, k: int, count: int) -> None:
    layer.need(k <= count, f"top_k {k} is more than the {count} values there are", "top_k")


def _largest(graph: GraphBuilder, x: Tensor, axis: int, k: int) -> tuple[str, str]:
    """The ``k`` largest along the axis, and their positions as floats.

    Among equals Caffe takes the largest position first and ONNX the smallest, so the axis is
    turned round before and the positions after.
    """
    ends = [graph.constant([each], np.int64) for each in (-1, np.iinfo(np.int64).min, axis, -1)]
    turned = graph.op("Slice", x.value, *ends)
    count = graph.constant([k], np.int64)
    values, positions = graph.node("TopK", turned, count, outputs=2, axis=axis)
    last = graph.constant(x.shape[axis] - 1, np.int64)
    return values, graph.op("Cast", graph.op("Sub", last, positions), to=1)
