"""Building an ONNX graph node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

OPSET = 18
IR_VERSION = 9  # what every onnxruntime from 1.17 on reads

# Graph inputs and outputs carry Caffe's blob names behind these, so that an output may be called
# like an input (a net of in-place layers only), which ONNX forbids.
INPUT_PREFIX = "in:"
OUTPUT_PREFIX = "out:"


@dataclass(frozen=True)
class Tensor:
    """A value in the graph.

    Attributes:
        value: its ONNX name.
        shape: its shape, the batch as converted for.
    """

    value: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


class GraphBuilder:
    """Collects nodes and constants; value names are numbered, so they never collide.

    Attributes:
        mixes_images: whether a value of one image depends on another image of the batch.
    """

    def __init__(self) -> None:
        self.mixes_images = False
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._layer = ""

    def within(self, layer: str) -> None:
        """Name the nodes that follow after ``layer``."""
        self._layer = layer

    def _name(self, what: str) -> str:
        return f"{len(self.nodes)}.{len(self.constants)}:{self._layer}/{what}"

    def input(self, name: str, shape: Sequence[int]) -> Tensor:
        """Declare a graph input for Caffe's blob ``name``."""
        tensor = Tensor(INPUT_PREFIX + name, tuple(shape))
        self._inputs.append(tensor)
        return tensor

    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of each declared input by Caffe's name."""
        return {each.value.removeprefix(INPUT_PREFIX): each.shape for each in self._inputs}

    def output(self, name: str, tensor: Tensor) -> None:
        """Declare a graph output for Caffe's blob ``name``."""
        value = OUTPUT_PREFIX + name
        self.nodes.append(helper.make_node("Identity", [tensor.value], [value], name=value))
        self._outputs.append(Tensor(value, tensor.shape))

    def constant(self, values: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant; returns its name."""
        name = self._name("const")
        self.constants[name] = np.asarray(values, dtype=dtype)
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node with several outputs; returns their names."""
        name = self._name(op)
        names = [f"{name}.{index}" if outputs > 1 else name for index in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, **attributes))
        return names

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns its name."""
        return self.node(op, *inputs, **attributes)[0]

    def full(self, shape: str, value: float) -> str:
        """A tensor of the shape that the graph's value ``shape`` holds, ``value`` everywhere."""
        filling = numpy_helper.from_array(np.array([value], dtype=np.float32))
        return self.op("ConstantOfShape", shape, value=filling)

    def full_like(self, tensor: Tensor, value: float) -> str:
        """A tensor of the same shape that is ``value`` everywhere."""
        return self.full(self.op("Shape", tensor.value), value)

    def reshape(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """View the tensor in another shape of the same size.

        The first axis is left to be inferred, so that graphs whose other axes do not depend on
        the batch run with any batch.
        """
        if tuple(shape) == tensor.shape:
            return tensor
        target = [-1, *shape[1:]] if shape else []
        value = self.op("Reshape", tensor.value, self.constant(target, np.int64))
        return Tensor(value, tuple(shape))

    def __eq__(self, other: object) -> bool:
        """Whether the other graph computes the same: same nodes, same constants."""
        if not isinstance(other, GraphBuilder):
            return NotImplemented
        return (
            self.nodes == other.nodes
            and self.constants.keys() == other.constants.keys()
            and all(
                np.array_equal(mine, other.constants[name], equal_nan=mine.dtype.kind == "f")
                for name, mine in self.constants.items()
            )
        )

    __hash__ = None  # type: ignore[assignment]

    def model(self, *, free_batch: bool) -> onnx.ModelProto:
        """Put the graph together, without nodes and constants that no output needs.

        Args:
            free_batch: leave the first axis of inputs and outputs open.
        """
        nodes, constants = self._live()

        def declared(tensor: Tensor, images: str | None = None) -> onnx.ValueInfoProto:
            sizes: list[int | str | None] = list(tensor.shape)
            if free_batch:
                sizes[0] = images
            return helper.make_tensor_value_info(tensor.value, onnx.TensorProto.FLOAT, sizes)

        graph = helper.make_graph(
            nodes,
            "caffe",
            # Named, so that onnxruntime knows which tensors are of one size: it then adds in place
            # where it would copy first, a twentieth of the time of a residual net.
            [declared(tensor, f"images of {tensor.value}") for tensor in self._inputs],
            [declared(tensor) for tensor in self._outputs],
            [numpy_helper.from_array(values, name) for name, values in constants.items()],
        )
        return helper.make_model(
            graph,
            producer_name="saferank",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )

    def _live(self) -> tuple[list[onnx.NodeProto], dict[str, NDArray[np.generic]]]:
        needed = {output.value for output in self._outputs}
        live = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                live.append(node)
                needed.update(node.input)
        constants = {name: value for name, value in self.constants.items() if name in needed}
        return live[::-1], constants
