"""Convolution, Deconvolution, InnerProduct, Embed, Im2col: the layers that multiply matrices."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.layer import Layer, converts, show


@dataclass(frozen=True)
class Window:
    """Kernel, stride, pad and dilation, one number a spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Pixels from the kernel's first to its last tap."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))


def window_of(layer: Layer, axes: int) -> Window:
    """The window of a convolution over some spatial axes, from whichever fields it is given in.

    Raises:
        ModelFormatError: the fields contradict each other, or are missing.
    """
    p = layer.proto.convolution_param

    def read(name: str, short: str, default: int | None) -> tuple[int, ...]:
        repeated = list(getattr(p, name))
        height, width = f"{short}_h", f"{short}_w"
        if short and (p.HasField(height) or p.HasField(width)):
            layer.need(axes == 2, f"{height} and {width} are for two spatial axes only", height)
            layer.need(not repeated, f"give {name} or {height} and {width}, not both", name)
            # One of the two alone leaves the other at its default.
            sizes = [
                getattr(p, each) if p.HasField(each) else (default or 0) for each in (height, width)
            ]
        elif not repeated:
            layer.need(default is not None, f"{name} is not given", "convolution_param")
            sizes = [default or 0] * axes
        elif len(repeated) == 1:
            sizes = repeated * axes
        else:
            layer.need(
                len(repeated) == axes,
                f"{name} is given {len(repeated)} times for {axes} spatial axes",
                name,
            )
            sizes = repeated
        return tuple(sizes)

    window = Window(
        read("kernel_size", "kernel", None),
        read("stride", "stride", 1),
        read("pad", "pad", 0),
        read("dilation", "", 1),
    )
    layer.need(all(window.kernel), "kernel_size must be positive", "kernel_size")
    layer.need(all(window.stride), "stride must be positive", "stride")
    layer.need(all(window.dilation), "dilation must be positive", "dilation")
    return window


