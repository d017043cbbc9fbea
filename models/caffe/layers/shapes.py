"""Layers that only move values about: Concat, Slice, Split, Crop, Reshape, Flatten, Tile, ..."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np

from saferank.models.caffe.builder import GraphBuilder, Tensor
from saferank.models.caffe.layer import Layer, converts, show


def _concat_or_slice_axis(layer: Layer, parameters: str, old: str) -> int:
    """The axis, from its present or its old field (which does not count from the end)."""
    p, x = getattr(layer.proto, parameters), layer.bottoms[0]
    if not p.HasField(old):
        return layer.axis(p.axis, x)
    layer.need(not p.HasField("axis"), f"give axis or {old}, not both", old)
    return layer.axis(getattr(p, old), x, old)


@converts("Concat", shares=lambda layer: len(layer.proto.bottom) == 1)
def concat(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Bottoms side by side along one axis."""
    layer.count(tops=1)
    layer.need(bool(layer.bottoms), "Concat needs a bottom", "name")
    first, names = layer.bottoms[0], list(layer.proto.bottom)
    axis = _concat_or_slice_axis(layer, "concat_param", "concat_dim")
    for name, other in zip(names, layer.bottoms, strict=True):
        layer.need(
            len(other.shape) == len(first.shape)
            and other.shape[:axis] == first.shape[:axis]
            and other.shape[axis + 1 :] == first.shape[axis + 1 :],
            f"bottoms {names[0]} ({show(first)}) and {name} ({show(other)}) must agree "
            f"except on axis {axis}",
            "bottom",
        )
    if len(layer.bottoms) == 1:
        return [first]
    total = sum(bottom.shape[axis] for bottom in layer.bottoms)
    value = graph.op("Concat", *(bottom.value for bottom in layer.bottoms), axis=axis)
    return [Tensor(value, (*first.shape[:axis], total, *first.shape[axis + 1 :]))]


