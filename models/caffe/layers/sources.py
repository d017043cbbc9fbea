"""Layers without bottoms. Data layers have become Input layers before (see ``deploy.py``)."""

from __future__ import annotations

import numpy as np

from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.layer import Layer, converts
from saferank.models.caffe.weights import format_shape


@converts("Input")
def input_(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """The inputs of the net: one shape for each top, or one for all."""
    layer.count(bottoms=0)
    shapes = [tuple(shape.dim) for shape in layer.proto.input_param.shape]
    layer.need(
        bool(shapes),
        "no input shape is given; add input_param { shape { ... } }",
        "top",
    )
    layer.need(
        len(shapes) in (1, layer.tops), f"{len(shapes)} shapes for {layer.tops} tops", "shape"
    )
    if len(shapes) == 1:
        shapes = shapes * layer.tops
    tops = []
    for name, shape in zip(layer.proto.top, shapes, strict=True):
        layer.need(
            all(0 < size < 2**31 for size in shape),
            f"input shape {shape} must be positive",
            "shape",
        )
        tops.append(graph.input(name, shape))
    return tops


@converts("Parameter")
def parameter(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Its only blob, as a top."""
    layer.count(bottoms=0, tops=1)
    (blob,) = layer.weights(tuple(layer.proto.parameter_param.shape.dim))
    return [Tensor(graph.constant(blob), blob.shape)]


@converts("DummyData")
def dummy_data(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Constant blobs."""
    layer.count(bottoms=0)
    p = layer.proto.dummy_data_param
    shapes = [tuple(shape.dim) for shape in p.shape] or list(
        zip(p.num, p.channels, p.height, p.width, strict=False)
    )
    fillers = list(p.data_filler)
    layer.need(
        len(shapes) in (1, layer.tops), f"{len(shapes)} shapes for {layer.tops} tops", "shape"
    )
    layer.need(
        len(fillers) in (0, 1, layer.tops),
        f"{len(fillers)} fillers for {layer.tops} tops",
        "data_filler",
    )
    tops = []
    for index in range(layer.tops):
        filler = fillers[index % len(fillers)] if fillers else None
        if filler is not None and filler.type != "constant":
            layer.refuse(
                f'filler "{filler.type}" is random; only constant can be converted', "type"
            )
        shape = shapes[index % len(shapes)]
        _check_shape(layer, shape)
        value = 0.0 if filler is None else filler.value
        tops.append(Tensor(graph.full(graph.constant(shape, np.int64), value), shape))
    return tops


def _check_shape(layer: Layer, shape: tuple[int, ...]) -> None:
    layer.need(
        all(size > 0 for size in shape),
        f"the shape {format_shape(shape)} must be positive",
        "shape",
    )
    layer.check_size(shape)
