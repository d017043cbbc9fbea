"""Writing a net layer by layer, in the words of Caffe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from saferank.models.caffe import caffe_pb2 as pb

WeightFiller = Literal["xavier", "msra"]

# Height and width.
Pair = tuple[int, int]


class NetBuilder:
    """Collects the layers of one net; each method adds a layer and returns the name of its top.

    Attributes:
        training: whether the net is written for training; some nets have losses of their own then.
        message: the net so far.
    """

    def __init__(self, name: str, *, training: bool) -> None:
        self.training = training
        self.message = pb.NetParameter(name=name)

    def add(
        self, type: str, name: str, bottoms: Sequence[str], *, in_place: bool = False
    ) -> pb.LayerParameter:
        """Add a layer whose top has its name, or that of its bottom when it works in place."""
        top = bottoms[0] if in_place else name
        return self.message.layer.add(name=name, type=type, bottom=bottoms, top=[top])

    def input(self, name: str, shape: Sequence[int]) -> str:
        """Declare an input blob."""
        layer = self.add("Input", name, [])
        layer.input_param.shape.add(dim=shape)
        return name

    def convolution(
        self,
        bottom: str,
        name: str,
        outputs: int,
        kernel: int | Pair,
        *,
        stride: int | Pair = 1,
        pad: int | Pair = 0,
        group: int = 1,
        filler: WeightFiller = "msra",
    ) -> str:
        """Convolve; kernel, stride and pad are one number for both axes, or (height, width)."""
        layer = self.add("Convolution", name, [bottom])
        given = layer.convolution_param
        given.num_output = outputs
        for field, short, value, default in (
            ("kernel_size", "kernel", kernel, None),
            ("stride", "stride", stride, 1),
            ("pad", "pad", pad, 0),
        ):
            if isinstance(value, tuple):
                setattr(given, f"{short}_h", value[0])
                setattr(given, f"{short}_w", value[1])
            elif value != default:
                getattr(given, field).append(value)
        if group != 1:
            given.group = group
        given.weight_filler.type = filler
        given.bias_filler.type = "constant"
        _weight_and_bias(layer)
        return name

    def inner_product(
        self, bottom: str, name: str, outputs: int, *, filler: WeightFiller = "msra"
    ) -> str:
        """Multiply the whole bottom by a matrix."""
        layer = self.add("InnerProduct", name, [bottom])
        layer.inner_product_param.num_output = outputs
        layer.inner_product_param.weight_filler.type = filler
        layer.inner_product_param.bias_filler.type = "constant"
        _weight_and_bias(layer)
        return name

    def batch_norm(self, bottom: str, name: str) -> str:
        """Normalise in place: by the batch in training, by the stored statistics elsewhere."""
        layer = self.add("BatchNorm", name, [bottom], in_place=True)
        # Its blobs are statistics, which the solver must leave alone.
        for _ in range(3):
            layer.param.add(lr_mult=0, decay_mult=0)
        return bottom

    def scale(self, bottom: str, name: str) -> str:
        """Scale and shift each channel in place."""
        self.add("Scale", name, [bottom], in_place=True).scale_param.bias_term = True
        return bottom

    def relu(self, bottom: str, name: str) -> str:
        """Cut below zero, in place."""
        self.add("ReLU", name, [bottom], in_place=True)
        return bottom

    def dropout(self, bottom: str, name: str, ratio: float = 0.5) -> str:
        """Drop values in training, in place; elsewhere it changes nothing."""
        self.add("Dropout", name, [bottom], in_place=True).dropout_param.dropout_ratio = ratio
        return bottom

    def lrn(self, bottom: str, name: str, *, size: int = 5, alpha: float = 1e-4) -> str:
        """Normalise across neighbouring channels, as AlexNet does."""
        given = self.add("LRN", name, [bottom]).lrn_param
        given.local_size, given.alpha, given.beta = size, alpha, 0.75
        return name

    def max_pool(
        self, bottom: str, name: str, kernel: int, *, stride: int = 1, pad: int = 0
    ) -> str:
        """Take the largest of each window."""
        return self._pool(bottom, name, pb.PoolingParameter.MAX, kernel, stride, pad)

    def average_pool(self, bottom: str, name: str, kernel: int, *, stride: int = 1) -> str:
        """Take the mean of each window."""
        return self._pool(bottom, name, pb.PoolingParameter.AVE, kernel, stride, 0)

    def global_average(self, bottom: str, name: str) -> str:
        """Take the mean of each channel."""
        given = self.add("Pooling", name, [bottom]).pooling_param
        given.pool, given.global_pooling = pb.PoolingParameter.AVE, True
        return name

    def _pool(
        self,
        bottom: str,
        name: str,
        pool: pb.PoolingParameter.PoolMethod,
        kernel: int,
        stride: int,
        pad: int,
    ) -> str:
        given = self.add("Pooling", name, [bottom]).pooling_param
        given.pool, given.kernel_size, given.stride = pool, kernel, stride
        if pad:
            given.pad = pad
        return name

    def concat(self, bottoms: Sequence[str], name: str) -> str:
        """Put blobs one behind the other along the channels."""
        self.add("Concat", name, bottoms)
        return name

    def flatten(self, bottom: str, name: str) -> str:
        """Make one axis of all but the first."""
        self.add("Flatten", name, [bottom])
        return name

    def sum(self, bottoms: Sequence[str], name: str) -> str:
        """Add blobs of one shape."""
        self.add("Eltwise", name, bottoms)
        return name

    def softmax(self, bottom: str, name: str) -> str:
        """Make probabilities of logits."""
        self.add("Softmax", name, [bottom])
        return name

    def loss(self, logits: str, name: str, *, weight: float = 1.0) -> str:
        """Compare logits with the labels, in training."""
        layer = self.add("SoftmaxWithLoss", name, [logits, "label"])
        if weight != 1.0:
            layer.loss_weight.append(weight)
        return name


def _weight_and_bias(layer: pb.LayerParameter) -> None:
    """Caffe's custom: the bias learns twice as fast, and does not decay."""
    layer.param.add(lr_mult=1, decay_mult=1)
    layer.param.add(lr_mult=2, decay_mult=0)
