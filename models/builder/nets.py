"""The nets that can be built, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from saferank.errors import ConfigurationError
from saferank.models.builder.blocks import (
    Inception,
    MainBranch,
    convolution_bn_relu,
    convolution_relu,
    fire,
    four_thousand,
    inception,
    shortcut,
)
from saferank.models.builder.layers import NetBuilder
from saferank.models.caffe import caffe_pb2 as pb


@dataclass(frozen=True)
class Classifier:
    """The last layer with weights.

    Attributes:
        classes: how many values it gives.
        name: its name; None for the net's own. A name that a caffemodel does not have starts anew.
    """

    classes: int
    name: str | None = None


# From the net so far and its input blob to the blob of logits.
Body = Callable[[NetBuilder, str, Classifier], str]


@dataclass(frozen=True)
class Net:
    """A net that can be built.

    Attributes:
        name: what it is called here; pynetbuilder's name where it has the net.
        body: adds its layers.
        size: height and width of its input.
        classes: of the data that it was published for.
        source: where it was published.
    """

    name: str
    body: Body
    size: int
    classes: int
    source: str


def _alexnet(net: NetBuilder, top: str, classifier: Classifier) -> str:
    top = convolution_relu(net, top, "conv1", "relu1", 96, 11, stride=4)
    top = net.max_pool(net.lrn(top, "norm1"), "pool1", 3, stride=2)
    top = convolution_relu(net, top, "conv2", "relu2", 256, 5, pad=2, group=2)
    top = net.max_pool(net.lrn(top, "norm2"), "pool2", 3, stride=2)
    top = convolution_relu(net, top, "conv3", "relu3", 384, 3, pad=1)
    top = convolution_relu(net, top, "conv4", "relu4", 384, 3, pad=1, group=2)
    top = convolution_relu(net, top, "conv5", "relu5", 256, 3, pad=1, group=2)
    return _three_layers_of_4096(net, net.max_pool(top, "pool5", 3, stride=2), classifier)


def _vgg_16(net: NetBuilder, top: str, classifier: Classifier) -> str:
    for stage, (layers, outputs) in enumerate(
        ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1
    ):
        for layer in range(1, layers + 1):
            at = f"{stage}_{layer}"
            top = convolution_relu(net, top, f"conv{at}", f"relu{at}", outputs, 3, pad=1)
        top = net.max_pool(top, f"pool{stage}", 2, stride=2)
    return _three_layers_of_4096(net, top, classifier)


def _three_layers_of_4096(net: NetBuilder, top: str, classifier: Classifier) -> str:
    for number in (6, 7):
        top = net.relu(
            net.inner_product(top, f"fc{number}", 4096, filler="xavier"), f"relu{number}"
        )
        top = net.dropout(top, f"drop{number}")
    return net.inner_product(top, classifier.name or "fc8", classifier.classes, filler="xavier")


def _ms_ctc(net: NetBuilder, top: str, classifier: Classifier) -> str:
    # Pooling keeps the resolution and the convolution behind it goes in larger steps.
    top = convolution_relu(net, top, "conv1", "relu1", 64, 7, stride=2)
    top = net.max_pool(top, "pool1", 3)
    layer = 2
    for stage, outputs, stride in ((2, 128, 3), (3, 256, 2)):
        for place in range(4):
            # Every second 2x2 filter gives back the pixel that the one before it took.
            top = convolution_relu(
                net,
                top,
                f"conv{layer}",
                f"relu{layer}",
                outputs,
                2,
                stride=stride if place == 0 else 1,
                pad=place % 2,
            )
            layer += 1
        top = net.max_pool(top, f"pool{stage}", 3)
    top = convolution_relu(net, top, "conv10", "relu10", 2304, 2, stride=3)
    top = convolution_relu(net, top, "conv11", "relu11", 256, 2, pad=1)
    levels = [
        net.flatten(net.max_pool(top, f"pyramid{size}", size, stride=size), f"flat{size}")
        for size in (1, 2, 3, 6)
    ]
    return _three_layers_of_4096(net, net.concat(levels, "pyramid"), classifier)


def _squeezenet(net: NetBuilder, top: str, classifier: Classifier) -> str:
    top = convolution_relu(net, top, "conv1", "relu_conv1", 96, 7, stride=2)
    top = net.max_pool(top, "pool1", 3, stride=2)
    for block, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64), start=2):
        top = fire(net, top, f"fire{block}", squeeze, 4 * squeeze)
        if block in (4, 8):
            top = net.max_pool(top, f"pool{block}", 3, stride=2)
    top = net.dropout(top, "drop9")
    name = classifier.name or "conv10"
    # The pad adds a frame of biases to the mean; the published weights were trained with it.
    top = convolution_relu(net, top, name, f"relu_{name}", classifier.classes, 1, pad=1)
    return net.global_average(top, "pool10")


_GOOGLENET_BLOCKS: Mapping[str, Inception] = {
    "inception_3a": Inception(64, (96, 128), (16, 32), 32),
    "inception_3b": Inception(128, (128, 192), (32, 96), 64),
    "inception_4a": Inception(192, (96, 208), (16, 48), 64),
    "inception_4b": Inception(160, (112, 224), (24, 64), 64),
    "inception_4c": Inception(128, (128, 256), (24, 64), 64),
    "inception_4d": Inception(112, (144, 288), (32, 64), 64),
    "inception_4e": Inception(256, (160, 320), (32, 128), 128),
    "inception_5a": Inception(256, (160, 320), (32, 128), 128),
    "inception_5b": Inception(384, (192, 384), (48, 128), 128),
}


def _googlenet(net: NetBuilder, top: str, classifier: Classifier) -> str:
    top = convolution_relu(net, top, "conv1/7x7_s2", "conv1/relu_7x7", 64, 7, stride=2, pad=3)
    top = net.lrn(net.max_pool(top, "pool1/3x3_s2", 3, stride=2), "pool1/norm1")
    top = convolution_relu(net, top, "conv2/3x3_reduce", "conv2/relu_3x3_reduce", 64, 1)
    top = convolution_relu(net, top, "conv2/3x3", "conv2/relu_3x3", 192, 3, pad=1)
    top = net.max_pool(net.lrn(top, "conv2/norm2"), "pool2/3x3_s2", 3, stride=2)
    for name, channels in _GOOGLENET_BLOCKS.items():
        top = inception(net, top, name, channels)
        if name in ("inception_3b", "inception_4e"):
            top = net.max_pool(top, f"pool{name[10]}/3x3_s2", 3, stride=2)
        elif name in ("inception_4a", "inception_4d") and net.training:
            _hanging_loss(net, top, "loss1" if name == "inception_4a" else "loss2", classifier)
    top = net.dropout(net.average_pool(top, "pool5/7x7_s1", 7), "pool5/drop_7x7_s1", 0.4)
    name = classifier.name or "loss3/classifier"
    return net.inner_product(top, name, classifier.classes, filler="xavier")


def _hanging_loss(net: NetBuilder, bottom: str, name: str, classifier: Classifier) -> None:
    """A loss in the middle of the net, which brings gradients to its first layers."""
    top = net.average_pool(bottom, f"{name}/ave_pool", 5, stride=3)
    top = convolution_relu(net, top, f"{name}/conv", f"{name}/relu_conv", 128, 1)
    top = net.inner_product(top, f"{name}/fc", 1024, filler="xavier")
    top = net.dropout(net.relu(top, f"{name}/relu_fc"), f"{name}/drop_fc", 0.7)
    last = f"{name}/{classifier.name or 'classifier'}"
    top = net.inner_product(top, last, classifier.classes, filler="xavier")
    net.loss(top, f"{name}/loss", weight=0.3)


def _resnet(
    net: NetBuilder,
    top: str,
    classifier: Classifier,
    *,
    branch: MainBranch,
    blocks: Sequence[int],
    outputs: int,
    with4k: bool = False,
) -> str:
    top = convolution_bn_relu(net, top, "1", 64, 7, stride=2, pad=3)
    top = net.max_pool(top, "pool1", 3, stride=2)
    # The first stage of these has as many channels as its bottom.
    first_is_identity = branch in (MainBranch.NORMAL, MainBranch.INCEPTION_TRICK)
    for stage, count in enumerate(blocks):
        for block in range(count):
            top = shortcut(
                net,
                top,
                f"stage{stage}_block{block}",
                outputs * 2**stage,
                branch,
                stride=2 if block == 0 and stage > 0 else 1,
                projection=block == 0 and not (stage == 0 and first_is_identity),
            )
    if with4k:
        name = classifier.name or f"1by1_{classifier.classes}"
        return convolution_bn_relu(net, four_thousand(net, top), name, classifier.classes, 1)
    name = classifier.name or f"fc{classifier.classes}"
    return net.inner_product(net.average_pool(top, "pool", 7), name, classifier.classes)


def _cifar10_resnet(net: NetBuilder, top: str, classifier: Classifier, *, layers: int) -> str:
    top = convolution_bn_relu(net, top, "1", 16, 3, pad=1)
    for stage in range(3):
        for block in range((layers - 2) // 3):
            smaller = stage > 0 and block == 0
            top = shortcut(
                net,
                top,
                f"stage{stage}_block{block}",
                16 * 2**stage,
                MainBranch.BOTTLENECK,
                stride=2 if smaller else 1,
                projection=smaller,
            )
    name = classifier.name or f"fc{classifier.classes}"
    return net.inner_product(net.average_pool(top, "pool", 8), name, classifier.classes)


_PYNETBUILDER = "Yahoo, pynetbuilder, 2016"


def _imagenet(name: str, body: Body, source: str, size: int = 224) -> Net:
    return Net(name, body, size, 1000, source)


def _residual(
    name: str,
    branch: MainBranch,
    blocks: Sequence[int],
    outputs: int,
    *,
    with4k: bool = False,
    source: str = _PYNETBUILDER,
) -> Net:
    body = partial(_resnet, branch=branch, blocks=blocks, outputs=outputs, with4k=with4k)
    return _imagenet(name, body, source)


_NETS = (
    _imagenet(
        "alexnet", _alexnet, "Krizhevsky, Sutskever, Hinton, 2012; layers as BVLC's", size=227
    ),
    _imagenet("vgg_16", _vgg_16, "Simonyan, Zisserman, arXiv:1409.1556, configuration D"),
    _imagenet("googlenet", _googlenet, "Szegedy et al., arXiv:1409.4842; layers as BVLC's"),
    _imagenet("squeezenet", _squeezenet, "Iandola et al., arXiv:1602.07360, version 1.0", size=227),
    _imagenet("ms_ctc", _ms_ctc, "He, Sun, arXiv:1412.1710, model J'"),
    _residual(
        "resnet_50",
        MainBranch.BOTTLENECK,
        (3, 4, 6, 3),
        256,
        source="He, Zhang, Ren, Sun, arXiv:1512.03385; layers as pynetbuilder's",
    ),
    _residual("resnet_50_1by2", MainBranch.BOTTLENECK, (3, 4, 6, 3), 128),
    _residual("resnet_77_1by2", MainBranch.BOTTLENECK, (3, 4, 15, 3), 128),
    _residual("resnet_34_inception_trick", MainBranch.INCEPTION_TRICK, (2, 2, 2, 2), 64),
    _residual(
        "resnet_36_inception_trick_with4k",
        MainBranch.INCEPTION_TRICK,
        (2, 2, 2, 2),
        64,
        with4k=True,
    ),
    _residual(
        "resnet_66_1by2_inception_trick_bottleneck",
        MainBranch.INCEPTION_TRICK_BOTTLENECK,
        (3, 4, 6, 3),
        128,
    ),
    _residual(
        "resnet_68_1by2_inception_trick_bottleneck_with4k",
        MainBranch.INCEPTION_TRICK_BOTTLENECK,
        (3, 4, 6, 3),
        128,
        with4k=True,
    ),
    *(
        Net(
            f"cifar10_resnet_{layers}",
            partial(_cifar10_resnet, layers=layers),
            32,
            10,
            _PYNETBUILDER,
        )
        for layers in (20, 32, 44, 56, 110)
    ),
)

NETS: Mapping[str, Net] = {net.name: net for net in _NETS}

# What the launch article calls a net that has another name above.
ALIASES: Mapping[str, str] = {"resnet_50_thin": "resnet_50_1by2"}


def find_net(name: str) -> Net:
    """Find a net by name.

    Raises:
        ConfigurationError: there is none; the message names the nearest, or all.
    """
    net = NETS.get(ALIASES.get(name, name))
    if net is None:
        close = difflib.get_close_matches(name, [*NETS, *ALIASES], n=1)
        hint = f"is {close[0]!r} meant?" if close else f"there are {', '.join(NETS)}"
        raise ConfigurationError(f"there is no net {name!r} to build; {hint}")
    return net


def deploy_net(net: Net, classifier: Classifier | None = None) -> pb.NetParameter:
    """Write the net for running: from blob ``data`` (1, 3, size, size) to probabilities ``prob``.

    Args:
        net: which.
        classifier: its last layer; the published one when it is None.
    """
    builder = NetBuilder(net.name, training=False)
    data = builder.input("data", (1, 3, net.size, net.size))
    logits = net.body(builder, data, classifier or Classifier(net.classes))
    builder.softmax(logits, "prob")
    return builder.message


def train_net(
    net: Net, classifier: Classifier | None = None, *, batch: int = 32
) -> pb.NetParameter:
    """Write the net for training: loss in both phases, accuracy in phase TEST.

    Its data come from memory, as pynetbuilder writes it: Caffe loads the file anywhere, and whoever
    trains puts a data layer of their own in its place.

    Args:
        net: which.
        classifier: its last layer; the published one when it is None.
        batch: images a step.
    """
    builder = NetBuilder(net.name, training=True)
    layer = builder.message.layer.add(name="data", type="MemoryData", top=["data", "label"])
    given = layer.memory_data_param
    given.batch_size, given.channels, given.height, given.width = batch, 3, net.size, net.size
    logits = net.body(builder, "data", classifier or Classifier(net.classes))
    builder.loss(logits, "loss")
    builder.add("Accuracy", "accuracy", [logits, "label"]).include.add(phase=pb.TEST)
    return builder.message