@converts("Slice", shares=lambda layer: len(layer.proto.top) == 1)
def slice_(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """One bottom cut along one axis: at ``slice_point``, or into equal parts."""
    layer.count(bottoms=1)
    x, points = layer.bottoms[0], list(layer.proto.slice_param.slice_point)
    layer.need(layer.tops > 0, "Slice needs a top", "name")
    axis = _concat_or_slice_axis(layer, "slice_param", "slice_dim")
    size = x.shape[axis]
    if points:
        layer.need(
            len(points) == layer.tops - 1,
            f"{layer.tops} tops need {layer.tops - 1} slice points, {len(points)} are given",
            "slice_point",
        )
        edges = [0, *points, size]
        layer.need(
            all(low < high for low, high in pairwise(edges)),
            f"slice points {', '.join(map(str, points))} must increase "
            f"within the {size} of axis {axis}",
            "slice_point",
        )
    else:
        what = "channels" if axis == 1 else f"values of axis {axis}"
        layer.need(
            size % layer.tops == 0,
            f"{size} {what} cannot be divided into {layer.tops} equal parts",
            "top",
        )
        edges = list(range(0, size + 1, size // layer.tops))
    if layer.tops == 1:
        return [x]
    parts = [high - low for low, high in pairwise(edges)]
    sizes = graph.constant(parts, np.int64)
    values = graph.node("Split", x.value, sizes, outputs=layer.tops, axis=axis)
    return [
        Tensor(value, (*x.shape[:axis], part, *x.shape[axis + 1 :]))
        for value, part in zip(values, parts, strict=True)
    ]


@converts("Split", shares=lambda layer: True)
def split(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """One bottom under several names."""
    layer.count(bottoms=1)
    return [layer.bottoms[0]] * layer.tops


@converts("Silence")
def silence(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Reads its bottoms so that they are not outputs of the net."""
    layer.count(tops=0)
    return []


@converts("Flatten", shares=lambda layer: True)
def flatten(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """The axes from ``axis`` to ``end_axis`` as one."""
    x, p = layer.only_bottom(), layer.proto.flatten_param
    start, end = layer.axis(p.axis, x), layer.axis(p.end_axis, x, "end_axis")
    layer.need(start <= end, f"axis {p.axis} is after end_axis {p.end_axis}", "axis")
    middle = prod(x.shape[start : end + 1])
    return [graph.reshape(x, (*x.shape[:start], middle, *x.shape[end + 1 :]))]


@converts("Reshape", shares=lambda layer: True)
def reshape(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """The axes ``axis`` to ``axis + num_axes`` in a new shape: 0 copies a size, -1 is inferred."""
    x, p = layer.only_bottom(), layer.proto.reshape_param
    rank, wanted = len(x.shape), list(p.shape.dim)
    # Negative axes count from after the last one: -1 appends.
    start = p.axis if p.axis >= 0 else rank + p.axis + 1
    layer.need(0 <= start <= rank, f"axis {p.axis} is out of range for {show(x)}", "axis")
    layer.need(p.num_axes >= -1, "num_axes must be at least -1", "num_axes")
    end = rank if p.num_axes == -1 else start + p.num_axes
    layer.need(end <= rank, f"num_axes {p.num_axes} goes past its bottom {show(x)}", "num_axes")
    layer.need(wanted.count(-1) <= 1, "at most one -1 can be inferred", "dim")
    layer.need(all(size >= -1 for size in wanted), "sizes must be at least -1", "dim")
    sizes = []
    for index, size in enumerate(wanted):
        if size == 0:
            # The size at the same place counted from ``axis``, also past the replaced axes.
            layer.need(start + index < rank, f"there is no axis to copy for the {index}. 0", "dim")
            size = x.shape[start + index]
        sizes.append(size)
    shape = [*x.shape[:start], *sizes, *x.shape[end:]]
    failure = f"{x.size} values cannot be reshaped to {'x'.join(map(str, wanted))}"
    if -1 in shape:
        known = prod(size for size in shape if size != -1)
        layer.need(known > 0 and x.size % known == 0, failure, "shape")
        shape[shape.index(-1)] = x.size // known
    layer.need(prod(shape) == x.size, failure, "shape")
    return [graph.reshape(x, shape)]


@converts("Crop")
def crop(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """The first bottom cut to the second's size from ``axis`` on."""
    layer.count(bottoms=2, tops=1)
    (x, like), p = layer.bottoms, layer.proto.crop_param
    axis = layer.axis(p.axis, x)
    rank, offsets = len(x.shape), list(p.offset)
    layer.need(
        len(offsets) <= 1 or len(offsets) == rank - axis,
        f"{len(offsets)} offsets for {rank - axis} axes",
        "offset",
    )
    layer.need(
        len(like.shape) >= rank, f"its second bottom {show(like)} has too few axes", "bottom"
    )
    offsets = offsets * (rank - axis) if len(offsets) == 1 else offsets or [0] * (rank - axis)
    starts, ends, axes, shape = [], [], [], list(x.shape)
    for index, offset in zip(range(axis, rank), offsets, strict=True):
        size = like.shape[index]
        layer.need(
            offset + size <= x.shape[index],
            f"offset {offset} and size {size} go past the {x.shape[index]} of axis {index}",
            "offset",
        )
        shape[index] = size
        if size != x.shape[index]:
            starts.append(offset)
            ends.append(offset + size)
            axes.append(index)
    bounds = [graph.constant(each, np.int64) for each in (starts, ends, axes)]
    value = graph.op("Slice", x.value, *bounds) if axes else graph.op("Identity", x.value)
    return [Tensor(value, tuple(shape))]


@converts("Tile")
def tile(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """The bottom repeated along one axis."""
    x, p = layer.only_bottom(), layer.proto.tile_param
    layer.need(p.HasField("tiles") and p.tiles > 0, "tiles must be positive", "tiles")
    axis = layer.axis(p.axis, x)
    repeats = [p.tiles if index == axis else 1 for index in range(len(x.shape))]
    value = graph.op("Tile", x.value, graph.constant(repeats, np.int64))
    return [Tensor(value, tuple(s * r for s, r in zip(x.shape, repeats, strict=True)))]


@converts("BatchReindex")
def batch_reindex(layer: Layer, graph: GraphBuilder) -> list[Tensor]:
    """Images picked by number: the second bottom holds the numbers, as floats."""
    layer.count(bottoms=2, tops=1)
    x, order = layer.bottoms
    layer.need(
        len(order.shape) == 1, f"its second bottom {show(order)} must have one axis", "bottom"
    )
    rows = graph.op("Cast", order.value, to=7)
    return [Tensor(graph.op("Gather", x.value, rows, axis=0), (*order.shape, *x.shape[1:]))]
