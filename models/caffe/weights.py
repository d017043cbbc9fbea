"""Reading caffemodel files: the blobs of each layer, by layer name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from saferank.errors import ModelFormatError, ModelNotFound
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.upgrade import upgrade

# What people save under the name of a weights file, by its first bytes.
_OTHER_FORMATS = (
    (b"\x89HDF", "is an HDF5 file; save it in Caffe's binary form (snapshot_format: BINARYPROTO)"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights; run 'git lfs pull'"),
    (b"PK\x03\x04", "is a zip archive, not a caffemodel; unpack it"),
    (b"\x1f\x8b", "is a gzip archive, not a caffemodel; unpack it"),
)


@dataclass(frozen=True)
class Blob:
    """One stored blob.

    Attributes:
        shape: as stored; None for the old form, which has ``legacy_shape`` instead.
        legacy_shape: num, channels, height, width of the old form.
        data: the values, flat float32.
    """

    shape: tuple[int, ...] | None
    legacy_shape: tuple[int, int, int, int] | None
    data: NDArray[np.float32]

    def matches(self, wanted: Sequence[int]) -> bool:
        """Whether the stored shape means the shape that a layer needs."""
        if self.legacy_shape is not None:
            # Old shapes have four axes, aligned right: a bias of 5 values is 1x1x1x5.
            return len(wanted) <= 4 and self.legacy_shape == (1,) * (4 - len(wanted)) + tuple(
                wanted
            )
        return self.shape == tuple(wanted)

    def __str__(self) -> str:
        stored = self.legacy_shape if self.shape is None else self.shape
        return format_shape(stored or ())


@dataclass(frozen=True)
class Weights:
    """A parsed caffemodel.

    Attributes:
        name: the file's name, for messages.
        net: the name of the network it was trained as.
        layers: layer name and blobs, in file order; a name may come twice.
    """

    name: str
    net: str
    layers: Sequence[tuple[str, Sequence[Blob]]]

    @property
    def names(self) -> list[str]:
        """Names of the layers that have blobs."""
        return [name for name, blobs in self.layers if blobs]


def format_shape(shape: Sequence[int]) -> str:
    """Write a shape as ``2x3x17x23``; a shape without axes is ``scalar``."""
    return "x".join(str(size) for size in shape) or "scalar"


def read_weights(path: Path) -> Weights:
    """Read a caffemodel.

    Raises:
        ModelNotFound: there is no such file.
        ModelFormatError: it is not a caffemodel, or it is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelNotFound(f"{path}: the weights cannot be read: {error.strerror}") from error
    return parse_weights(data, path.name)


def parse_weights(data: bytes, name: str) -> Weights:
    """Parse the bytes of a caffemodel called ``name``; see `read_weights`."""
    if not data:
        raise ModelFormatError(f"{name} is empty (0 bytes); fetch the weights again")
    for magic, verdict in _OTHER_FORMATS:
        if data.startswith(magic):
            raise ModelFormatError(f"{name} {verdict}")
    if data.lstrip()[:5].lower() in (b"<!doc", b"<html", b"<head", b"<?xml"):
        raise ModelFormatError(
            f"{name} is an HTML page, not a caffemodel (a failed download?); fetch it again"
        )
    net = pb.NetParameter()
    try:
        net.MergeFromString(data)
    except DecodeError as error:
        raise _damaged(data, name) from error
    if not net.layer and not net.layers:
        raise ModelFormatError(f"{name} is not a Caffe weights file: no layer is in it")
    try:
        net = upgrade(net, name)
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{name}: a name in it is not UTF-8; it is damaged") from error
    layers = [
        (
            _text(layer.name),
            [_read_blob(blob) for blob in layer.blobs],
        )
        for layer in net.layer
    ]
    return Weights(name, _text(net.name), layers)


def add_blobs(
    net: pb.NetParameter, name: str, type: str, blobs: Iterable[NDArray[np.float32]]
) -> None:
    """Add a layer and its blobs to what becomes a caffemodel when it is serialized."""
    layer = net.layer.add(name=name, type=type)
    for blob in blobs:
        layer.blobs.add(shape=pb.BlobShape(dim=blob.shape), data=blob.ravel().tolist())


def _text(value: str | bytes) -> str:
    """A name; what is not UTF-8 comes out of protobuf as bytes."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _read_blob(blob: pb.BlobProto) -> Blob:
    # Caffe takes the doubles where both kinds are stored.
    stored = blob.double_data if blob.double_data else blob.data
    with np.errstate(over="ignore"):
        data = np.array(stored, dtype=np.float32)
    legacy = None
    shape: tuple[int, ...] | None = tuple(blob.shape.dim)
    if any(blob.HasField(axis) for axis in ("num", "channels", "height", "width")):
        legacy, shape = (blob.num, blob.channels, blob.height, blob.width), None
    return Blob(shape, legacy, data)


def _damaged(data: bytes, name: str) -> ModelFormatError:
    """Tell a file that was cut off from one that never was a caffemodel."""
    position = 0
    seen = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire != 2 or number not in (1, 2, 3, 6, 8, 100):
            if not (wire == 0 and number in (4, 5, 7)):
                break
            _, position = _varint(data, position)
            continue
        length, position = _varint(data, position)
        if position + length > len(data):
            if seen and number in (2, 100):
                return ModelFormatError(
                    f"{name} is truncated: it ends unexpectedly at byte {len(data)} inside a layer "
                    f"that should go on to byte {position + length}; fetch it again"
                )
            break
        seen += 1
        position += length
    return ModelFormatError(f"{name} is not a Caffe weights file, or it is damaged; fetch it again")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, position
