"""How a classifier ends, where its decision can be followed back to places in the picture.

A net whose last steps are the average over all places and one layer decides by a sum over places:
what the layer makes of each place alone is that place's part in it, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ModelError
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.convert import layers_at_test_phase
from saferank.models.caffe.layer import Layer
from saferank.models.caffe.prototxt import Prototxt
from saferank.models.caffe.weights import Weights

_PASSED_OVER = frozenset({"Dropout", "Flatten", "Softmax", "SoftmaxWithLoss"})


@dataclass(frozen=True)
class Ending:
    """The last steps of a net.

    Attributes:
        features: blob that is averaged, N x channels x height x width.
        pool: what averages it, as the file has it.
        weights: of the last layer, classes x channels; None where the features are the classes.
        bias: of the last layer, one a class.
    """

    features: str
    pool: pb.PoolingParameter
    weights: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None

    def maps(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What speaks for each class at each place: its mean over the places is the logit.

        Args:
            features: N x channels x height x width.

        Returns:
            N x classes x height x width, float32.

        Raises:
            ModelError: the net averages over a part of the places, or weighs them differently.
        """
        if not _is_whole(self.pool, features.shape[2:]):
            raise ModelError(
                "the net does not average over all places, so its decision cannot be told by places"
            )
        if self.weights is None:
            return features
        if self.weights.shape[1] != features.shape[1]:
            raise ModelError(
                f"the last layer of the net takes {self.weights.shape[1]} values for "
                f"{features.shape[1]} channels, so its decision cannot be told by places"
            )
        maps: NDArray[np.float32] = np.einsum("kc,nchw->nkhw", self.weights, features)
        return maps if self.bias is None else maps + self.bias[:, None, None]


def ending_of(prototxt: Prototxt, weights: Weights, output: str) -> Ending:
    """Find the last steps of a net.

    Raises:
        ModelError: it ends otherwise than in an average over places and at most one layer.
    """
    last: Layer | None = None
    for layer in _backwards(layers_at_test_phase(prototxt), output):
        if layer.type in _PASSED_OVER:
            continue
        if layer.type == "Pooling" and layer.proto.pooling_param.pool == pb.PoolingParameter.AVE:
            features, pool = str(layer.proto.bottom[0]), layer.proto.pooling_param
            return Ending(features, pool, *(_weights(last, weights) if last is not None else ()))
        if last is not None or not _sees_places_alone(layer) or layer.name not in weights.names:
            break
        last = layer
    raise ModelError(
        f"{prototxt.name}: the net does not end in an average over all places and one layer, so "
        "its decision cannot be told by places"
    )


def _backwards(layers: list[Layer], output: str) -> Iterator[Layer]:
    """Each layer that made a blob, beginning with the output's, by its first bottom."""
    for layer in reversed(layers):
        if output in layer.proto.top and layer.proto.bottom:
            yield layer
            output = str(layer.proto.bottom[0])


def _sees_places_alone(layer: Layer) -> bool:
    """Whether a layer takes all channels of one place together, and nothing of others."""
    p = layer.proto.convolution_param
    is_one_by_one = {*p.kernel_size, p.kernel_h or 1, p.kernel_w or 1} == {1} and p.group == 1
    return layer.type == "InnerProduct" or (layer.type == "Convolution" and is_one_by_one)


def _weights(
    layer: Layer, stored: Weights
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    matrix, *bias = [blob.data for blob in dict(stored.layers)[layer.name]]
    if layer.type == "InnerProduct" and layer.proto.inner_product_param.transpose:
        matrix = matrix.reshape(-1, layer.proto.inner_product_param.num_output).T
    elif layer.type == "InnerProduct":
        matrix = matrix.reshape(layer.proto.inner_product_param.num_output, -1)
    else:
        matrix = matrix.reshape(layer.proto.convolution_param.num_output, -1)
    return matrix, bias[0].ravel() if bias else None


def _is_whole(pool: pb.PoolingParameter, places: tuple[int, ...]) -> bool:
    """Whether the pool averages over all places at once."""
    if pool.global_pooling:
        return True
    size = (pool.kernel_h or pool.kernel_size, pool.kernel_w or pool.kernel_size)
    return size == places and not (pool.pad or pool.pad_h or pool.pad_w)
