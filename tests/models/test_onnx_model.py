"""Classifiers that came as ONNX files."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_nets import DESCRIPTION, WEIGHTS, write_classifier, write_detector
from PIL import Image

from saferank.errors import ConfigurationError, ModelError
from saferank.models import Model, load_model
from saferank.models.features import open_features

DESCRIBED = f"""{DESCRIPTION}positive = "gore"
[output.categories.violence]
classes = ["gore", "blood"]
combine = "sum"
[output.categories.gore]
classes = ["gore", "blood"]
"""
BLOBS = np.random.default_rng(5).uniform(0, 255, (3, 3, 8, 8)).astype(np.float32)


def described(folder: Path, **changes: tuple[str, str]) -> Path:
    text = DESCRIBED
    for before, after in changes.values():
        assert before in text
        text = text.replace(before, after)
    (folder / "model.toml").write_text(text)
    return folder


def logits(blobs: NDArray[np.float32]) -> NDArray[np.float64]:
    return blobs.mean(axis=(2, 3), dtype=np.float64) @ WEIGHTS


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


def test_the_probability_is_the_named_class_s(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx")
    model = load_model(described(tmp_path))
    np.testing.assert_allclose(model.probabilities(BLOBS), softmax(logits(BLOBS))[:, 1], rtol=1e-4)
    assert model.probabilities(BLOBS[:0]).shape == (0,)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_logits_become_probabilities(tmp_path: Path, kind: str) -> None:
    write_classifier(tmp_path / "net.onnx", last=None)
    changes = {"kind": ("[output]", f'[output]\nkind = "{kind}"')}
    if kind == "sigmoid":
        changes["sum"] = ('combine = "sum"', "")
    model = load_model(described(tmp_path, **changes))
    each = softmax(logits(BLOBS)) if kind == "softmax" else 1 / (1 + np.exp(-logits(BLOBS)))
    np.testing.assert_allclose(model.probabilities(BLOBS), each[:, 1], rtol=1e-4)
    # Values that exp would overflow on.
    extreme = model.classes(BLOBS * np.float32(1e6))
    assert ((extreme >= 0) & (extreme <= 1)).all()


def test_channels_may_come_last(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx", shape=("N", 8, 8, 3))
    last = load_model(described(tmp_path, layout=("[input]", '[input]\nlayout = "NHWC"')))
    np.testing.assert_allclose(last.probabilities(BLOBS), softmax(logits(BLOBS))[:, 1], rtol=1e-4)


def test_a_net_for_one_image_is_run_one_by_one(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx", shape=(1, 3, 8, 8))
    model = load_model(described(tmp_path))
    np.testing.assert_allclose(model.probabilities(BLOBS), softmax(logits(BLOBS))[:, 1], rtol=1e-4)


def test_a_net_for_any_size_takes_the_described_one(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx", shape=("N", 3, "H", "W"))
    model = load_model(described(tmp_path))
    assert model.probabilities(model.preprocess(Image.new("RGB", (99, 5)))[None]).shape == (1,)


def test_categories_are_sums_and_highest_of_classes_from_one_pass(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx")
    model = load_model(described(tmp_path))
    each = softmax(logits(BLOBS))
    found = model.by_category(BLOBS)
    assert set(found) == {"violence", "gore"}
    np.testing.assert_allclose(found["violence"], each[:, 1:].sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(found["gore"], each[:, 1:].max(axis=1), rtol=1e-4)


def named(folder: Path, name: str) -> Model:
    return load_model(f"{folder / 'model.toml'}#{name}")


def test_a_category_is_a_model_of_its_own_to_documents(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx")
    whole = load_model(described(tmp_path))
    violence = named(tmp_path, "violence")
    np.testing.assert_array_equal(
        violence.probabilities(BLOBS), whole.by_category(BLOBS)["violence"]
    )
    assert violence.identity.startswith("small#violence/")
    assert whole.of_category("violence").identity == violence.identity
    identities = {whole.identity, violence.identity, named(tmp_path, "gore").identity}
    assert len({each.rpartition("/")[2] for each in identities}) == 3


def test_a_category_s_identity_does_not_depend_on_the_others(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx")
    described(tmp_path)
    before = [named(tmp_path, each).identity for each in ("violence", "gore")]
    added = '[output.categories.all]\nclasses = ["blood"]\n[output.categories.gore]'
    described(tmp_path, added=("[output.categories.gore]", added))
    assert [named(tmp_path, each).identity for each in ("violence", "gore")] == before
    described(
        tmp_path, less=('classes = ["gore", "blood"]\ncombine', 'classes = ["gore"]\ncombine')
    )
    assert named(tmp_path, "violence").identity != before[0]
    assert named(tmp_path, "gore").identity == before[1]


def test_a_category_that_is_not_there_or_not_said_is_named(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx")
    described(tmp_path)
    with pytest.raises(ConfigurationError, match="no category 'drugs'; it has violence, gore"):
        named(tmp_path, "drugs")
    described(tmp_path, none=('positive = "gore"\n', ""))
    with pytest.raises(ConfigurationError, match="say which one is meant, as in MODEL#CATEGORY"):
        load_model(tmp_path)
    described(tmp_path, said=('positive = "gore"', 'category = "violence"'))
    assert load_model(tmp_path).identity == named(tmp_path, "violence").identity


def test_classes_that_do_not_exclude_each_other_are_not_added(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx", last="Sigmoid")
    described(tmp_path)
    model = named(tmp_path, "violence")
    with pytest.raises(ModelError, match=r"gore, blood add up to 1\.\d+; .*combine the highest"):
        model.probabilities(np.full((1, 3, 8, 8), [[[[0]], [[200]], [[200]]]], np.float32))


def test_of_detections_the_highest_of_all_places_counts(tmp_path: Path) -> None:
    scores = np.array([[0.1, 0.9, 0.2], [0.3, 0.1, 0.05], [0.0, 0.0, 0.6]], np.float32)
    write_detector(tmp_path / "net.onnx", scores)
    kind = {"kind": ("[output]", '[output]\nkind = "detections"'), "sum": ('combine = "sum"', "")}
    model = load_model(described(tmp_path, **kind))
    np.testing.assert_allclose(model.classes(BLOBS), np.tile([0.9, 0.3, 0.6], (3, 1)), rtol=1e-6)
    assert model.by_category(BLOBS)["gore"].tolist() == [np.float32(0.6)] * 3


USES = {
    "features": lambda folder: open_features(folder, ["pool"]),
    "class maps": lambda folder: load_model(folder).class_maps(BLOBS),
    "caffe": lambda folder: load_model(folder, runtime="caffe"),
}


@pytest.mark.parametrize("use", USES)
def test_what_only_caffe_s_nets_can_do_is_refused_in_a_sentence(tmp_path: Path, use: str) -> None:
    write_classifier(tmp_path / "net.onnx")
    described(tmp_path)
    with pytest.raises(ConfigurationError, match="an ONNX model"):
        USES[use](tmp_path)
