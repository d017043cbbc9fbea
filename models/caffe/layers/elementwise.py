"""Eltwise: several blobs of one shape into one."""

from __future__ import annotations

from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.layer import Layer, converts, same_shape, show

_PROD, _SUM = pb.EltwiseParameter.PROD, pb.EltwiseParameter.SUM


@converts("Eltwise", in_place=True)
def eltwise(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Product, weighted sum, or maximum."""
    layer.count(tops=1)
    layer.need(len(layer.bottoms) >= 2, "Eltwise needs at least two bottoms", "bottom")
    p, first = layer.proto.eltwise_param, layer.bottoms[0]
    names = list(layer.proto.bottom)
    for name, other in zip(names, layer.bottoms, strict=True):
        # Caffe never broadcasts, ONNX would.
        layer.need(
            other.shape == first.shape,
            f"bottoms {names[0]} ({show(first)}) and {name} ({show(other)}) differ in shape",
            "bottom",
        )
    layer.need(
        not p.coeff or p.operation == _SUM, "only the operation SUM takes coefficients", "coeff"
    )
    layer.need(
        len(p.coeff) in (0, len(layer.bottoms)),
        f"{len(p.coeff)} coefficients for {len(layer.bottoms)} bottoms",
        "coeff",
    )
    values = [bottom.value for bottom in layer.bottoms]
    if p.operation == _PROD:
        return same_shape(layer, _chain(graph, "Mul", values))
    if layer.in_place:
        # Caffe clears the top before it adds (or compares): where the top is the first bottom,
        # that bottom is lost.
        values = values[1:]
    if p.operation == _SUM:
        coefficients = list(p.coeff)[-len(values) :] or [1.0] * len(values)
        weighted = [
            value if factor == 1 else graph.op("Mul", value, graph.constant(factor))
            for value, factor in zip(values, coefficients, strict=True)
        ]
        return same_shape(layer, _chain(graph, "Add", weighted))
    return same_shape(layer, _maximum(graph, values))


def _maximum(graph: GraphBuilder, values: list[str]) -> str:
    """The larger by comparison, so that NaN goes where Caffe lets it go; ONNX's Max differs."""
    result = graph.op("Identity", values[0])
    for index, value in enumerate(values[1:]):
        # Of the first two the second wins where neither is larger, later ones must be larger.
        greater, other = (result, value) if index == 0 else (value, result)
        result = graph.op("Where", graph.op("Greater", greater, other), greater, other)
    return result


def _chain(graph: GraphBuilder, op: str, values: list[str]) -> str:
    """Combine from left to right, as Caffe does; sums depend on the order."""
    result = values[0]
    for value in values[1:]:
        result = graph.op(op, result, value)
    return result if len(values) > 1 else graph.op("Identity", result)
