"""The cheap first pass of open_nsfw: estimates, and what an identity says of them."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from saferank.errors import ConfigurationError, ModelFormatError
from saferank.models import load_model, runtime_openvino
from saferank.models.description import load_description, locate, margin_of
from saferank.models.quantise import LEAST, quantise, write


@pytest.fixture(scope="module")
def blobs() -> NDArray[np.float32]:
    dice = np.random.default_rng(3)
    coarse = dice.normal(0, 50, (LEAST, 3, 7, 7)).astype(np.float32)
    return np.kron(coarse, np.ones((1, 1, 32, 32), np.float32))


def test_the_identity_of_the_exact_model_is_as_before_and_the_fast_ones_says_its_margin() -> None:
    exact, fast = load_model("open_nsfw"), load_model("open_nsfw_fast")
    assert fast.identity.startswith(exact.identity + "/fast-0.05-")
    assert margin_of(exact.identity) is None
    assert margin_of(fast.identity) == 0.05
    assert (exact.margin, exact.scaled_to) == (None, None)
    can_run = runtime_openvino.lacking(bfloat16=True) is None
    assert (fast.margin, fast.scaled_to) == ((0.05, 384) if can_run else (None, None))


@pytest.mark.parametrize("word", ["fast-0.05", "x/fast-0.05-short", "my-model", ""])
def test_other_words_for_a_model_say_no_margin(word: str) -> None:
    assert margin_of(word) is None


def test_the_probabilities_of_the_fast_model_are_exact(blobs: NDArray[np.float32]) -> None:
    exact, fast = load_model("open_nsfw"), load_model("open_nsfw_fast")
    np.testing.assert_array_equal(fast.probabilities(blobs[:4]), exact.probabilities(blobs[:4]))
    np.testing.assert_allclose(fast.estimates(blobs[:4]), exact.probabilities(blobs[:4]), atol=0.05)


def test_without_the_instructions_all_is_exact_under_the_same_identity(
    blobs: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wanted = load_model("open_nsfw_fast").identity
    monkeypatch.setattr(runtime_openvino, "lacking", lambda *, bfloat16: "no such instructions")
    with caplog.at_level(logging.WARNING):
        model = load_model("open_nsfw_fast")
    assert (model.identity, model.margin, model.lacks) == (wanted, None, "no such instructions")
    assert "no such instructions" in caplog.text
    exact = load_model("open_nsfw").probabilities(blobs[:2])
    np.testing.assert_array_equal(model.estimates(blobs[:2]), exact)


def test_where_instructions_are_held_back_all_is_exact() -> None:
    # OpenVINO still calls the processor able to compute in bfloat16 then, and fails.
    code = (
        "from saferank.models import load_model; fast = load_model('open_nsfw_fast');"
        "print(fast.margin, fast.lacks is not None, fast.identity)"
    )
    held_back = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=held_back, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["None", "True", load_model("open_nsfw_fast").identity]


def test_an_eight_bit_net_is_part_of_the_identity_and_checked(
    blobs: NDArray[np.float32], tmp_path: Path
) -> None:
    description, folder = load_description("open_nsfw")
    net = quantise(description, folder, list(blobs))
    path = write(description, folder, net, 0.02, tmp_path / "mine")
    model = load_model(path)
    assert margin_of(model.identity) == model.margin == 0.02
    assert model.identity != load_model("open_nsfw_fast").identity
    exact = model.probabilities(blobs[:4])
    estimates = model.estimates(blobs[:4])
    assert np.abs(estimates - exact).max() < 0.2
    assert (estimates != exact).any()
    (path.parent / "first.zip").write_bytes(net + b"!")
    with pytest.raises(ModelFormatError, match=r"first\.zip is not the file"):
        locate(*load_description(path))


def test_too_few_pictures_are_refused(blobs: NDArray[np.float32]) -> None:
    with pytest.raises(ConfigurationError, match="99 readable pictures are too few"):
        quantise(*load_description("open_nsfw"), list(blobs[:99]))
