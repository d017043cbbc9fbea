"""Layer types that exist in Caffe and are refused, each with its reason."""

from __future__ import annotations

from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.layer import Layer, converts


@converts("Python")
def python(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Refused: code that is not in the files, and must not be run from them."""
    p = layer.proto.python_param
    layer.refuse(
        f"Python layer {p.module}.{p.layer} cannot be converted: its code is not part of the files",
        "type",
    )


@converts("RNN", "LSTM", "LSTMUnit", "Recurrent")
def recurrent(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Refused: sequences are not images."""
    layer.refuse(f'type "{layer.type}" is for sequences and is not supported', "type")


@converts("Filter")
def filter_(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Refused: the number of images that come out depends on their values."""
    layer.refuse('type "Filter" is not supported: its output size depends on the values', "type")
