"""Small classifiers as ONNX files, whose answers a test can compute itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.array([[0.02, -0.01, 0.0], [0.0, 0.03, -0.02], [-0.03, 0.0, 0.01]], np.float32)
"""A column a class, a row a channel: three logits from the means of three channels."""
DESCRIPTION = """
name = "small"
[files]
onnx = "net.onnx"
[input]
blob = "image"
size = [8, 8]
preprocessing = "resize-crop"
channel_order = "RGB"
mean = [0, 0, 0]
[output]
blob = "out"
classes = ["calm", "gore", "blood"]
"""
"""Of such a classifier in net.onnx, up to what counts in its output."""


def write_classifier(
    path: Path,
    *,
    last: str | None = "Softmax",
    shape: Sequence[int | str] = ("N", 3, 8, 8),
    element: int = TensorProto.FLOAT,
    mixes: bool = False,
    dead: bool = False,
) -> Path:
    """Means of the channels, times ``WEIGHTS``, through a last layer; input "image", output "out".

    Args:
        path: of the file.
        last: type of the last layer; None gives the logits.
        shape: of the input; channels last when the last axis is 3.
        element: type of the input's values.
        mixes: whether images of one batch see each other.
        dead: whether it gives the same for every image.
    """
    channels_last = shape[-1] == 3
    names = ["image"]

    def node(kind: str, *more: str, **attributes: object) -> onnx.NodeProto:
        names.append(f"value{len(names)}")
        return helper.make_node(kind, [names[-2], *more], [names[-1]], **attributes)

    nodes = []
    if element != TensorProto.FLOAT:
        nodes.append(node("Cast", to=TensorProto.FLOAT))
    axes = [1, 2] if channels_last else [2, 3]
    nodes.append(node("ReduceMean", axes=axes, keepdims=0))
    if mixes:
        before = names[-1]
        nodes.append(node("ReduceMean", axes=[0], keepdims=1))
        nodes.append(node("Add", before))
    nodes.append(node("MatMul", "weights"))
    if last is not None:
        nodes.append(node(last))
    nodes[-1].output[0] = "out"
    weights = WEIGHTS if shape[1 if not channels_last else -1] == 3 else WEIGHTS[:1]
    if dead:
        weights = np.zeros_like(weights)
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", element, list(shape))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [shape[0], 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return write(path, graph)


def write_detector(path: Path, scores: NDArray[np.float32], *, turned: bool = False) -> Path:
    """Whatever it is shown, these scores of classes x places, as YOLOv8 gives them.

    Args:
        path: of the file.
        scores: (classes, places).
        turned: places before classes, as other detectors give them.
    """
    boxes = np.full((4, scores.shape[1]), 5, np.float32)
    found = np.concatenate([boxes, scores])[None]
    found = found.transpose(0, 2, 1) if turned else found
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Reshape", ["nothing", "each"], ["column"]),
            helper.make_node("Add", ["column", "found"], ["out"]),
        ],
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", *found.shape[1:]])],
        [
            numpy_helper.from_array(found, "found"),
            numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
            numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "each"),
        ],
    )
    return write(path, graph)


def write(path: Path, graph: onnx.GraphProto) -> Path:
    """Write a graph as a file of its own."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
