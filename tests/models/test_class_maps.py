"""Where a net's decision comes from: the maps' means are the logits."""

from pathlib import Path

import numpy as np
import pytest
from caffe_cases import LAYERS, read_case

from saferank.errors import ModelError
from saferank.models import load_model
from saferank.models.caffe import ending_of, read_prototxt, read_weights
from saferank.models.model import open_net


@pytest.mark.parametrize(
    ("net", "logits"), [("net_mobilenet", "fc7"), ("net_squeezenet", "pool10")]
)
def test_the_mean_of_a_map_is_the_logit(net: str, logits: str, tmp_path: Path) -> None:
    """One net ends in the average and one layer, the other in the average of its classes."""
    prototxt, weights = tmp_path / "net.prototxt", LAYERS / net / "net.caffemodel"
    text = (LAYERS / net / "net.prototxt").read_text()
    prototxt.write_text(text.replace("kernel_size: 9 stride: 9", "global_pooling: true"))
    ending = ending_of(read_prototxt(prototxt), read_weights(weights), "prob")
    opened = open_net(prototxt, weights, blobs=[ending.features, logits])
    results = opened.run({"data": read_case(net).inputs["data"]})
    maps, values = ending.maps(results[ending.features]), results[logits]
    values = values.reshape(len(values), -1)
    assert maps.shape[:2] == values.shape
    assert min(maps.shape[2:]) > 1
    np.testing.assert_allclose(maps.mean(axis=(2, 3)), values, rtol=1e-4, atol=1e-5)


def test_of_open_nsfw_the_maps_give_the_probability() -> None:
    model = load_model(threads=1)
    rng = np.random.default_rng(0)
    blobs = rng.normal(0, 60, (2, 3, 224, 224)).astype(np.float32)
    maps = model.class_maps(blobs)
    assert (maps.shape, maps.dtype) == ((2, 2, 7, 7), np.float32)
    safe, nsfw = maps.mean(axis=(2, 3)).T
    np.testing.assert_allclose(
        1 / (1 + np.exp(safe - nsfw)), model.probabilities(blobs), rtol=1e-4, atol=1e-7
    )


NET = """
name: "n"
input: "data" input_shape {{ dim: 1 dim: 3 dim: 8 dim: 8 }}
{layers}
layer {{ name: "prob" type: "Softmax" bottom: "fc" top: "prob" }}
"""
POOL = 'layer {{ name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param {{ {} }} }}\n'
LAST = (
    'layer { name: "fc" type: "InnerProduct" bottom: "%s" top: "fc" '
    "inner_product_param { num_output: 2 } }"
)


@pytest.mark.parametrize(
    "layers",
    [
        LAST % "data",
        POOL.format("pool: MAX global_pooling: true") + LAST % "p",
        POOL.format("pool: AVE global_pooling: true")
        + 'layer { name: "h" type: "InnerProduct" bottom: "p" top: "h" '
        "inner_product_param { num_output: 4 } }\n" + LAST % "h",
    ],
)
def test_a_net_that_ends_otherwise_is_refused(layers: str, tmp_path: Path) -> None:
    from saferank.models.caffe import Weights

    path = tmp_path / "net.prototxt"
    path.write_text(NET.format(layers=layers))
    weights = Weights("w", "n", [(name, [_blob()]) for name in ("fc", "h")])
    with pytest.raises(ModelError, match="does not end in an average"):
        ending_of(read_prototxt(path), weights, "prob")


def test_an_average_over_a_part_is_refused(tmp_path: Path) -> None:
    from saferank.models.caffe import Weights

    path = tmp_path / "net.prototxt"
    path.write_text(NET.format(layers=POOL.format("pool: AVE kernel_size: 4") + LAST % "p"))
    ending = ending_of(read_prototxt(path), Weights("w", "n", [("fc", [_blob()])]), "prob")
    with pytest.raises(ModelError, match="over all places"):
        ending.maps(np.zeros((1, 3, 8, 8), np.float32))


def _blob() -> object:
    from saferank.models.caffe.weights import Blob

    return Blob((2, 3), None, np.zeros(6, np.float32))
