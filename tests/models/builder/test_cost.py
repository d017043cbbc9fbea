"""Counting: by hand for one small net, and without weights as with them."""

from pathlib import Path

import pytest
from caffe_cases import LAYERS

from saferank.errors import ConfigurationError, ModelFormatError
from saferank.models.builder.cost import cost_of
from saferank.models.caffe import convert, read_prototxt, read_weights

SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 2 dim: 3 dim: 8 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 stride: 1 pad: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 5 } }
"""


def test_a_small_net_counted_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(SMALL)
    cost = cost_of(str(path))
    assert cost.name == "small"
    # 4 x 3 x 3 x 3 and 4 biases; 4 means, 4 variances, 1 factor; 5 x 4 x 8 x 6 and 5 biases.
    assert cost.parameters == 112 + 9 + 965
    # Both images: each weight of the convolution once a pixel, each of the product once.
    assert cost.multiply_adds == 2 * (108 * 48 + 960)
    assert cost.activation_bytes == 4 * 2 * (3 * 48 + 4 * 48 + 5)
    # pynetbuilder counts one image, no biases, and the first blob of a normalisation.
    assert cost.published_parameters == 108 + 4 + 960
    assert cost.published_multiply_adds == 108 * 48 + 4 + 960


def test_another_input_shape_wins(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(SMALL)
    assert cost_of(str(path), shapes={"data": (1, 3, 8, 6)}).multiply_adds == 108 * 48 + 960


@pytest.mark.parametrize("name", ["net_alexnet", "net_mobilenet", "net_squeezenet", "net_vgg"])
def test_figures_are_the_same_without_the_weights(name: str) -> None:
    prototxt, weights = LAYERS / name / "net.prototxt", LAYERS / name / "net.caffemodel"
    converted = convert(read_prototxt(prototxt), read_weights(weights))
    assert cost_of(str(prototxt)).layers == converted.layers


def test_what_is_no_net_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no net 'nothing\.prototxt' to build"):
        cost_of("nothing.prototxt")
    broken = tmp_path / "broken.prototxt"
    broken.write_text(SMALL.replace('bottom: "data" top: "conv"', 'bottom: "date" top: "conv"'))
    with pytest.raises(ModelFormatError, match=r"broken\.prototxt:5.*is .data. meant"):
        cost_of(str(broken))
