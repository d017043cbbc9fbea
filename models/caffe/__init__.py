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
from saferank.models.caffe.ending import Ending, ending_of
from saferank.models.caffe.prototxt import Prototxt, parse_prototxt, read_prototxt
from saferank.models.caffe.weights import Weights, format_shape, parse_weights, read_weights

__all__ = [
    "BlobSource",
    "Converted",
    "Ending",
    "LayerFigures",
    "Prototxt",
    "Weights",
    "convert",
    "convert_for_any_batch",
    "ending_of",
    "format_shape",
    "input_names",
    "layer_figures",
    "parse_prototxt",
    "parse_weights",
    "read_prototxt",
    "read_weights",
]
