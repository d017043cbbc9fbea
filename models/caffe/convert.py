"""From a Caffe network and its weights to an ONNX graph that computes the same."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from saferank.errors import ModelFormatError
from saferank.models.caffe import layers as _registered  # noqa: F401  (fills the registry)
from saferank.models.caffe.binding import Binding
from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.deploy import deployable, input_tops
from saferank.models.caffe.fold import fold_affine_into_convolutions
from saferank.models.caffe.layer import REGISTRY, Layer
from saferank.models.caffe.phases import at_test_phase
from saferank.models.caffe.prototxt import Prototxt
from saferank.models.caffe.upgrade import upgrade
from saferank.models.caffe.weights import Weights
from saferank.models.caffe.wiring import check_wiring


@dataclass(frozen=True)
class LayerFigures:
    """What one layer costs in one forward pass of the shapes converted for.

    Attributes:
        name: the layer's name.
        type: its type.
        shapes: of its tops.
        blobs: shapes of the blobs of weights that it uses.
        multiply_adds: multiply-adds of its matrix products; other work is not counted.
        activation_bytes: float32 memory of its tops; 0 where it writes over its bottom.
    """

    name: str
    type: str
    shapes: tuple[tuple[int, ...], ...]
    blobs: tuple[tuple[int, ...], ...]
    multiply_adds: int
    activation_bytes: int

    @property
    def parameters(self) -> int:
        """Number of weights that it uses."""
        return sum(prod(shape) for shape in self.blobs)


@dataclass(frozen=True)
class Converted:
    """A converted network.

    Attributes:
        model: the ONNX model; inputs and outputs carry Caffe's names behind a prefix.
        inputs: shape of each input by Caffe's name.
        outputs: shape of each output, sorted by name.
        layers: figures of each layer, in file order.
        free_batch: whether any number of images can be run at once.
    """

    model: onnx.ModelProto
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    layers: Sequence[LayerFigures]
    free_batch: bool


class BlobSource(Protocol):
    """Where the blobs of layers come from."""

    def blobs_of(self, layer: Layer, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The layer's blobs, in just these shapes."""

    def check_unused(self, layer: Layer) -> None:
        """Refuse blobs for a layer that has taken none."""


