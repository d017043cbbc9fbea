"""The blocks that nets are built of, under the layer names of pynetbuilder where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from saferank.models.builder.layers import NetBuilder, Pair


class MainBranch(StrEnum):
    """What a shortcut block computes beside the shortcut.

    Attributes:
        NORMAL: two convolutions of 3x3.
        BOTTLENECK: 1x1 with a quarter of the channels, 3x3, 1x1.
        INCEPTION_TRICK: as normal, each 3x3 taken apart into 1x3 and 3x1.
        INCEPTION_TRICK_BOTTLENECK: as bottleneck, its 3x3 taken apart.
    """

    NORMAL = "normal"
    BOTTLENECK = "bottleneck"
    INCEPTION_TRICK = "inception_trick"
    INCEPTION_TRICK_BOTTLENECK = "inception_trick_bottleneck"


@dataclass(frozen=True)
class Inception:
    """Channels of the branches of an inception block.

    Attributes:
        one: of the 1x1 convolution.
        three: of the 3x3 convolution, and of the 1x1 that goes before it.
        five: of the 5x5 convolution, and of the 1x1 that goes before it.
        pool: of the 1x1 convolution behind the pooling.
    """

    one: int
    three: tuple[int, int]
    five: tuple[int, int]
    pool: int


def convolution_bn(
    net: NetBuilder,
    bottom: str,
    name: str,
    outputs: int,
    kernel: int | Pair,
    *,
    stride: int | Pair = 1,
    pad: int | Pair = 0,
) -> str:
    """Convolution, normalisation, scale."""
    top = net.convolution(bottom, f"conv_{name}", outputs, kernel, stride=stride, pad=pad)
    net.batch_norm(top, f"bn_{name}")
    return net.scale(top, f"scale_{name}")


def convolution_bn_relu(
    net: NetBuilder,
    bottom: str,
    name: str,
    outputs: int,
    kernel: int | Pair,
    *,
    stride: int | Pair = 1,
    pad: int | Pair = 0,
) -> str:
    """Convolution, normalisation, scale, ReLU."""
    top = convolution_bn(net, bottom, name, outputs, kernel, stride=stride, pad=pad)
    return net.relu(top, f"relu_{name}")


def shortcut(
    net: NetBuilder,
    bottom: str,
    name: str,
    outputs: int,
    branch: MainBranch,
    *,
    stride: int = 1,
    projection: bool = False,
) -> str:
    """A block of a residual net: what it computes is added to what it was given.

    Args:
        net: gets the layers.
        bottom: what it is given.
        name: begins the names of its layers.
        outputs: channels of its top.
        branch: what it computes.
        stride: of its first convolution, and of the projection.
        projection: bring the bottom to the top's shape by a 1x1 convolution.
    """
    if projection:
        beside = convolution_bn(net, bottom, f"{name}_proj_shortcut", outputs, 1, stride=stride)
    else:
        beside = bottom
    computed = _BRANCHES[branch](net, bottom, name, outputs, stride)
    return net.relu(net.sum([beside, computed], f"eltwise_{name}"), f"relu_{name}")


def _normal(net: NetBuilder, bottom: str, name: str, outputs: int, stride: int) -> str:
    top = convolution_bn_relu(net, bottom, f"{name}_branch2a", outputs, 3, stride=stride, pad=1)
    return convolution_bn(net, top, f"{name}_branch2b", outputs, 3, pad=1)


def _bottleneck(net: NetBuilder, bottom: str, name: str, outputs: int, stride: int) -> str:
    inner = outputs // 4
    top = convolution_bn_relu(net, bottom, f"{name}_branch2a", inner, 1, stride=stride)
    top = convolution_bn_relu(net, top, f"{name}_branch2b", inner, 3, pad=1)
    return convolution_bn(net, top, f"{name}_branch2c", outputs, 1)


def _inception_trick(net: NetBuilder, bottom: str, name: str, outputs: int, stride: int) -> str:
    top = bottom
    # Each axis is made smaller by the convolution that runs along it. The last one has a ReLU of
    # its own, unlike the other branches: so it is in the published nets.
    for part, step in (("a", stride), ("b", 1)):
        top = convolution_bn_relu(
            net, top, f"{name}_branch_3by1{part}", outputs, (1, 3), stride=(1, step), pad=(0, 1)
        )
        top = convolution_bn_relu(
            net, top, f"{name}_branch_1by3{part}", outputs, (3, 1), stride=(step, 1), pad=(1, 0)
        )
    return top


def _inception_trick_bottleneck(
    net: NetBuilder, bottom: str, name: str, outputs: int, stride: int
) -> str:
    inner = outputs // 4
    top = convolution_bn_relu(net, bottom, f"{name}_branch2a", inner, 1, stride=stride)
    top = convolution_bn_relu(net, top, f"{name}_branch_b_3by1", inner, (1, 3), pad=(0, 1))
    top = convolution_bn_relu(net, top, f"{name}_branch_b_1by3", inner, (3, 1), pad=(1, 0))
    return convolution_bn(net, top, f"{name}_branch2c", outputs, 1)


_BRANCHES = {
    MainBranch.NORMAL: _normal,
    MainBranch.BOTTLENECK: _bottleneck,
    MainBranch.INCEPTION_TRICK: _inception_trick,
    MainBranch.INCEPTION_TRICK_BOTTLENECK: _inception_trick_bottleneck,
}


def convolution_relu(
    net: NetBuilder,
    bottom: str,
    name: str,
    relu: str,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    pad: int = 0,
    group: int = 1,
) -> str:
    """Convolution and ReLU under names of their own, as nets before normalisation have them."""
    top = net.convolution(
        bottom, name, outputs, kernel, stride=stride, pad=pad, group=group, filler="xavier"
    )
    return net.relu(top, relu)


def _part(
    net: NetBuilder, block: str, bottom: str, kind: str, outputs: int, kernel: int, pad: int = 0
) -> str:
    return convolution_relu(
        net, bottom, f"{block}/{kind}", f"{block}/relu_{kind}", outputs, kernel, pad=pad
    )


def fire(net: NetBuilder, bottom: str, name: str, squeeze: int, expand: int) -> str:
    """SqueezeNet's block: few 1x1 filters, then ``expand`` of 1x1 and as many of 3x3."""
    part = partial(_part, net, name)
    squeezed = part(bottom, "squeeze1x1", squeeze, 1)
    branches = [part(squeezed, "expand1x1", expand, 1), part(squeezed, "expand3x3", expand, 3, 1)]
    return net.concat(branches, f"{name}/concat")


def inception(net: NetBuilder, bottom: str, name: str, channels: Inception) -> str:
    """GoogLeNet's block: four branches side by side."""
    part = partial(_part, net, name)
    one = part(bottom, "1x1", channels.one, 1)
    three = part(bottom, "3x3_reduce", channels.three[0], 1)
    three = part(three, "3x3", channels.three[1], 3, 1)
    five = part(bottom, "5x5_reduce", channels.five[0], 1)
    five = part(five, "5x5", channels.five[1], 5, 2)
    pool = net.max_pool(bottom, f"{name}/pool", 3, pad=1)
    pool = part(pool, "pool_proj", channels.pool, 1)
    return net.concat([one, three, five, pool], f"{name}/output")


def four_thousand(net: NetBuilder, bottom: str) -> str:
    """pynetbuilder's 4k stage behind a residual net: 2,048 channels, their mean, 4,096 channels."""
    top = convolution_bn_relu(net, bottom, "1by1_2048", 2048, 1)
    top = convolution_bn_relu(net, net.average_pool(top, "pool", 7), "1by1_4096", 4096, 1)
    return net.dropout(top, "drop_1by1_4096", 0.2)
