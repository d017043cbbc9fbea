"""Features of images: blobs from inside a net, written as tables."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from small_model import write_small_model
from typer.testing import CliRunner

from saferank.cli import app
from saferank.errors import ModelError
from saferank.models import load_model
from saferank.models.features import open_features


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("small"), ("safe", "nsfw"))


def test_a_blob_has_its_value_at_the_end_of_the_pass(small: Path) -> None:
    net, model = open_features(small, ["conv", "prob"]), load_model(small)
    picture = Image.effect_mandelbrot((60, 50), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    found = net.of(picture)
    # 14 places a side of 8 channels, after the layers that work in place: none is below 0.
    assert found["conv"].shape == (8, 14, 14)
    assert found["conv"].min() == 0
    assert found["prob"][1] == model.probabilities(model.preprocess(picture)[None])[0]
    with pytest.raises(ModelError, match="nothing"):
        open_features(small, ["nothing"])


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_features_are_written_and_images_that_cannot_be_read_are_named(
    small: Path, tmp_path: Path, suffix: str
) -> None:
    for level in (40, 200):
        Image.new("RGB", (40, 40), (level, 0, 0)).save(tmp_path / f"{level}.png")
    (tmp_path / "text.png").write_text("no picture")
    names = [str(tmp_path / f"{name}.png") for name in ("40", "text", "200")]
    output = tmp_path / f"features.{suffix}"
    options = ["--blob", "pool", "--blob", "prob", "--out", str(output), "--model", str(small)]
    run = CliRunner().invoke(app, ["model", "features", *names, *options])
    assert run.exit_code == 1
    assert "text.png: the bytes are not an image" in run.output.replace("\n", " ")
    expected = open_features(small, ["pool"]).of(Image.open(names[2]))["pool"]
    if suffix == "npz":
        stored = np.load(output)
        assert stored["image"].tolist() == [names[0], names[2]]
        assert stored["prob"].shape == (2, 2)
        np.testing.assert_array_equal(stored["pool"][1], expected)
    else:
        rows = parquet.read_table(output).to_pylist()
        assert [row["image"] for row in rows] == [names[0], names[2]]
        np.testing.assert_array_equal(np.float32(rows[1]["pool"]), expected.ravel())
