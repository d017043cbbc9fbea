"""First weights: the distributions that Caffe's fillers have."""

from math import sqrt

import numpy as np
import pytest

from saferank.errors import UnsupportedLayer
from saferank.models.builder import NETS, deploy_net
from saferank.models.builder.cost import as_prototxt
from saferank.models.builder.fill import fill
from saferank.models.caffe import convert, parse_prototxt, parse_weights

LAYER = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 50 }} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param {{ num_output: 800 weight_filler {{ {filler} }} }} }}
"""


def drawn(filler: str, seed: int = 3) -> np.ndarray:
    prototxt = parse_prototxt(LAYER.format(filler=filler).encode(), "net.prototxt")
    (layer,) = fill(prototxt, seed=seed).layer
    assert list(layer.blobs[1].data) == [0.0] * 800
    return np.array(layer.blobs[0].data, dtype=np.float64)


@pytest.mark.parametrize(
    ("filler", "bound"),
    [
        ('type: "xavier"', sqrt(3 / 50)),
        ('type: "xavier" variance_norm: FAN_OUT', sqrt(3 / 800)),
        ('type: "xavier" variance_norm: AVERAGE', sqrt(3 / 425)),
        ('type: "uniform" min: -0.5 max: 0.5', 0.5),
    ],
)
def test_uniform_fillers_fill_their_range(filler: str, bound: float) -> None:
    values = drawn(filler)
    assert 0.999 * bound < values.max() <= bound * (1 + 1e-6)
    assert -bound * (1 + 1e-6) <= values.min() < -0.999 * bound
    # 40,000 values: the standard deviation of a uniform distribution within a hundredth.
    assert values.std() == pytest.approx(bound / sqrt(3), rel=0.01)


@pytest.mark.parametrize(
    ("filler", "mean", "deviation"),
    [
        ('type: "msra"', 0, sqrt(2 / 50)),
        ('type: "msra" variance_norm: FAN_OUT', 0, sqrt(2 / 800)),
        ('type: "gaussian" mean: 3 std: 0.2', 3, 0.2),
    ],
)
def test_normal_fillers_have_their_moments(filler: str, mean: float, deviation: float) -> None:
    values = drawn(filler)
    assert values.mean() == pytest.approx(mean, abs=5 * deviation / 200)
    assert values.std() == pytest.approx(deviation, rel=0.02)


def test_a_seed_gives_the_same_weights_again() -> None:
    np.testing.assert_array_equal(drawn('type: "msra"', 7), drawn('type: "msra"', 7))
    assert not np.array_equal(drawn('type: "msra"', 7), drawn('type: "msra"', 8))


def test_a_net_takes_the_weights_that_were_drawn_for_it() -> None:
    prototxt = as_prototxt(deploy_net(NETS["cifar10_resnet_20"]))
    weights = fill(prototxt, seed=0)
    statistics = next(each for each in weights.layer if each.type == "BatchNorm")
    assert [set(blob.data) for blob in statistics.blobs] == [{0.0}, {1.0}, {1.0}]
    scale = next(each for each in weights.layer if each.type == "Scale")
    assert [set(blob.data) for blob in scale.blobs] == [{1.0}, {0.0}]
    converted = convert(prototxt, parse_weights(weights.SerializeToString(), "drawn"))
    assert converted.outputs == {"prob": (1, 10)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAYER.format(filler='type: "bilinear"'), 'filler "bilinear" is not known here'),
        (
            LAYER.format(filler="").replace("InnerProduct", "Bias").split("inner_product")[0] + "}",
            "first weights of Bias are not known here",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnsupportedLayer, match=reason):
        fill(parse_prototxt(text.encode(), "net.prototxt"), seed=0)
