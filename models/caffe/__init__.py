"""Caffe's files: read, check, and convert to ONNX."""

from saferank.models.caffe.convert import (
    BlobSource,
    Converted,
    LayerFigures,
    convert,
    convert_for_any_batch,
    input_names,
    layer_figures,
)
from saferank.models.caffe.prototxt import Prototxt, parse_prototxt, read_prototxt
from saferank.models.caffe.weights import Weights, parse_weights, read_weights

__all__ = [
    "BlobSource",
    "Converted",
    "LayerFigures",
    "Prototxt",
    "Weights",
    "convert",
    "convert_for_any_batch",
    "input_names",
    "layer_figures",
    "parse_prototxt",
    "parse_weights",
    "read_prototxt",
    "read_weights",
]
