"""Conversion of each layer type, by family; importing this package fills the registry."""

from saferank.models.caffe.layers import (
    activations,
    convolution,
    elementwise,
    normalisation,
    pooling,
    reduction,
    shapes,
    sources,
    unsupported,
)

__all__ = [
    "activations",
    "convolution",
    "elementwise",
    "normalisation",
    "pooling",
    "reduction",
    "shapes",
    "sources",
    "unsupported",
]