def _convolved(size: int, kernel_extent: int, stride: int, pad: int) -> int:
    """Output size of a convolution along one axis.

    The division is C++'s, which cuts towards zero: (5 - 6) / 2 + 1 is 1, not 0.
    """
    room = size + 2 * pad - kernel_extent
    return (room // stride if room >= 0 else -(-room // stride)) + 1


def _channels(layer: Layer, x: Tensor) -> tuple[int, int, int]:
    """The axis of channels, their number, and the group, checked."""
    p = layer.proto.convolution_param
    axis = layer.axis(p.axis, x)
    axes = len(x.shape) - axis - 1
    if axes < 1 or axes > 3:
        layer.refuse(f"{layer.type} over {axes} spatial axes cannot be converted", "axis")
    channels = x.shape[axis]
    layer.need(p.num_output > 0, "num_output must be positive", "num_output")
    layer.need(p.group > 0, "group must be positive", "group")
    layer.need(
        channels % p.group == 0,
        f"its bottom has {channels} channels, not a multiple of group {p.group}",
        "group",
    )
    layer.need(
        p.num_output % p.group == 0,
        f"num_output {p.num_output} is not a multiple of group {p.group}",
        "group",
    )
    return axis, channels, p.group


def _each_bottom_alike(layer: Layer) -> Tensor:
    layer.need(bool(layer.bottoms), f"{layer.type} needs a bottom", "name")
    layer.need(
        len(layer.bottoms) == layer.tops,
        f"{layer.type} gives one top for each bottom: "
        f"{len(layer.bottoms)} bottoms, {layer.tops} tops",
        "top",
    )
    first = layer.bottoms[0]
    for other in layer.bottoms[1:]:
        layer.need(
            other.shape == first.shape,
            f"its bottoms must have one shape, they are {show(first)} and {show(other)}",
            "bottom",
        )
    return first


def _filter_each(
    layer: Layer,
    graph: GraphBuilder,
    axis: int,
    out: tuple[int, ...],
    op: str,
    names: list[str],
    attributes: dict[str, object],
) -> list[Tensor]:
    """Apply one filter bank to each bottom, whose axes before ``axis`` all count images."""
    tops = []
    for x in layer.bottoms:
        lead, rest = x.shape[:axis], x.shape[axis:]
        images = graph.reshape(x, (prod(lead), *rest))
        value = graph.op(op, images.value, *names, **attributes)
        tops.append(graph.reshape(Tensor(value, (prod(lead), *out)), (*lead, *out)))
    return tops


@converts("Convolution")
def convolution(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Cross-correlation, each bottom with the same filters."""
    x, p = _each_bottom_alike(layer), layer.proto.convolution_param
    axis, channels, group = _channels(layer, x)
    sizes = x.shape[axis + 1 :]
    window = window_of(layer, len(sizes))
    out = tuple(
        _convolved(*each)
        for each in zip(sizes, window.extent, window.stride, window.pad, strict=True)
    )
    layer.need(
        min(out) > 0,
        f"kernel {'x'.join(map(str, window.kernel))} does not fit its bottom {show(x)}: no output",
        "kernel_size",
    )
    shape = (p.num_output, channels // group, *window.kernel)
    blobs = layer.weights(*((shape, (p.num_output,)) if p.bias_term else (shape,)))
    layer.multiply_adds = len(layer.bottoms) * prod(x.shape[:axis]) * prod(out) * prod(shape)
    # A kernel that stands over the far edge reads zeros there.
    over = [
        max((o - 1) * s + e - size - pad, pad)
        for o, s, e, size, pad in zip(
            out, window.stride, window.extent, sizes, window.pad, strict=True
        )
    ]
    return _filter_each(
        layer,
        graph,
        axis,
        (p.num_output, *out),
        "Conv",
        [graph.constant(blob) for blob in blobs],
        {
            "kernel_shape": window.kernel,
            "strides": window.stride,
            "dilations": window.dilation,
            "pads": [*window.pad, *over],
            "group": group,
        },
    )


@converts("Deconvolution")
def deconvolution(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """The transpose of a convolution; its weights are (in, out / group, kernel...)."""
    x, p = _each_bottom_alike(layer), layer.proto.convolution_param
    axis, channels, group = _channels(layer, x)
    sizes = x.shape[axis + 1 :]
    window = window_of(layer, len(sizes))
    out = tuple(
        s * (size - 1) + e - 2 * pad
        for size, e, s, pad in zip(sizes, window.extent, window.stride, window.pad, strict=True)
    )
    layer.need(min(out) > 0, f"the padding leaves no output of its bottom {show(x)}", "pad")
    shape = (channels, p.num_output // group, *window.kernel)
    blobs = layer.weights(*((shape, (p.num_output,)) if p.bias_term else (shape,)))
    layer.multiply_adds = len(layer.bottoms) * prod(x.shape[:axis]) * prod(sizes) * prod(shape)
    return _filter_each(
        layer,
        graph,
        axis,
        (p.num_output, *out),
        "ConvTranspose",
        [graph.constant(blob) for blob in blobs],
        {
            "kernel_shape": window.kernel,
            "strides": window.stride,
            "dilations": window.dilation,
            "pads": [*window.pad, *window.pad],
            "group": group,
        },
    )


@converts("Im2col")
def im2col(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Each window of the image as a column: channels become channels x kernel."""
    x = layer.only_bottom()
    axis = layer.axis(layer.proto.convolution_param.axis, x)
    sizes = x.shape[axis + 1 :]
    if not 1 <= len(sizes) <= 3:
        layer.refuse(f"Im2col over {len(sizes)} spatial axes cannot be converted", "axis")
    window = window_of(layer, len(sizes))
    out = tuple(
        _convolved(*each)
        for each in zip(sizes, window.extent, window.stride, window.pad, strict=True)
    )
    layer.need(min(out) > 0, f"the kernel does not fit its bottom {show(x)}: no output")
    channels, taps = x.shape[axis], prod(window.kernel)
    if channels * taps**2 > 2**24:
        layer.refuse(f"Im2col with {taps} taps over {channels} channels is too large", "type")
    # As a grouped convolution with one filter a tap.
    taps_of_one = np.eye(taps, dtype=np.float32).reshape(taps, 1, *window.kernel)
    weight = np.tile(taps_of_one, (channels, 1, *(1,) * len(sizes)))
    over = [
        max((o - 1) * s + e - size - pad, pad)
        for o, s, e, size, pad in zip(
            out, window.stride, window.extent, sizes, window.pad, strict=True
        )
    ]
    attributes = {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "dilations": window.dilation,
        "pads": [*window.pad, *over],
        "group": channels,
    }
    names = [graph.constant(weight)]
    return _filter_each(layer, graph, axis, (channels * taps, *out), "Conv", names, attributes)


@converts("InnerProduct")
def inner_product(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """A matrix product over the axes from ``axis`` on, flattened."""
    x, p = layer.only_bottom(), layer.proto.inner_product_param
    axis = layer.axis(p.axis, x)
    layer.need(p.num_output > 0, "num_output must be positive", "num_output")
    rows, inputs, outputs = prod(x.shape[:axis]), prod(x.shape[axis:]), p.num_output
    shape = (inputs, outputs) if p.transpose else (outputs, inputs)
    blobs = layer.weights(*((shape, (outputs,)) if p.bias_term else (shape,)))
    layer.multiply_adds = rows * inputs * outputs
    value = graph.op(
        "Gemm",
        graph.reshape(x, (rows, inputs)).value,
        *(graph.constant(blob) for blob in blobs),
        transB=int(not p.transpose),
    )
    return [graph.reshape(Tensor(value, (rows, outputs)), (*x.shape[:axis], outputs))]


@converts("Embed")
def embed(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """A row of the weights for each value, which is a row's number written as a float."""
    x, p = layer.only_bottom(), layer.proto.embed_param
    layer.need(p.num_output > 0, "num_output must be positive", "num_output")
    layer.need(p.input_dim > 0, "input_dim must be positive", "input_dim")
    shape = (p.input_dim, p.num_output)
    blobs = layer.weights(*((shape, (p.num_output,)) if p.bias_term else (shape,)))
    rows = graph.op("Cast", x.value, to=7)
    value = graph.op("Gather", graph.constant(blobs[0]), rows, axis=0)
    if p.bias_term:
        value = graph.op("Add", value, graph.constant(blobs[1]))
    return [Tensor(value, (*x.shape, p.num_output))]
