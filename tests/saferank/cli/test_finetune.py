"""``saferank finetune``: from the command to a model that scores."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_model import write_small_model
from typer.testing import CliRunner

from saferank.cli import app
from saferank.errors import ConfigurationError
from saferank.models.description import load_description


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return write_small_model(folder, ("safe", "nsfw"), preprocessing="resize-jpeg-crop")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    lines = ["image,label"]
    for number in range(8):
        pixels = random.integers(0, 120, (40, 40, 3)) + 130 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path / "labels.csv"


def run(*arguments: object) -> str:
    words = ["finetune", *(str(each) for each in arguments)]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "160"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_model_is_trained_and_scores_files(source: Path, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    options = ("--epochs", 1, "--batch", 3, "--validation", 0.25, "--rate", 0.0001)
    output = run(labels, "--from", source, "--out", out, *options)
    assert "6 examples to learn from and 2 to judge by (4 nsfw, 4 safe)" in output
    assert "starts anew: fc_mine" in output
    assert "on the validation part, after step 2 of 2" in output
    description, _ = load_description(out)
    assert (description.name, description.output.positive) == ("mine", "nsfw")
    assert description.input.preprocessing == "resize-jpeg-crop"
    assert {"report.html", "losses.png", "roc.png"} <= {path.name for path in out.iterdir()}
    scored = CliRunner().invoke(app, ["score", "--model", str(out), str(tmp_path / "1.png")])
    assert scored.exit_code == 0, scored.output
    # Given again, there is nothing left to do, and the files are the same.
    before = (out / "weights.caffemodel").read_bytes()
    run(labels, "--from", source, "--out", out, *options)
    assert (out / "weights.caffemodel").read_bytes() == before


def test_a_picture_that_cannot_be_read_is_named(source: Path, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "3.png").write_bytes(b"no picture")
    with pytest.raises(ConfigurationError, match=r"3\.png: .*take it out of the labels"):
        run(labels, "--from", source, "--out", tmp_path / "mine", "--epochs", 1)
    (tmp_path / "3.png").unlink()
    with pytest.raises(ConfigurationError, match=r"3\.png cannot be read: No such file"):
        run(labels, "--from", source, "--out", tmp_path / "mine", "--epochs", 1)
