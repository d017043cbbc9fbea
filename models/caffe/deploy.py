"""Making a training file deployable: data layers become inputs, losses and metrics go.

Caffe itself runs such files only where their data base is. What a classifier needs of them is
between the data and the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.layer import Layer
from saferank.models.caffe.weights import Weights

_DATA = {"Data", "ImageData", "WindowData", "MemoryData", "HDF5Data"}
_LOSSES_AND_METRICS = {
    "Accuracy",
    "ContrastiveLoss",
    "EuclideanLoss",
    "HDF5Output",
    "HingeLoss",
    "InfogainLoss",
    "MultinomialLogisticLoss",
    "SigmoidCrossEntropyLoss",
    "SoftmaxWithLoss",
}


def deployable(
    layers: Sequence[Layer], weights: Weights, shapes: Mapping[str, Sequence[int]]
) -> list[Layer]:
    """Replace data layers by inputs and drop what needs labels.

    Args:
        layers: the layers at phase TEST.
        weights: of the same net; a data layer's channels are read from the first convolution's.
        shapes: input shapes that are known from elsewhere; they win.

    Raises:
        ModelFormatError: the shape of a data layer's images cannot be found, or a layer that is
            no loss reads labels.
    """
    kept: list[Layer] = []
    # Blobs that do not exist here: labels, losses, and what is computed from nothing else.
    absent: set[str] = set()
    for layer in layers:
        bottoms, tops = list(layer.proto.bottom), list(layer.proto.top)
        if layer.type in _DATA:
            kept.append(_as_input(layer, layers, weights, shapes))
            absent.update(tops[1:])
        elif layer.type in _LOSSES_AND_METRICS:
            absent.update(tops)
            if layer.type == "SoftmaxWithLoss" and len(tops) > 1:
                # Its second top is the softmax that the loss is taken of.
                kept.append(_as_softmax(layer))
                absent.discard(tops[1])
        elif bottoms and absent.issuperset(bottoms):
            absent.update(tops)
        else:
            for name in absent.intersection(bottoms):
                layer.fail(
                    f'bottom "{name}" is a label or a loss, which only training has', "bottom"
                )
            if layer.type == "Input":
                layer = _with_shapes(layer, shapes)
            absent.difference_update(tops)
            kept.append(layer)
    return kept


def input_tops(layer: Layer) -> list[str]:
    """The tops that this layer gives as inputs of the net: images, not labels."""
    if layer.type in _DATA:
        return list(layer.proto.top[:1])
    return list(layer.proto.top) if layer.type == "Input" else []


def _with_shapes(layer: Layer, shapes: Mapping[str, Sequence[int]]) -> Layer:
    tops = list(layer.proto.top)
    if not any(top in shapes for top in tops):
        return layer
    declared = [list(shape.dim) for shape in layer.proto.input_param.shape]
    if len(declared) == 1:
        declared *= len(tops)
    proto = pb.LayerParameter()
    proto.CopyFrom(layer.proto)
    proto.ClearField("input_param")
    for index, top in enumerate(tops):
        if top not in shapes and index >= len(declared):
            layer.fail(f'no input shape is given for "{top}"', "top")
        proto.input_param.shape.add(dim=shapes.get(top) or declared[index])
    return Layer(proto, layer.file, layer.lines)


def _as_input(
    layer: Layer, layers: Sequence[Layer], weights: Weights, shapes: Mapping[str, Sequence[int]]
) -> Layer:
    layer.need(bool(layer.proto.top), f"{layer.type} needs a top", "name")
    top = layer.proto.top[0]
    shape = shapes.get(top) or _declared_shape(layer, layers, weights)
    proto = pb.LayerParameter(name=layer.name, type="Input", top=[top])
    proto.input_param.shape.add(dim=shape)
    return Layer(proto, layer.file, layer.lines)


def _declared_shape(layer: Layer, layers: Sequence[Layer], weights: Weights) -> list[int]:
    proto = layer.proto
    if layer.type == "MemoryData":
        p = proto.memory_data_param
        return [p.batch_size, p.channels, p.height, p.width]
    # The oldest files have the crop in the data's own parameters.
    crop = (
        proto.transform_param.crop_size
        or proto.data_param.crop_size
        or proto.image_data_param.crop_size
        or proto.window_data_param.crop_size
    )
    height = crop or proto.image_data_param.new_height
    width = crop or proto.image_data_param.new_width
    channels = _channels_read_by_first_convolution(proto.top[0], layers, weights)
    if not (height and width and channels):
        layer.fail(
            f"the shape of the images of this {layer.type} layer is not in the file; give the "
            "input shape, or use the net's deploy file",
            "type",
        )
    batch = (
        proto.data_param.batch_size
        or (proto.image_data_param.batch_size if layer.type == "ImageData" else 0)
        or proto.window_data_param.batch_size
        or 1
    )
    return [batch, channels, height, width]


def _channels_read_by_first_convolution(
    top: str, layers: Sequence[Layer], weights: Weights
) -> int | None:
    stored = dict(weights.layers)
    for reader in layers:
        if reader.type == "Convolution" and top in reader.proto.bottom:
            blobs = stored.get(reader.name)
            if blobs:
                shape = blobs[0].shape or blobs[0].legacy_shape or ()
                if len(shape) == 4:
                    return shape[1] * reader.proto.convolution_param.group
    return None


def _as_softmax(layer: Layer) -> Layer:
    proto = pb.LayerParameter(
        name=layer.name, type="Softmax", bottom=layer.proto.bottom[:1], top=layer.proto.top[1:2]
    )
    proto.softmax_param.CopyFrom(layer.proto.softmax_param)
    return Layer(proto, layer.file, layer.lines)
