"""What a net costs: parameters, multiply-adds, memory; without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from google.protobuf import text_format

from saferank.models.builder.nets import ALIASES, NETS, deploy_net, find_net
from saferank.models.caffe import (
    LayerFigures,
    Prototxt,
    layer_figures,
    parse_prototxt,
    read_prototxt,
)
from saferank.models.caffe import caffe_pb2 as pb


@dataclass(frozen=True)
class Cost:
    """What one forward pass of a net costs, for the input that its file declares.

    Attributes:
        name: of the net.
        layers: figures of each layer, in file order.
    """

    name: str
    layers: Sequence[LayerFigures]

    @property
    def parameters(self) -> int:
        """Number of weights in all blobs: biases and statistics, too."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all matrix products; other work is not counted."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """float32 memory of all tops that do not overwrite a bottom."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def published_parameters(self) -> int:
        """Parameters as pynetbuilder counts them: the first blob of each layer, so no biases."""
        return sum(map(_first_blob, self.layers))

    @property
    def published_multiply_adds(self) -> int:
        """Multiply-adds as pynetbuilder counts them.

        Each weight of a convolution once an output pixel, each weight of another layer once: a
        normalisation's too, although it is used for every pixel.
        """
        return sum(
            _first_blob(layer) * (prod(layer.shapes[0][2:]) if layer.type == "Convolution" else 1)
            for layer in self.layers
        )


def _first_blob(layer: LayerFigures) -> int:
    return prod(layer.blobs[0]) if layer.blobs else 0


def cost_of(name_or_path: str, *, shapes: Mapping[str, Sequence[int]] | None = None) -> Cost:
    """Count a net that can be built, or that a prototxt describes.

    Args:
        name_or_path: a name in ``NETS``, or the path of a prototxt.
        shapes: input shapes that win over the declared ones, by blob name.

    Raises:
        ConfigurationError: there is no such net, and no such file.
        ModelError: the file is wrong, or has a layer that cannot be counted.
    """
    if name_or_path in NETS or name_or_path in ALIASES or not Path(name_or_path).exists():
        net = find_net(name_or_path)
        prototxt = as_prototxt(deploy_net(net))
    else:
        prototxt = read_prototxt(Path(name_or_path))
    return Cost(prototxt.message.name or prototxt.name, layer_figures(prototxt, shapes=shapes))


def as_prototxt(message: pb.NetParameter) -> Prototxt:
    """The net as if it had been read from a file."""
    return parse_prototxt(text_format.MessageToString(message).encode(), f"{message.name}.prototxt")
