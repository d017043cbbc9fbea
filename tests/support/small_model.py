"""A net of three layers, small enough to be trained in a test."""

from pathlib import Path

from saferank.models.builder.fill import fill
from saferank.models.caffe import parse_prototxt

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 8 kernel_size: 5 stride: 2
                            weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv"
        batch_norm_param { moving_average_fraction: 0.8 } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
        pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
        inner_product_param { num_output: 2 weight_filler { type: "msra" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
DESCRIPTION = """
name = "small"
[files]
prototxt = "deploy.prototxt"
weights = "weights.caffemodel"
[input]
size = [32, 32]
preprocessing = "{preprocessing}"
resize = [36, 36]
mean = [128.0, 128.0, 128.0]
scale = 0.02
[output]
classes = ["{classes[0]}", "{classes[1]}"]
positive = "{classes[1]}"
"""


def write_small_model(
    folder: Path,
    classes: tuple[str, str],
    *,
    preprocessing: str = "resize-crop",
    seed: int = 5,
) -> Path:
    """Write a model with first weights; the second class is the positive one."""
    (folder / "deploy.prototxt").write_text(NET)
    weights = fill(parse_prototxt(NET.encode(), "deploy.prototxt"), seed=seed)
    (folder / "weights.caffemodel").write_bytes(weights.SerializeToString())
    text = DESCRIPTION.format(preprocessing=preprocessing, classes=classes)
    (folder / "model.toml").write_text(text)
    return folder / "model.toml"
