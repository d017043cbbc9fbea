"""A whole classifier from a small net: MobileNet in small, 9 classes, input 3 x 33 x 29."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from caffe_cases import LAYERS, read_case

from saferank.errors import ConfigurationError, ModelError, ModelFormatError, UnsupportedLayer
from saferank.models import load_model

DESCRIPTION = """
name = "small"
[files]
prototxt = "net.prototxt"
weights = "net.caffemodel"
[input]
size = [33, 29]
resize = [40, 40]
preprocessing = "resize-crop"
mean = [104, 117, 123]
[output]
classes = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
positive = "d"
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "saferank" / "models"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name in ("net.prototxt", "net.caffemodel"):
        shutil.copy(LAYERS / "net_mobilenet" / name, tmp_path)
    (tmp_path / "model.toml").write_text(DESCRIPTION)
    return tmp_path


def rewrite(folder: Path, name: str, before: str, after: str) -> None:
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after))


def test_the_probability_is_the_named_classes(folder: Path) -> None:
    case = read_case("net_mobilenet")
    images = case.inputs["data"]
    want = case.outputs["prob"][:, :, 0, 0]
    got = load_model(folder).probabilities(images)
    assert got.shape == (2,)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want[:, 3], rtol=1e-4)
    rewrite(folder, "model.toml", 'positive = "d"', 'positive = "e"')
    np.testing.assert_allclose(load_model(folder).probabilities(images), want[:, 4], rtol=1e-4)


def test_any_number_of_images_is_run(folder: Path) -> None:
    model = load_model(folder)
    image = read_case("net_mobilenet").inputs["data"][0]
    one = model.probabilities(image[None])[0]
    many = model.probabilities(np.stack([image] * 5))
    np.testing.assert_allclose(many, [one] * 5, rtol=1e-5)
    assert model.probabilities(np.empty((0, 3, 33, 29), np.float32)).shape == (0,)


def test_images_that_would_see_each_other_are_run_one_by_one(folder: Path) -> None:
    # Statistics of the batch: a score must not depend on what else is scored with it.
    rewrite(folder, "net.prototxt", 'type: "BatchNorm"', 'type: "BatchNorm" phase: TRAIN')
    model = load_model(folder)
    images = read_case("net_mobilenet").inputs["data"]
    alone = [model.probabilities(image[None])[0] for image in images]
    np.testing.assert_array_equal(model.probabilities(images), alone)


def test_a_net_of_fixed_shape_is_run_one_by_one(folder: Path) -> None:
    (folder / "net.prototxt").write_text(
        (folder / "net.prototxt").read_text()
        + 'layer { name: "flat" type: "Reshape" bottom: "prob" top: "flat" '
        "reshape_param { shape { dim: 9 dim: -1 } } }\n"
        + 'layer { name: "back" type: "Reshape" bottom: "flat" top: "back" '
        "reshape_param { shape { dim: -1 dim: 9 } } }\n"
    )
    rewrite(folder, "model.toml", "[output]", '[output]\nblob = "back"')
    case = read_case("net_mobilenet")
    got = load_model(folder).probabilities(case.inputs["data"])
    np.testing.assert_allclose(got, case.outputs["prob"][:, 3, 0, 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("size = [33, 29]", "size = [29, 33]", "the net wants 3x33x29"),
        ("[input]", '[input]\nblob = "image"', 'feeds "image"'),
    ],
)
def test_a_description_that_does_not_fit_the_net_is_refused(
    folder: Path, before: str, after: str, reason: str
) -> None:
    rewrite(folder, "model.toml", before, after)
    with pytest.raises(ConfigurationError, match=reason):
        load_model(folder)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('"h", "i"', '"h"', "names 8 classes"),
        ("[output]", '[output]\nblob = "probability"', 'no output "probability"'),
    ],
)
def test_an_output_that_is_not_what_the_description_says_is_refused(
    folder: Path, before: str, after: str, reason: str
) -> None:
    rewrite(folder, "model.toml", before, after)
    with pytest.raises(ConfigurationError, match=reason):
        load_model(folder).probabilities(read_case("net_mobilenet").inputs["data"])


def test_what_is_no_probability_is_never_given_out(folder: Path) -> None:
    model = load_model(folder)
    blob = np.full((1, 3, 33, 29), np.nan, np.float32)
    with pytest.raises(ModelError, match="not a probability"):
        model.probabilities(blob)
    with pytest.raises(ModelError, match="3x33x30"):
        model.probabilities(np.zeros((1, 3, 33, 30), np.float32))


def test_the_converted_net_is_kept_and_used(folder: Path, cache: Path) -> None:
    load_model(folder)
    (kept,) = cache.iterdir()
    # Another net under the same key shows that the kept one is used.
    other = load_model(folder)
    changed = kept.read_bytes().replace(b"out:prob", b"out:PROB")
    key = kept.name.split(".")[0]
    kept.unlink()
    digest = hashlib.sha256(changed).hexdigest()[:32]
    kept.with_name(f"{key}.{digest}.onnx").write_bytes(changed)
    image = read_case("net_mobilenet").inputs["data"]
    assert list(load_model(folder).forward(image)) == ["PROB"]
    assert list(other.forward(image)) == ["prob"]


def test_a_damaged_cache_is_made_again(folder: Path, cache: Path) -> None:
    load_model(folder)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    image = read_case("net_mobilenet").inputs["data"]
    assert load_model(folder).probabilities(image).shape == (2,)
    assert kept.read_bytes() == whole


def test_a_kept_net_of_which_a_bit_changed_is_made_again(folder: Path, cache: Path) -> None:
    image = read_case("net_mobilenet").inputs["data"]
    right = load_model(folder).probabilities(image)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    rotten = onnx.load_from_string(whole)
    for weights in rotten.graph.initializer:
        if weights.data_type == onnx.TensorProto.FLOAT:
            weights.raw_data = bytes(byte ^ 1 for byte in weights.raw_data)
    kept.write_bytes(rotten.SerializeToString())
    assert load_model(folder).probabilities(image).tolist() == right.tolist()
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_does_not_matter(folder: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"a file where the folder should be")
    image = read_case("net_mobilenet").inputs["data"]
    assert load_model(folder).probabilities(image).shape == (2,)


def test_another_prototxt_is_converted_anew(folder: Path, cache: Path) -> None:
    first = load_model(folder).identity
    rewrite(folder, "net.prototxt", 'type: "Softmax"', 'type: "Sigmoid"')
    assert load_model(folder).identity != first
    assert len(list(cache.iterdir())) == 2


def test_faults_in_the_files_come_through(folder: Path) -> None:
    rewrite(folder, "net.prototxt", 'type: "Softmax"', 'type: "Interp"')
    with pytest.raises(UnsupportedLayer, match="Interp"):
        load_model(folder)
    (folder / "net.caffemodel").write_bytes(b"<html>")
    with pytest.raises(ModelFormatError, match="HTML"):
        load_model(folder)


def test_a_runtime_that_is_not_there_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="tensorrt"):
        load_model(folder, runtime="tensorrt")  # type: ignore[arg-type]
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(ConfigurationError, match="make caffe"):
        load_model(folder, runtime="caffe")