class _Zeros:
    """Blobs of zeros, which take no memory: enough to know shapes."""

    def blobs_of(self, layer: Layer, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        return [np.broadcast_to(np.float32(0), tuple(shape)) for shape in shapes]

    def check_unused(self, layer: Layer) -> None:
        """There is nothing that could be left over."""


@dataclass
class _Memory:
    """What Caffe keeps in one piece of memory; blobs that share it see each other's writes."""

    holds: Tensor


@dataclass(frozen=True)
class _Blob:
    memory: _Memory
    shape: tuple[int, ...]


def convert(
    prototxt: Prototxt,
    weights: Weights,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    blobs: Iterable[str] = (),
) -> Converted:
    """Convert the network at phase TEST, for just the input shapes that it declares.

    Args:
        prototxt: the network.
        weights: its weights.
        shapes: input shapes that win over the declared ones, by blob name.
        blobs: blobs to give out; all outputs of the net when there are none. A blob has the
            value that it has at the end of the pass, as ``net.blobs[name]`` has in pycaffe.

    Raises:
        ModelFormatError: the files are wrong, or do not fit together.
        UnsupportedLayer: a layer cannot be converted faithfully.
    """
    graph = _Converter(prototxt, weights, shapes or {}).build(tuple(blobs))
    return graph.converted(free_batch=False)


def convert_for_any_batch(prototxt: Prototxt, weights: Weights) -> Converted:
    """Convert the network so that the first axis of its inputs is free, where that is possible.

    Whether it is possible is not guessed: the graphs for one and for two images must be the same,
    and give an output for each image. A net for which they differ, or in which images see each
    other, is converted for one image.
    """
    one = _Converter(prototxt, weights, {}, batch=1).build(())
    try:
        two = _Converter(prototxt, weights, {}, batch=2).build(())
    except ModelFormatError:
        return one.converted(free_batch=False)
    per_image = one.is_per_image(1) and two.is_per_image(2)
    return one.converted(free_batch=per_image and one.is_but_for_the_batch(two))


def layer_figures(
    prototxt: Prototxt,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    source: BlobSource | None = None,
) -> Sequence[LayerFigures]:
    """What each layer of the network costs at phase TEST; no weights are needed.

    Args:
        prototxt: the network.
        shapes: input shapes that win over the declared ones, by blob name.
        source: is asked for the blobs of each layer with weights, in file order.

    Raises:
        ModelFormatError: the file is wrong, or does not say how large its input is.
        UnsupportedLayer: a layer cannot be converted faithfully.
    """
    none = Weights("no weights", "", [])
    converter = _Converter(prototxt, none, shapes or {}, source=source or _Zeros())
    return converter.build(()).layers


def input_names(prototxt: Prototxt) -> list[str]:
    """Names of the net's inputs at phase TEST, in file order; data layers give theirs.

    Raises:
        ModelFormatError: the file has no such net.
    """
    return [top for layer in layers_at_test_phase(prototxt) for top in input_tops(layer)]


def layers_at_test_phase(prototxt: Prototxt) -> list[Layer]:
    """The net's layers in file order, those of other phases left out.

    Raises:
        ModelFormatError: the file has no such net.
    """
    net = upgrade(prototxt.message, prototxt.name)
    # Upgrading keeps the order of layers; input fields and padding layers change the number.
    ahead = len(net.layer) - len(prototxt.lines)
    lines = [None] * ahead + list(prototxt.lines) if ahead >= 0 else [None] * len(net.layer)
    layers = [
        Layer(proto, prototxt.name, line) for proto, line in zip(net.layer, lines, strict=True)
    ]
    layers = at_test_phase(layers, net.state, prototxt.name)
    for layer in layers:
        layer.need(bool(layer.type), "has no type", "name")
    return layers


@dataclass(frozen=True)
class _Graph:
    """A built graph and what is known about it."""

    builder: GraphBuilder
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    layers: Sequence[LayerFigures]

    def converted(self, *, free_batch: bool) -> Converted:
        model = self.builder.model(free_batch=free_batch)
        return Converted(model, self.inputs, self.outputs, self.layers, free_batch)

    def is_per_image(self, batch: int) -> bool:
        """Whether each image goes through by itself: all blobs begin with the batch."""
        blobs = (*self.inputs.values(), *self.outputs.values())
        return not self.builder.mixes_images and all(shape[:1] == (batch,) for shape in blobs)

    def is_but_for_the_batch(self, other: _Graph) -> bool:
        """Whether the other graph, for another batch, is the same otherwise."""
        mine, others = ({**graph.inputs, **graph.outputs} for graph in (self, other))
        same_shapes = all(mine[name][1:] == others[name][1:] for name in mine)
        return same_shapes and self.builder == other.builder


class _Converter:
    def __init__(
        self,
        prototxt: Prototxt,
        weights: Weights,
        shapes: Mapping[str, Sequence[int]],
        batch: int | None = None,
        source: BlobSource | None = None,
    ) -> None:
        self.file = prototxt.name
        layers = layers_at_test_phase(prototxt)
        self.layers = deployable(layers, weights, shapes)
        if batch is not None:
            for shape in (s for each in self.layers for s in each.proto.input_param.shape if s.dim):
                shape.dim[0] = batch
        self.outputs = check_wiring(self.layers)
        self.source = source or Binding(weights, self.layers)
        self.blobs: dict[str, _Blob] = {}

    def build(self, wanted: Sequence[str]) -> _Graph:
        graph = GraphBuilder()
        figures = [self._add(layer, graph) for layer in self.layers]
        outputs = {}
        for name in wanted or self.outputs:
            if name not in self.blobs:
                close = difflib.get_close_matches(name, list(self.blobs), n=1)
                hint = f" (is {close[0]!r} meant?)" if close else ""
                raise ModelFormatError(f'{self.file}: no layer produces a blob "{name}"{hint}')
            tensor = self._read(name, graph)
            graph.output(name, tensor)
            outputs[name] = tensor.shape
        fold_affine_into_convolutions(graph)
        return _Graph(graph, graph.inputs(), outputs, figures)

    def _add(self, layer: Layer, graph: GraphBuilder) -> LayerFigures:
        kind = REGISTRY.get(layer.type)
        if kind is None:
            close = difflib.get_close_matches(layer.type, list(REGISTRY), n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            layer.refuse(f'type "{layer.type}" is not supported{hint}', "type")
        graph.within(layer.name)
        layer.bottoms = [self._read(name, graph) for name in layer.proto.bottom]
        layer.blobs_of = self.source.blobs_of
        tops = kind.convert(layer, graph)
        self.source.check_unused(layer)
        _check_counts(layer)
        assert len(tops) == len(layer.proto.top), layer.where()
        shared = kind.shares(layer)
        for name, top in zip(layer.proto.top, tops, strict=True):
            layer.check_size(top.shape)
            self._write(layer, name, top, shared)
        return LayerFigures(
            layer.name,
            layer.type,
            tuple(top.shape for top in tops),
            layer.blobs,
            layer.multiply_adds,
            0 if shared or layer.in_place else sum(4 * top.size for top in tops),
        )

    def _read(self, name: str, graph: GraphBuilder) -> Tensor:
        blob = self.blobs[name]
        return graph.reshape(blob.memory.holds, blob.shape)

    def _write(self, layer: Layer, name: str, top: Tensor, shared: bool) -> None:
        if shared:
            # A new name for old memory: a layer that later works in place on either changes both.
            memory = self.blobs[layer.proto.bottom[0]].memory
        elif layer.in_place and name == layer.proto.bottom[0]:
            memory = self.blobs[name].memory
            memory.holds = top
        else:
            memory = _Memory(top)
        self.blobs[name] = _Blob(memory, top.shape)


def _check_counts(layer: Layer) -> None:
    """Fields that only training uses, but whose number Caffe checks all the same."""
    proto = layer.proto
    for name, given, wanted in (
        ("propagate_down", len(proto.propagate_down), len(proto.bottom)),
        ("loss_weight", len(proto.loss_weight), len(proto.top)),
    ):
        layer.need(given in (0, wanted), f"{name} is given {given} times, not {wanted} times", name)
    layer.need(
        len(proto.param) <= len(layer.blobs),
        f"{len(proto.param)} params are given for {len(layer.blobs)} blobs",
        "param",
    )
