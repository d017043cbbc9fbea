"""What the conversion does beyond single layers: any batch, folding, shapes from elsewhere."""

import numpy as np
import onnx
import pytest
from caffe_cases import LAYERS, read_case

from saferank.errors import ModelFormatError
from saferank.models.caffe import (
    convert,
    convert_for_any_batch,
    input_names,
    parse_prototxt,
    read_prototxt,
    read_weights,
)
from saferank.models.description import load_description, locate
from saferank.models.runtime_onnx import OnnxRuntime

NETS = ("net_alexnet", "net_mobilenet", "net_resnet_bottleneck", "net_squeezenet", "net_vgg")


def files(name: str):  # type: ignore[no-untyped-def]
    return read_prototxt(LAYERS / name / "net.prototxt"), read_weights(
        LAYERS / name / "net.caffemodel"
    )


@pytest.mark.parametrize("name", NETS)
def test_a_classifier_runs_with_any_batch(name: str) -> None:
    case = read_case(name)
    converted = convert_for_any_batch(*files(name))
    assert converted.free_batch
    net = OnnxRuntime(converted.model.SerializeToString(), threads=1)
    images = case.inputs["data"]
    for repeat in (1, 3):
        got = net.run({"data": np.concatenate([images] * repeat)})
        for blob, want in case.outputs.items():
            np.testing.assert_allclose(
                got[blob], np.concatenate([want] * repeat), rtol=1e-4, atol=1e-6
            )


def test_every_tensor_of_a_residual_net_is_known_to_have_the_input_s_images() -> None:
    """Else onnxruntime copies a tensor before it adds another to it."""
    converted = convert_for_any_batch(*files("net_resnet_bottleneck"))
    graph = onnx.shape_inference.infer_shapes(converted.model).graph
    (given,) = graph.input
    images = given.type.tensor_type.shape.dim[0].dim_param
    assert images
    sums = {node.output[0] for node in graph.node if node.op_type == "Add"}
    counts = {one.name: one.type.tensor_type.shape.dim[0].dim_param for one in graph.value_info}
    assert sums
    assert {counts[name] for name in sums} == {images}


@pytest.mark.parametrize("name", ["bn_layer_phase_train", "softmax_axes", "concat_axes"])
def test_a_net_whose_images_meet_is_not_run_in_batches(name: str) -> None:
    assert not convert_for_any_batch(*files(name)).free_batch


def test_all_that_follows_a_convolution_channel_by_channel_is_folded() -> None:
    description, folder = load_description("open_nsfw")
    located = locate(description, folder)
    converted = convert(read_prototxt(located.prototxt), read_weights(located.weights))
    kinds = {node.op_type for node in converted.model.graph.node}
    assert kinds.isdisjoint({"Sub", "Div", "Mul"})
    assert sum(each.multiply_adds for each in converted.layers if each.type == "Convolution") == (
        1_068_548_096
    )
    counted = {"Convolution", "InnerProduct"}
    assert sum(each.parameters for each in converted.layers if each.type in counted) == 5_891_266


def test_a_blob_that_somebody_reads_before_the_scale_is_not_folded_away() -> None:
    prototxt = parse_prototxt(
        (LAYERS / "bn_scale_chain" / "net.prototxt")
        .read_bytes()
        .replace(
            b'bottom: "conv1"\n  top: "conv1"\n}\nlayer {\n  name: "sc1"',
            b'bottom: "conv1"\n  top: "bn1"\n}\nlayer {\n  name: "sc1"',
        )
        .replace(
            b'type: "Scale"\n  bottom: "conv1"\n  top: "conv1"',
            b'type: "Scale"\n  bottom: "bn1"\n  top: "sc1"',
        )
        .replace(
            b'type: "ReLU"\n  bottom: "conv1"\n  top: "conv1"',
            b'type: "ReLU"\n  bottom: "sc1"\n  top: "out"',
        ),
        "net.prototxt",
    )
    weights = read_weights(LAYERS / "bn_scale_chain" / "net.caffemodel")
    case = read_case("bn_scale_chain")
    inside = convert(prototxt, weights, blobs=["conv1", "bn1", "out"])
    got = OnnxRuntime(inside.model.SerializeToString(), threads=1).run(case.inputs)
    np.testing.assert_allclose(got["out"], case.outputs["conv1"], rtol=1e-4, atol=1e-5)
    assert not np.allclose(got["conv1"], got["bn1"])


def test_shapes_given_win_and_data_layers_take_them() -> None:
    prototxt, weights = files("rules_trainval_data_layers")
    assert input_names(prototxt) == ["data"]
    assert convert(prototxt, weights).inputs == {"data": (2, 3, 17, 17)}
    wider = convert(prototxt, weights, shapes={"data": (1, 3, 17, 17)})
    assert wider.outputs == {"fc": (1, 7)}
    with pytest.raises(ModelFormatError, match="another input size"):
        convert(prototxt, weights, shapes={"data": (1, 3, 40, 40)})


def test_a_blob_that_no_layer_makes_is_named() -> None:
    with pytest.raises(ModelFormatError, match="'pool1' meant"):
        convert(*files("net_alexnet"), blobs=["pool_1"])
