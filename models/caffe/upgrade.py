"""Bringing older network files to the current form.

V0 to V1, V1 to current, and the net's own input fields to an Input layer.

Weights files go through the same steps, because they are networks with blobs in them.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from saferank.errors import ModelFormatError
from saferank.models.caffe import caffe_pb2 as pb

_Message = TypeVar("_Message", bound=Message)

# V1 wrote types as an enum; what does not follow CAPS_WITH_UNDERSCORES -> CapsWithUnderscores.
_V1_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "NONE": "",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}

_V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

# V0 kept every parameter in the layer itself: (type, old field) -> (message, new field).
_V0_FIELDS = {
    ("conv", "num_output"): ("convolution_param", "num_output"),
    ("conv", "biasterm"): ("convolution_param", "bias_term"),
    ("conv", "pad"): ("convolution_param", "pad"),
    ("conv", "kernelsize"): ("convolution_param", "kernel_size"),
    ("conv", "group"): ("convolution_param", "group"),
    ("conv", "stride"): ("convolution_param", "stride"),
    ("innerproduct", "num_output"): ("inner_product_param", "num_output"),
    ("innerproduct", "biasterm"): ("inner_product_param", "bias_term"),
    ("pool", "pad"): ("pooling_param", "pad"),
    ("pool", "kernelsize"): ("pooling_param", "kernel_size"),
    ("pool", "stride"): ("pooling_param", "stride"),
    ("pool", "pool"): ("pooling_param", "pool"),
    ("dropout", "dropout_ratio"): ("dropout_param", "dropout_ratio"),
    ("lrn", "local_size"): ("lrn_param", "local_size"),
    ("lrn", "alpha"): ("lrn_param", "alpha"),
    ("lrn", "beta"): ("lrn_param", "beta"),
    ("lrn", "k"): ("lrn_param", "k"),
    ("concat", "concat_dim"): ("concat_param", "concat_dim"),
    ("data", "batchsize"): ("data_param", "batch_size"),
    ("data", "cropsize"): ("transform_param", "crop_size"),
    ("images", "batchsize"): ("image_data_param", "batch_size"),
    ("images", "cropsize"): ("transform_param", "crop_size"),
    ("images", "new_height"): ("image_data_param", "new_height"),
    ("images", "new_width"): ("image_data_param", "new_width"),
    ("window_data", "batchsize"): ("window_data_param", "batch_size"),
    ("window_data", "cropsize"): ("transform_param", "crop_size"),
}


def upgrade(net: pb.NetParameter, name: str) -> pb.NetParameter:
    """Give the network in the current form: only ``layer`` entries, inputs as ``Input`` layers.

    The order of layers stays, except that an ``Input`` layer made of input fields comes first.

    Raises:
        ModelFormatError: the old form says something that has no meaning in the current one.
    """
    upgraded = pb.NetParameter()
    upgraded.CopyFrom(net)
    if any(layer.HasField("layer") for layer in upgraded.layers):
        _upgrade_v0(upgraded, name)
    for old in upgraded.layers:
        _upgrade_v1(old, upgraded.layer.add())
    del upgraded.layers[:]
    _upgrade_inputs(upgraded, name)
    for layer in upgraded.layer:
        # BatchNorm's blobs once were parameters; what old files say about the three is forgotten.
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            layer.ClearField("param")
    return upgraded


def _upgrade_v0(net: pb.NetParameter, name: str) -> None:
    _fold_padding_layers(net, name)
    for layer in net.layers:
        if layer.HasField("layer"):
            _upgrade_v0_layer(layer, name)


def _upgrade_v0_layer(layer: pb.V1LayerParameter, name: str) -> None:
    old = layer.layer
    if old.type not in _V0_TYPES:
        raise ModelFormatError(f'{name}: layer "{old.name}": unknown V0 type "{old.type}"')
    layer.name = old.name
    layer.type = getattr(pb.V1LayerParameter, _V0_TYPES[old.type])
    layer.blobs.extend(old.blobs)
    layer.blobs_lr.extend(old.blobs_lr)
    layer.weight_decay.extend(old.weight_decay)
    for (kind, old_field), (message, field) in _V0_FIELDS.items():
        if kind == old.type and old.HasField(old_field):
            parameters = getattr(layer, message)
            value = getattr(old, old_field)
            if parameters.DESCRIPTOR.fields_by_name[field].is_repeated:
                getattr(parameters, field).append(value)
            else:
                setattr(parameters, field, value)
    layer.ClearField("layer")


def _fold_padding_layers(net: pb.NetParameter, name: str) -> None:
    """V0 padded by a layer of its own, which the convolution or pooling after it takes over."""
    padded: dict[str, pb.V1LayerParameter] = {}
    kept = []
    for layer in net.layers:
        kind = layer.layer.type
        for index, bottom in enumerate(layer.bottom):
            padding = padded.get(bottom)
            if padding is None:
                continue
            if kind not in ("conv", "pool") or len(layer.bottom) != 1:
                raise ModelFormatError(
                    f'{name}: layer "{layer.layer.name}": only a convolution or a pooling with '
                    f'one bottom can follow the padding layer "{padding.layer.name}"'
                )
            layer.layer.pad = padding.layer.pad
            layer.bottom[index] = padding.bottom[0]
        for top in layer.top:
            padded.pop(top, None)
        if kind == "padding":
            if len(layer.bottom) != 1 or len(layer.top) != 1:
                raise ModelFormatError(
                    f'{name}: layer "{layer.layer.name}": padding takes one bottom and one top'
                )
            padded[layer.top[0]] = layer
        else:
            kept.append(layer)
    copies = [_copy(layer) for layer in kept]
    del net.layers[:]
    net.layers.extend(copies)


def _upgrade_v1(old: pb.V1LayerParameter, new: pb.LayerParameter) -> None:
    enum_name = pb.V1LayerParameter.LayerType.Name(old.type)
    camel = "".join(word.capitalize() for word in enum_name.split("_"))
    new.name, new.type = old.name, _V1_NAMES.get(enum_name, camel)
    for field, value in old.ListFields():
        if field.name in ("bottom", "top", "include", "exclude", "blobs", "loss_weight"):
            getattr(new, field.name).extend(value)
        elif field.name.endswith("_param"):
            getattr(new, field.name).CopyFrom(value)
    specs = max(len(old.param), len(old.blob_share_mode), len(old.blobs_lr), len(old.weight_decay))
    for index in range(specs):
        spec = new.param.add()
        if index < len(old.param):
            spec.name = old.param[index]
        if index < len(old.blob_share_mode):
            name = pb.V1LayerParameter.DimCheckMode.Name(old.blob_share_mode[index])
            spec.share_mode = getattr(pb.ParamSpec, name)


def _upgrade_inputs(net: pb.NetParameter, name: str) -> None:
    """Turn the net's own ``input`` fields into an ``Input`` layer, placed first."""
    shapes = [list(shape.dim) for shape in net.input_shape]
    dims = list(net.input_dim)
    if not shapes and dims:
        if len(dims) != 4 * len(net.input):
            raise ModelFormatError(
                f"{name}: {len(dims)} input_dim are given, not four for each of the inputs "
                f"({', '.join(net.input)})"
            )
        shapes = [dims[start : start + 4] for start in range(0, len(dims), 4)]
    if shapes and len(shapes) != len(net.input):
        raise ModelFormatError(
            f"{name}: {len(shapes)} input_shape are given, not one for each of the inputs "
            f"({', '.join(net.input)})"
        )
    if net.input:
        first = pb.LayerParameter(name="input", type="Input", top=net.input)
        for shape in shapes:
            first.input_param.shape.add(dim=shape)
        others = [_copy(layer) for layer in net.layer]
        del net.layer[:]
        net.layer.extend([first, *others])
    for legacy in ("input", "input_shape", "input_dim"):
        net.ClearField(legacy)


def _copy(message: _Message) -> _Message:
    """A copy that lives on when the list that the message is in is emptied."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
