import contextlib

import numpy as np
import pytest
from caffe_cases import LAYERS
from hypothesis import given
from hypothesis import strategies as st

from saferank.errors import ModelError, ModelFormatError
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe import convert, parse_prototxt, parse_weights, read_prototxt
from saferank.models.caffe.weights import Blob

BASE = LAYERS / "bad" / "base"
WEIGHTS = (BASE / "net.caffemodel").read_bytes()


@pytest.mark.parametrize(
    ("legacy", "wanted", "fits"),
    [
        ((1, 1, 1, 5), (5,), True),
        ((1, 1, 3, 5), (3, 5), True),
        ((4, 3, 2, 2), (4, 3, 2, 2), True),
        ((1, 1, 1, 1), (), True),
        ((5, 1, 1, 1), (5,), False),
        ((1, 5, 1, 1), (5,), False),
        ((1, 1, 1, 1), (1, 1, 1, 1, 1), False),
    ],
)
def test_old_shapes_align_right(
    legacy: tuple[int, int, int, int], wanted: tuple[int, ...], fits: bool
) -> None:
    assert Blob(None, legacy, np.empty(0, np.float32)).matches(wanted) is fits


def test_doubles_win_over_floats() -> None:
    net = pb.NetParameter()
    net.layer.add(name="a", blobs=[pb.BlobProto(data=[1, 2], double_data=[3, 4])])
    (name, (blob,)) = parse_weights(net.SerializeToString(), "w").layers[0]
    assert name == "a"
    assert blob.data.tolist() == [3, 4]
    assert blob.data.dtype == np.float32


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(40), "zip"),
        (b"\x1f\x8b" + bytes(40), "gzip"),
        (b'name: "net"\nlayer {\n', "not a Caffe weights file"),
    ],
)
def test_what_is_no_weights_file_is_told_apart(data: bytes, reason: str) -> None:
    with pytest.raises(ModelFormatError, match=f"net.caffemodel.*{reason}"):
        parse_weights(data, "net.caffemodel")


@given(st.integers(1, len(WEIGHTS) - 1))
def test_a_file_that_was_cut_off_never_gives_a_net(size: int) -> None:
    prototxt = read_prototxt(BASE / "net.prototxt")
    with pytest.raises(ModelError, match=r"net\.caffemodel"):
        convert(prototxt, parse_weights(WEIGHTS[:size], "net.caffemodel"))


@given(st.data())
def test_damaged_bytes_give_a_net_or_a_reason(data: st.DataObject) -> None:
    damaged = bytearray(WEIGHTS)
    for place in data.draw(st.lists(st.integers(0, len(WEIGHTS) - 1), min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    prototxt = read_prototxt(BASE / "net.prototxt")
    with contextlib.suppress(ModelError):
        converted = convert(prototxt, parse_weights(bytes(damaged), "net.caffemodel"))
        assert converted.outputs == {"prob": (1, 6)}


def test_a_name_that_is_not_utf8_is_no_crash() -> None:
    damaged = WEIGHTS.replace(b"conv1", b"conv\xff")
    prototxt = read_prototxt(BASE / "net.prototxt")
    with pytest.raises(ModelFormatError, match=r"conv1.*missing"):
        convert(prototxt, parse_weights(damaged, "net.caffemodel"))


def test_a_pooling_of_absurd_size_is_refused_before_it_costs_memory() -> None:
    text = (BASE / "net.prototxt").read_bytes()
    absurd = text.replace(
        b"kernel_size: 3\n    stride", b"kernel_size: 2147483647 pad: 2147483640\n    stride"
    )
    assert absurd != text
    with pytest.raises(ModelFormatError, match="pool1"):
        convert(parse_prototxt(absurd, "net.prototxt"), parse_weights(WEIGHTS, "w"))
