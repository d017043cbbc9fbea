"""From the net that there is to the one that is trained, and to the files of a new model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tomli_w
from google.protobuf import text_format

from saferank.errors import ModelFormatError, SaferankError
from saferank.models.caffe import Prototxt, parse_prototxt
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.upgrade import upgrade
from saferank.models.caffe.weights import add_blobs
from saferank.models.description import Files, ModelDescription, Output
from saferank.models.training.network import Parameters


@dataclass(frozen=True)
class Anew:
    """A last layer that starts anew.

    Attributes:
        classes: how many values it gives.
        suffix: makes its name differ from that of the layer that was there.
        rate: its rate in multiples of the base rate; its bias learns twice as fast.
    """

    classes: int
    suffix: str
    rate: float = 5.0


def with_last_layer(prototxt: Prototxt, anew: Anew) -> Prototxt:
    """Put a new last layer in the place of the old one.

    Args:
        prototxt: a net for deployment that ends in a softmax.
        anew: what comes in its place.

    Raises:
        ModelFormatError: the net does not end so.
    """
    net = upgrade(prototxt.message, prototxt.name)
    last = _last_layer(net, prototxt.name)
    last.name = f"{last.name}_{anew.suffix}"
    given = last.inner_product_param if last.type == "InnerProduct" else last.convolution_param
    given.num_output = anew.classes
    if not given.HasField("weight_filler"):
        given.weight_filler.type = "xavier"
    del last.param[:]
    last.param.add(lr_mult=anew.rate, decay_mult=1)
    last.param.add(lr_mult=2 * anew.rate, decay_mult=0)
    return parse_prototxt(text_format.MessageToString(net).encode(), prototxt.name)


def _last_layer(net: pb.NetParameter, file: str) -> pb.LayerParameter:
    softmax = next((each for each in reversed(net.layer) if each.type == "Softmax"), None)
    weighted = [
        each
        for each in net.layer
        if softmax is not None
        and each.type in ("InnerProduct", "Convolution")
        and each.top[0] == softmax.bottom[0]
    ]
    if not weighted:
        raise ModelFormatError(
            f"{file}: the net does not end in an InnerProduct or a Convolution and a Softmax, so "
            "there is no last layer to put another in the place of"
        )
    return weighted[-1]


def write_model(
    folder: Path,
    *,
    name: str,
    prototxt: Prototxt,
    blobs: Parameters,
    source: ModelDescription,
    classes: tuple[str, ...],
    positive: str,
) -> Path:
    """Write ``deploy.prototxt``, ``weights.caffemodel`` and ``model.toml``.

    Args:
        folder: to write to.
        name: of the model.
        prototxt: the net.
        blobs: of every layer that has any.
        source: the model that it comes from; it gives the input and the output's blob.
        classes: in the order of the output.
        positive: the class whose probability is stored.

    Returns:
        The path of the description.

    Raises:
        SaferankError: a file cannot be written.
    """
    types = {layer.name: layer.type for layer in prototxt.message.layer}
    message = pb.NetParameter(name=name)
    for layer, values in blobs.items():
        add_blobs(message, layer, types[layer], map(np.asarray, values))
    net, weights = text_format.MessageToString(prototxt.message), message.SerializeToString()
    description = ModelDescription(
        name=name,
        files=Files(
            prototxt="deploy.prototxt",
            weights="weights.caffemodel",
            prototxt_sha256=hashlib.sha256(net.encode()).hexdigest(),
            weights_sha256=hashlib.sha256(weights).hexdigest(),
        ),
        input=source.input,
        output=Output(blob=source.output.blob, classes=classes, positive=positive),
    )
    written: Mapping[str, bytes] = {
        "deploy.prototxt": net.encode(),
        "weights.caffemodel": weights,
        "model.toml": tomli_w.dumps(
            description.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        ).encode(),
    }
    try:
        for file, content in written.items():
            (folder / file).write_bytes(content)
    except OSError as error:
        raise SaferankError(f"{folder} cannot be written to: {error.strerror}") from error
    return folder / "model.toml"
