"""The nets that can be built: their costs as published, their layers as in published files."""

import numpy as np
import pytest
from google.protobuf import text_format

from saferank.errors import ConfigurationError
from saferank.models.builder import NETS, Classifier, deploy_net, find_net, train_net
from saferank.models.builder.cost import Cost, cost_of
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe import parse_prototxt, read_prototxt
from saferank.models.description import load_description, locate
from saferank.models.model import open_net

# Millions of parameters and multiply-adds in pynetbuilder's models/imagenet/Readme.md and
# models/cifar10/Readme.md, cut off (not rounded) behind the digits given.
PYNETBUILDER = {
    "resnet_50": ("25.556032", "3858.026368"),
    "resnet_50_1by2": ("6.92", "1069.59"),
    "resnet_77_1by2": ("9.44", "1560.93"),
    "resnet_34_inception_trick": ("8.55", "1370.93"),
    "resnet_36_inception_trick_with4k": ("21.58", "1434.30"),
    "resnet_66_1by2_inception_trick_bottleneck": ("5.98", "915.46"),
    "resnet_68_1by2_inception_trick_bottleneck_with4k": ("19.55", "1029.69"),
    "cifar10_resnet_110": ("0.220944", "30.73296"),
}


def cut(value: int, like: str) -> str:
    """Millions with as many digits as the published figure has."""
    places = len(like.partition(".")[2])
    return f"{value * 10**places // 10**6 / 10**places:.{places}f}"


@pytest.mark.parametrize("name", PYNETBUILDER)
def test_costs_are_those_that_pynetbuilder_published(name: str) -> None:
    parameters, multiply_adds = PYNETBUILDER[name]
    cost = cost_of(name)
    assert cut(cost.published_parameters, parameters) == parameters
    assert cut(cost.published_multiply_adds, multiply_adds) == multiply_adds


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        # Biases counted: 1.24 M and 138.36 M in the papers, the others those of BVLC's files.
        ("squeezenet", 1_248_424, 861_339_936),
        ("vgg_16", 138_357_544, 15_470_264_320),
        ("googlenet", 6_998_552, 1_582_671_872),
        ("alexnet", 60_965_224, 724_406_816),
    ],
)
def test_costs_of_nets_from_papers(name: str, parameters: int, multiply_adds: int) -> None:
    cost = cost_of(name)
    assert (cost.parameters, cost.multiply_adds) == (parameters, multiply_adds)


def test_the_sizes_of_ms_ctc_are_those_of_the_paper() -> None:
    shapes = {layer.name: layer.shapes[0] for layer in cost_of("ms_ctc").layers}
    # Stages 2, 3 and 4 work on 36, 18 and 6 pixels; the pyramid has 36 + 9 + 4 + 1 bins of 256.
    assert shapes["conv2"] == (1, 128, 36, 36)
    assert shapes["conv9"] == (1, 256, 18, 18)
    assert shapes["conv11"] == (1, 256, 6, 6)
    assert shapes["pyramid"] == (1, 50 * 256)


def test_open_nsfw_is_the_thin_resnet_that_is_built_here() -> None:
    description, folder = load_description("open_nsfw")
    theirs = read_prototxt(locate(description, folder).prototxt).message
    ours = deploy_net(find_net("resnet_50_thin"), Classifier(2, "fc_nsfw"))
    assert [(each.name, each.type) for each in ours.layer] == [
        (each.name, each.type) for each in theirs.layer
    ]


def test_weights_of_open_nsfw_give_the_same_in_the_built_net(tmp_path) -> None:  # type: ignore[no-untyped-def]
    description, folder = load_description("open_nsfw")
    files = locate(description, folder)
    prototxt = tmp_path / "deploy.prototxt"
    net = deploy_net(find_net("resnet_50_1by2"), Classifier(2, "fc_nsfw"))
    prototxt.write_text(text_format.MessageToString(net))
    image = {"data": np.random.default_rng(0).normal(0, 60, (1, 3, 224, 224)).astype(np.float32)}
    ours = open_net(prototxt, files.weights).run(image)["prob"]
    theirs = open_net(files.prototxt, files.weights).run(image)["prob"]
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", NETS)
def test_the_training_file_has_the_layers_of_the_deployed_one(name: str) -> None:
    deploy, train = deploy_net(NETS[name]), train_net(NETS[name])
    weighted = {"Convolution", "InnerProduct", "BatchNorm", "Scale"}
    needed = [each for each in deploy.layer if each.type in weighted]
    trained = {each.name: each for each in train.layer}
    for layer in needed:
        assert trained[layer.name] == layer
    assert [each.name for each in train.layer if each.type == "Accuracy"] == ["accuracy"]


def test_losses_hang_in_the_middle_of_googlenet_in_training_only() -> None:
    train, deploy = train_net(NETS["googlenet"]), deploy_net(NETS["googlenet"])
    losses = {
        each.name: sum(each.loss_weight) for each in train.layer if each.type == "SoftmaxWithLoss"
    }
    hanging = pytest.approx(0.3)
    # A loss without a weight counts whole.
    assert losses == {"loss1/loss": hanging, "loss2/loss": hanging, "loss": 0}
    assert not [each.name for each in deploy.layer if each.name.startswith(("loss1", "loss2"))]


def test_the_last_layer_takes_another_number_of_classes_and_another_name() -> None:
    for net in NETS.values():
        message = deploy_net(net, Classifier(2, "mine"))
        last = next(each for each in message.layer if "mine" in each.name and each.type != "ReLU")
        assert last.name in ("mine", "conv_mine")
        given = last.convolution_param if last.type == "Convolution" else last.inner_product_param
        assert given.num_output == 2
        shapes = {each.name: each.shapes[0] for each in _cost(message).layers}
        assert shapes["prob"][:2] == (1, 2)


def _cost(message: pb.NetParameter) -> Cost:
    from saferank.models.caffe import layer_figures

    text = text_format.MessageToString(message).encode()
    return Cost(message.name, layer_figures(parse_prototxt(text, "net.prototxt")))


def test_a_name_that_is_close_is_proposed() -> None:
    with pytest.raises(ConfigurationError, match="is 'resnet_50_1by2' meant"):
        find_net("resnet_50_1by")
    with pytest.raises(ConfigurationError, match="there are alexnet, vgg_16"):
        find_net("x")
