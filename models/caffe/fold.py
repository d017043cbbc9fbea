"""Folding what follows a convolution channel by channel into its weights.

A convolution followed by subtraction, division, multiplication or addition of one constant a
channel is again a convolution, exactly; that is what BatchNorm (with stored statistics), Scale and
Bias become after conversion. It is done in float64 and only where the result is finite.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray

from saferank.models.caffe.builder import GraphBuilder

_AFFINE = {
    "Sub": lambda weight, bias, c: (weight, bias - c),
    "Add": lambda weight, bias, c: (weight, bias + c),
    "Mul": lambda weight, bias, c: (weight * _per_output(weight, c), bias * c),
    "Div": lambda weight, bias, c: (weight / _per_output(weight, c), bias / c),
}


def _per_output(weight: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    return c.reshape((-1,) + (1,) * (weight.ndim - 1))


def fold_affine_into_convolutions(graph: GraphBuilder) -> None:
    """Rewrite the graph in place; see the module."""
    readers = Counter(name for node in graph.nodes for name in node.input)
    reader_of = {name: node for node in graph.nodes for name in node.input}
    folded: set[str] = set()
    for node in graph.nodes:
        if node.op_type == "Conv":
            while readers[node.output[0]] == 1:
                following = reader_of[node.output[0]]
                if not _fold(graph, node, following):
                    break
                folded.add(following.name)
                node.output[0] = following.output[0]
    graph.nodes = [node for node in graph.nodes if node.name not in folded]


def _fold(graph: GraphBuilder, conv: onnx.NodeProto, following: onnx.NodeProto) -> bool:
    """Fold one node; False when it is not of that kind."""
    if following.op_type not in _AFFINE or following.input[0] != conv.output[0]:
        return False
    constant = graph.constants.get(following.input[1])
    weight = graph.constants[conv.input[1]].astype(np.float64)
    channels = weight.shape[0]
    # One value a channel: C x 1 x ... x 1, with an axis for each spatial axis of the weight.
    if constant is None or constant.shape != (channels,) + (1,) * (weight.ndim - 2):
        return False
    bias = (
        graph.constants[conv.input[2]].astype(np.float64)
        if len(conv.input) > 2
        else np.zeros(channels)
    )
    with np.errstate(all="ignore"):
        per_channel = constant.reshape(channels).astype(np.float64)
        weight, bias = _AFFINE[following.op_type](weight, bias, per_channel)
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return False
    # New constants: the old ones may be shared with another convolution.
    names = [graph.constant(weight), graph.constant(bias)]
    del conv.input[1:]
    conv.input.extend(names)
    return True
