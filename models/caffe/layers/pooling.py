"""Pooling and SPP."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.layer import Layer, converts, show

_MAX, _AVERAGE = pb.PoolingParameter.MAX, pb.PoolingParameter.AVE
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class PoolingAxis:
    """Pooling along one axis.

    Attributes:
        size: pixels.
        kernel: pixels of a window.
        stride: pixels from one window to the next.
        pad: pixels before the first, and after the last.
        out: number of windows.
    """

    size: int
    kernel: int
    stride: int
    pad: int
    out: int

    @property
    def filled(self) -> int:
        """How many windows hold at least a pixel or padding; those after them are empty."""
        return min(self.out, -(-(self.size + self.pad) // self.stride))

    @property
    def pad_end(self) -> int:
        """Padding after the end that makes room for the filled windows."""
        return max((self.filled - 1) * self.stride + self.kernel - self.size - self.pad, 0)

    @property
    def divisors(self) -> list[int]:
        """By how much Caffe divides the sum in each window.

        The window is cut at the end of the padding, not of the image: padding counts, what lies
        beyond it does not. An empty window has 0, or less where it starts further out.
        """
        starts = [index * self.stride - self.pad for index in range(self.out)]
        return [min(start + self.kernel, self.size + self.pad) - start for start in starts]


Axes = tuple[PoolingAxis, PoolingAxis]


def _pooled(size: int, kernel: int, stride: int, pad: int, any_pad: bool, floor: bool) -> int:
    """Output size along one axis: rounded up unless ``round_mode: FLOOR``."""
    room = size + 2 * pad - kernel
    out = (room // stride if floor else -(-room // stride)) + 1
    # A last window that would start in the end padding is dropped, but only if the layer pads (on
    # either axis): without padding, windows beyond the image stay, and are empty.
    if any_pad and (out - 1) * stride >= size + pad:
        out -= 1
    return out


def _pair(layer: Layer, name: str, short: str, default: int | None) -> tuple[int, int]:
    """Read kernel_size or kernel_h and kernel_w (stride and pad likewise); never one of the two."""
    p = layer.proto.pooling_param
    height, width = f"{short}_h", f"{short}_w"
    given = [p.HasField(each) for each in (height, width)]
    if any(given):
        layer.need(all(given), f"{height} and {width} must be given together", height)
        layer.need(not p.HasField(name), f"give {name} or {height} and {width}, not both", name)
        return getattr(p, height), getattr(p, width)
    if p.HasField(name):
        return getattr(p, name), getattr(p, name)
    if default is None:
        layer.fail(f"give {name}, or {height} and {width}", "pooling_param")
    return default, default


def pooling_axes(layer: Layer, x: Tensor) -> Axes:
    """Where the windows of a pooling layer stand, along the height and along the width.

    Raises:
        ModelFormatError: the layer's fields contradict each other, or do not fit its bottom.
    """
    p = layer.proto.pooling_param
    height, width = x.shape[2:]
    stride, pad = _pair(layer, "stride", "stride", 1), _pair(layer, "pad", "pad", 0)
    if p.global_pooling:
        given = p.HasField("kernel_size") or p.HasField("kernel_h") or p.HasField("kernel_w")
        layer.need(not given, "global_pooling takes no kernel size", "kernel_size")
        layer.need(
            pad == (0, 0) and stride == (1, 1),
            "global_pooling takes pad 0 and stride 1 only",
            "global_pooling",
        )
        kernel = height, width
    else:
        kernel = _pair(layer, "kernel_size", "kernel", None)
    layer.need(min(kernel) > 0, "kernel_size must be positive", "kernel_size")
    layer.need(min(stride) > 0, "stride must be positive", "stride")
    for k, each in zip(kernel, pad, strict=True):
        layer.need(each < k, f"pad {each} must be smaller than kernel {k}", "pad")
    floor = p.round_mode == pb.PoolingParameter.FLOOR
    axes = tuple(
        PoolingAxis(size, k, s, each, _pooled(size, k, s, each, any(pad), floor))
        for size, k, s, each in zip((height, width), kernel, stride, pad, strict=True)
    )
    layer.need(
        min(axis.out for axis in axes) > 0,
        f"kernel {'x'.join(map(str, kernel))} does not fit its bottom {show(x)}: no output",
        "kernel_size",
    )
    layer.check_size((*x.shape[:2], axes[0].out, axes[1].out))
    return axes[0], axes[1]


def _pool(graph: GraphBuilder, x: Tensor, axes: Axes, method: int) -> str:
    """Add the nodes of one pooling.

    The end padding is written out with ``ceil_mode`` 0: onnxruntime up to 1.20 rounds up wrongly.
    """
    if method == _MAX:
        # The maximum of nothing is the value Caffe starts from.
        return _with_empty(graph, graph.op("MaxPool", x.value, **_attributes(axes)), axes, _LOWEST)
    value = graph.op("AveragePool", x.value, count_include_pad=1, **_attributes(axes))
    value = _with_empty(graph, value, axes, 0)
    whole = prod(axis.kernel for axis in axes)
    with np.errstate(divide="ignore"):
        # An empty window becomes 0 times infinity, which is NaN as Caffe's 0 / 0 is.
        correction = whole / np.outer(axes[0].divisors, axes[1].divisors)
    if (correction != 1).any():
        value = graph.op("Mul", value, graph.constant(correction))
    return value


def _positions(graph: GraphBuilder, x: Tensor, axes: Axes) -> str:
    """Where each maximum was. ONNX counts through the whole blob, Caffe within the plane."""
    _, position = graph.node("MaxPool", x.value, outputs=2, **_attributes(axes))
    plane = graph.constant(axes[0].size * axes[1].size, np.int64)
    position = graph.op("Cast", graph.op("Mod", position, plane), to=1)
    return _with_empty(graph, position, axes, -1)


def _attributes(axes: Axes) -> dict[str, list[int]]:
    return {
        "kernel_shape": [axis.kernel for axis in axes],
        "strides": [axis.stride for axis in axes],
        "pads": [*(axis.pad for axis in axes), *(axis.pad_end for axis in axes)],
    }


def _with_empty(graph: GraphBuilder, value: str, axes: Axes, empty: float) -> str:
    """Add the empty windows at the end, if there are any."""
    missing = [axis.out - axis.filled for axis in axes]
    if not any(missing):
        return value
    pads = graph.constant([0, 0, 0, 0, 0, 0, *missing], np.int64)
    return graph.op("Pad", value, pads, graph.constant(empty))


@converts("Pooling")
def pooling(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Maximum or mean over windows; a second top of MAX is where the maximum was."""
    layer.count(bottoms=1)
    x, method = layer.bottoms[0], layer.proto.pooling_param.pool
    layer.need(len(x.shape) == 4, f"Pooling needs a bottom of 4 axes, it is {show(x)}", "bottom")
    axes = pooling_axes(layer, x)
    if method == pb.PoolingParameter.STOCHASTIC:
        layer.refuse(
            "STOCHASTIC pooling runs on Caffe's GPU code only and is not supported", "pool"
        )
    layer.count(tops=2 if method == _MAX and layer.tops == 2 else 1)
    shape = (*x.shape[:2], *(axis.out for axis in axes))
    tops = [Tensor(_pool(graph, x, axes, method), shape)]
    if layer.tops == 2:
        tops.append(Tensor(_positions(graph, x, axes), shape))
    return tops


