"""Caffe's layers as functions that JAX can differentiate.

Each gives what Caffe gives at either phase, with Caffe's gradients where a function has none or
several: the gradient of a maximum goes to the first of equals, that of a ReLU at 0 is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.builder import Tensor
from saferank.models.caffe.layer import Layer
from saferank.models.caffe.layers.convolution import window_of
from saferank.models.caffe.layers.pooling import pooling_axes

Blobs = tuple[jax.Array, ...]


@dataclass(frozen=True)
class Pass:
    """What a layer is told of the pass that it is in.

    Attributes:
        training: whether values are dropped and batches normalised by themselves.
        key: makes what is dropped; a layer takes its own from it.
    """

    training: bool
    key: jax.Array


# From the layer, its blobs and its bottoms to its top.
Function = Callable[[Layer, Blobs, Sequence[jax.Array], Pass], jax.Array]


def _only(layer: Layer, condition: bool, reason: str, field: str) -> None:
    """Refuse what Caffe trains and we do not."""
    if not condition:
        layer.refuse(reason, field)


def _convolution(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    (x,) = bottoms
    window = window_of(layer, x.ndim - 2)
    top = lax.conv_general_dilated(
        x,
        blobs[0],
        window.stride,
        [(pad, pad) for pad in window.pad],
        rhs_dilation=window.dilation,
        feature_group_count=layer.proto.convolution_param.group,
    )
    return top + _channels(blobs[1], x) if len(blobs) > 1 else top


def _inner_product(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    given = layer.proto.inner_product_param
    (x,) = bottoms
    axis = given.axis % x.ndim
    matrix = blobs[0] if given.transpose else blobs[0].T
    top = x.reshape(*x.shape[:axis], -1) @ matrix
    return top + blobs[1] if len(blobs) > 1 else top


def _scale(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    given = layer.proto.scale_param
    _only(
        layer,
        len(bottoms) == 1 and given.axis == 1 and given.num_axes == 1,
        "Scale can be trained with one factor a channel only",
        "scale_param",
    )
    (x,) = bottoms
    factor, *bias = (_channels(blob, x) for blob in blobs)
    return x * factor + bias[0] if bias else x * factor


def _relu(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    slope = layer.proto.relu_param.negative_slope
    (x,) = bottoms
    return jnp.where(x > 0, x, slope * x) if slope else jax.nn.relu(x)


def _prelu(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    (x,) = bottoms
    shared = layer.proto.prelu_param.channel_shared
    slope = blobs[0] if shared else _channels(blobs[0], x)
    return jnp.where(x > 0, x, slope * x)


def _pooling(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    (x,) = bottoms
    axes = pooling_axes(layer, Tensor("", x.shape))
    _only(
        layer,
        all(axis.out == axis.filled for axis in axes),
        "a pooling with windows that hold nothing cannot be trained",
        "pooling_param",
    )
    window = (1, 1, *(axis.kernel for axis in axes))
    strides = (1, 1, *(axis.stride for axis in axes))
    padding = ((0, 0), (0, 0), *((axis.pad, axis.pad_end) for axis in axes))
    if layer.proto.pooling_param.pool == pb.PoolingParameter.MAX:
        largest: jax.Array = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)
        return largest
    total: jax.Array = lax.reduce_window(x, 0.0, lax.add, window, strides, padding)
    return total / np.outer(axes[0].divisors, axes[1].divisors).astype(np.float32)


def _lrn(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    given = layer.proto.lrn_param
    _only(
        layer,
        given.norm_region == pb.LRNParameter.ACROSS_CHANNELS and not layer.in_place,
        "LRN can be trained across channels only, with a top of its own",
        "lrn_param",
    )
    (x,) = bottoms
    half = given.local_size // 2
    squares: jax.Array = lax.reduce_window(
        x * x,
        0.0,
        lax.add,
        (1, given.local_size, 1, 1),
        (1, 1, 1, 1),
        ((0, 0), (half, half), (0, 0), (0, 0)),
    )
    return x * (given.k + given.alpha / given.local_size * squares) ** -given.beta


def _dropout(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], state: Pass) -> jax.Array:
    (x,) = bottoms
    if not state.training:
        return x
    kept = 1 - layer.proto.dropout_param.dropout_ratio
    return jnp.where(jax.random.bernoulli(state.key, kept, x.shape), x / kept, 0)


def _eltwise(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    given = layer.proto.eltwise_param
    _only(
        layer,
        given.operation == pb.EltwiseParameter.SUM,
        "Eltwise can be trained as a sum only",
        "operation",
    )
    factors = list(given.coeff) or [1.0] * len(bottoms)
    terms = (x if factor == 1 else factor * x for factor, x in zip(factors, bottoms, strict=True))
    return sum(terms, start=jnp.float32(0))


def _concat(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    return jnp.concatenate(bottoms, axis=layer.proto.concat_param.axis)


def _flatten(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    given = layer.proto.flatten_param
    _only(
        layer,
        (given.axis, given.end_axis) == (1, -1),
        "only a whole image can be flattened",
        "axis",
    )
    (x,) = bottoms
    return x.reshape(x.shape[0], -1)


def _softmax(layer: Layer, blobs: Blobs, bottoms: Sequence[jax.Array], _: Pass) -> jax.Array:
    (x,) = bottoms
    return jax.nn.softmax(x, axis=layer.proto.softmax_param.axis)


FUNCTIONS: Mapping[str, Function] = {
    "Concat": _concat,
    "Convolution": _convolution,
    "Dropout": _dropout,
    "Eltwise": _eltwise,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "PReLU": _prelu,
    "Pooling": _pooling,
    "ReLU": _relu,
    "Scale": _scale,
    "Softmax": _softmax,
}

# Caffe's default; BatchNorm has its own function below, as it also gives new statistics.
_MOVING_AVERAGE = 0.999


def batch_norm(
    layer: Layer, statistics: Blobs, x: jax.Array, *, by_batch: bool
) -> tuple[jax.Array, Blobs]:
    """Normalise each channel.

    Args:
        layer: a BatchNorm.
        statistics: sums of means (C,) and of variances (C,), and their weight (1,).
        x: (N, C, ...).
        by_batch: use the mean and the variance of this batch, and add them to the statistics.

    Returns:
        The normalised blob, and the statistics after the pass.
    """
    given = layer.proto.batch_norm_param
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    means, variances, weight = statistics
    if by_batch:
        mean = x.mean(axes)
        variance = jnp.square(x - _channels(mean, x)).mean(axes)
        count = x.size // x.shape[1]
        decay = (
            given.moving_average_fraction
            if given.HasField("moving_average_fraction")
            else _MOVING_AVERAGE
        )
        unbiased = variance * (count / (count - 1) if count > 1 else 1)
        seen = lax.stop_gradient((mean, unbiased, jnp.ones(1, jnp.float32)))
        statistics = tuple(old * decay + new for old, new in zip(statistics, seen, strict=True))
    else:
        # A weight of 0 means that nothing was seen.
        inverse = jnp.where(weight == 0, 0, 1 / jnp.where(weight == 0, 1, weight))
        mean, variance = means * inverse, variances * inverse
    deviation = jnp.sqrt(variance + given.eps)
    return (x - _channels(mean, x)) / _channels(deviation, x), statistics


def _channels(values: jax.Array, x: jax.Array) -> jax.Array:
    """One value a channel, so that it broadcasts over ``x``."""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))
