"""What a layer's conversion function gets, and the registry of these functions.

Adding a layer type is one function in a file of ``layers/``, old or new:

    @converts("AbsVal")
    def absval(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
        x = layer.only_bottom()
        return [Tensor(graph.op("Abs", x.value), x.shape)]

It computes the shapes of the tops by Caffe's rules, adds the nodes, and returns one tensor a top.
What is wrong with the layer is reported by `Layer.fail`, what Caffe does and ONNX cannot by
`Layer.refuse`. A type with weights is listed in ``binding.py``, one that is no part of a deployed
net in ``deploy.py``, and an old name that is not just another spelling in ``upgrade.py``. Each type
has a folder in ``tests/models/layers/`` and a row in ``docs/reference/caffe-layers.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ModelFormatError, UnsupportedLayer
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.prototxt import LayerLines
from saferank.models.caffe.weights import format_shape

Convert = Callable[["Layer", GraphBuilder], list[Tensor]]


@dataclass(frozen=True)
class LayerType:
    """A registered layer type.

    Attributes:
        convert: its conversion function.
        in_place: whether Caffe lets its first top be its first bottom.
        shares: whether its tops are the memory of its bottom, under other names and shapes.
    """

    convert: Convert
    in_place: bool = False
    shares: Callable[[Layer], bool] = field(default=lambda layer: False)


REGISTRY: dict[str, LayerType] = {}


def converts(
    *types: str, in_place: bool = False, shares: Callable[[Layer], bool] = lambda layer: False
) -> Callable[[Convert], Convert]:
    """Register a conversion function for one or more layer types."""

    def register(function: Convert) -> Convert:
        for name in types:
            REGISTRY[name] = LayerType(function, in_place, shares)
        return function

    return register


@dataclass
class Layer:
    """One layer of the net that is being converted.

    Attributes:
        proto: the layer as the file describes it, in the current form.
        file: name of the prototxt, for messages.
        lines: where it stands there, when known.
        bottoms: what it reads.
        blobs_of: gives the layer's weights, checked against the shapes asked for.
        in_place: whether its first top is its first bottom.
        blobs: shapes of the blobs used, filled in by `weights`.
        multiply_adds: number of multiply-adds of one forward pass, filled in by the function.
    """

    proto: pb.LayerParameter
    file: str
    lines: LayerLines | None = None
    bottoms: list[Tensor] = field(default_factory=list)
    blobs_of: Callable[[Layer, Sequence[Sequence[int]]], list[NDArray[np.float32]]] | None = None
    in_place: bool = False
    blobs: tuple[tuple[int, ...], ...] = ()
    multiply_adds: int = 0

    @property
    def name(self) -> str:
        """The layer's name; it can be empty."""
        return str(self.proto.name)

    @property
    def type(self) -> str:
        """The layer's type, as in the file."""
        return str(self.proto.type)

    @property
    def tops(self) -> int:
        """Number of tops."""
        return len(self.proto.top)

    def where(self, field_name: str = "") -> str:
        """``net.prototxt:12: layer "conv1"``, with the line of a field when it is known."""
        if self.lines is None:
            return f'{self.file}: layer "{self.name}"'
        line = self.lines.fields.get(field_name, self.lines.start)
        return f'{self.file}:{line}: layer "{self.name}"'

    def fail(self, reason: str, field_name: str = "") -> NoReturn:
        """Refuse the layer because the files are wrong."""
        raise ModelFormatError(f"{self.where(field_name)}: {reason}")

    def refuse(self, reason: str, field_name: str = "") -> NoReturn:
        """Refuse the layer because it cannot be converted faithfully."""
        raise UnsupportedLayer(f"{self.where(field_name)}: {reason}")

    def need(self, condition: bool, reason: str, field_name: str = "") -> None:
        """Refuse the layer unless the condition holds."""
        if not condition:
            self.fail(reason, field_name)

    def only_bottom(self) -> Tensor:
        """The bottom of a layer that takes exactly one and gives one top."""
        self.count(bottoms=1, tops=1)
        return self.bottoms[0]

    def count(self, *, bottoms: int | None = None, tops: int | None = None) -> None:
        """Check the number of bottoms and tops."""
        for what, have, want in (
            ("bottom", len(self.bottoms), bottoms),
            ("top", self.tops, tops),
        ):
            if want is not None and have != want:
                self.fail(
                    f"{self.type} takes {want} {what}{'s' * (want != 1)}, it has {have}", what
                )

    def axis(self, axis: int, tensor: Tensor, field_name: str = "axis") -> int:
        """Turn an axis that may count from the end into a plain index."""
        rank = len(tensor.shape)
        if not -rank <= axis < rank:
            self.fail(f"axis {axis} is out of range for a bottom of {rank} axes", field_name)
        return axis % rank

    def check_size(self, shape: Sequence[int]) -> None:
        """Refuse a blob of more values than Caffe can count."""
        if prod(shape) >= 2**31:
            self.fail(f"a blob of {format_shape(shape)} has more than 2^31 values")

    def weights(self, *shapes: Sequence[int]) -> list[NDArray[np.float32]]:
        """The layer's blobs; the net's files must have them in just these shapes."""
        self.blobs = tuple(tuple(shape) for shape in shapes)
        assert self.blobs_of is not None
        return self.blobs_of(self, shapes)


def same_shape(layer: Layer, value: str) -> list[Tensor]:
    """The single top of a layer that keeps the shape of its first bottom."""
    return [Tensor(value, layer.bottoms[0].shape)]


def show(tensor: Tensor) -> str:
    """A tensor's shape, for messages."""
    return format_shape(tensor.shape)
