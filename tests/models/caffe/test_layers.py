"""Every layer type against what real Caffe computed; see ``tests/models/layers/README.md``."""

import json

import numpy as np
import pytest
from caffe_cases import LAYERS, case_names, read_case

from saferank.errors import ModelError
from saferank.models.caffe import convert, read_prototxt, read_weights
from saferank.models.caffe.layer import REGISTRY
from saferank.models.model import open_net
from saferank.models.runtime_onnx import OnnxRuntime

BAD = json.loads((LAYERS / "bad" / "bad.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", case_names())
def test_a_net_computes_what_caffe_computes(name: str) -> None:
    case = read_case(name)
    converted = convert(read_prototxt(case.prototxt), read_weights(case.weights))
    net = OnnxRuntime(converted.model.SerializeToString(), threads=1)
    got = net.run(case.inputs)
    # Caffe orders outputs by name.
    assert list(got) == list(case.outputs)
    assert case.excess(got) <= 0
    assert {name: values.shape for name, values in got.items()} == dict(converted.outputs)


@pytest.mark.parametrize("name", [name for name in case_names() if name.startswith("net_")])
def test_blobs_inside_a_net_have_caffes_values(name: str) -> None:
    case = read_case(name)
    with np.load(case.folder / "blobs.npz") as stored:
        wanted = {blob: stored[blob] for blob in stored.files}
    got = open_net(case.prototxt, case.weights, blobs=wanted).run(case.inputs)
    for blob, values in wanted.items():
        # Sums of many terms: relative to the blob's largest value.
        largest = np.abs(values).max()
        np.testing.assert_allclose(got[blob], values, rtol=0, atol=2e-5 * largest, err_msg=blob)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["name"])
def test_a_broken_net_is_refused_with_a_reason(case: dict) -> None:
    folder = LAYERS / "bad" / case["name"]
    with pytest.raises(ModelError) as refusal:
        convert(read_prototxt(folder / "net.prototxt"), read_weights(folder / "net.caffemodel"))
    message = str(refusal.value)
    for alternatives in case["mention"]:
        assert any(word.lower() in message.lower() for word in alternatives), message
    if "line" in case:
        assert message.startswith(f"net.prototxt:{case['line']}:")
    assert "\n" not in message


def test_every_registered_type_has_a_case() -> None:
    refused = {"Filter", "LSTM", "LSTMUnit", "Python", "RNN", "Recurrent"}
    used = {
        layer.type
        for name in case_names()
        for layer in convert(
            read_prototxt(LAYERS / name / "net.prototxt"),
            read_weights(LAYERS / name / "net.caffemodel"),
        ).layers
    }
    assert set(REGISTRY) - refused - used == set()