@converts("SPP")
def spatial_pyramid(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Poolings over 1, 4, 16, ... equal parts, flattened side by side."""
    x, p = layer.only_bottom(), layer.proto.spp_param
    layer.need(len(x.shape) == 4, f"SPP needs a bottom of 4 axes, it is {show(x)}", "bottom")
    layer.need(p.pyramid_height > 0, "pyramid_height must be positive", "pyramid_height")
    if p.pool == pb.SPPParameter.STOCHASTIC:
        layer.refuse(
            "STOCHASTIC pooling runs on Caffe's GPU code only and is not supported", "pool"
        )
    levels = []
    for level in range(p.pyramid_height):
        parts = 2**level
        kernel = [-(-size // parts) for size in x.shape[2:]]
        # Padding is split evenly, the odd pixel at both ends.
        pad = [(k * parts - size + 1) // 2 for k, size in zip(kernel, x.shape[2:], strict=True)]
        for k, each in zip(kernel, pad, strict=True):
            layer.need(
                each < k,
                f"its bottom {show(x)} is too small for a pyramid of height {p.pyramid_height}",
                "pyramid_height",
            )
        first, second = (
            PoolingAxis(size, k, k, each, _pooled(size, k, k, each, any(pad), floor=False))
            for size, k, each in zip(x.shape[2:], kernel, pad, strict=True)
        )
        shape = (*x.shape[:2], first.out, second.out)
        levels.append(Tensor(_pool(graph, x, (first, second), p.pool), shape))
    if len(levels) == 1:
        return levels  # a pyramid of one level is not flattened
    flat = [graph.reshape(level, (level.shape[0], prod(level.shape[1:]))) for level in levels]
    value = graph.op("Concat", *(level.value for level in flat), axis=1)
    return [Tensor(value, (x.shape[0], sum(level.shape[1] for level in flat)))]
