"""``saferank score`` on the pictures of the models' tests."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from saferank.cli import app
from saferank.indexer.decode import decode
from saferank.models.explained import explained
from saferank.models.preprocess import Input
from saferank.settings import DecodeSettings

MODELS = Path(__file__).parents[2] / "models"
IMAGES = MODELS / "data" / "images"
GOLDEN = {
    entry["file"]: entry
    for entry in json.loads((MODELS / "data" / "golden.json").read_text())["images"]
}
KEYS = ["image", "probability", "model", "status", "error", "cause", "width", "height", "frames"]


def score(*arguments: object) -> tuple[int, list[dict]]:
    result = CliRunner().invoke(app, ["score", *map(str, arguments), "--json"])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def test_one_json_object_an_image_in_the_order_given() -> None:
    paths = [IMAGES / "sk_text.png", IMAGES / "sk_rocket.jpg"]
    code, lines = score(*paths)
    assert code == 0
    assert [line["image"] for line in lines] == [str(path) for path in paths]
    assert all(list(line) == KEYS for line in lines)
    assert lines[1] | {"probability": None, "model": None} == {
        "image": str(paths[1]),
        "probability": None,
        "model": None,
        "status": "scored",
        "error": None,
        "cause": None,
        "width": 640,
        "height": 427,
        "frames": 1,
    }
    assert lines[0]["model"].startswith("open_nsfw/74b7c0374425/resize-jpeg-crop/")


def test_a_failed_image_has_its_line_and_the_others_theirs(tmp_path: Path) -> None:
    broken, missing = IMAGES / "d_astro_truncated60.jpg", tmp_path / "none.png"
    text = tmp_path / "page.jpg"
    text.write_text("<html>no image</html>")
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (drawn,) = score(drawing)[1]
    assert (drawn["status"], score(drawing)[0]) == ("not_read", 1)
    code, lines = score(broken, IMAGES / "s_gradient.png", missing, text)
    assert code == 1
    assert [line["error"] for line in lines] == ["truncated", None, "not_found", "not_an_image"]
    assert [line["status"] for line in lines] == ["failed", "scored", "failed", "failed"]
    assert lines[0]["probability"] is None


def test_the_reference_takes_pixels_as_stored() -> None:
    # Turned by 90 degrees in its EXIF data: upright is another picture.
    path = IMAGES / "d_astro_exif6.jpg"
    _, (reference,) = score(path, "--reference")
    _, (viewed,) = score(path)
    golden = GOLDEN[path.name]["yahoo"]["score"]
    assert reference["probability"] == pytest.approx(golden, abs=1e-5)
    assert abs(viewed["probability"] - golden) > 1e-3


def test_of_several_frames_the_highest_counts() -> None:
    path = IMAGES / "d_astro_anim.gif"
    _, (first,) = score(path, "--reference")
    _, (all_frames,) = score(path)
    assert (first["frames"], all_frames["frames"]) == (1, 3)
    assert all_frames["probability"] >= first["probability"]


def test_names_outside_ascii_are_files_like_others(tmp_path: Path) -> None:
    path = tmp_path / "ein schönes Bild 图片.png"
    shutil.copy(IMAGES / "s_gradient.png", path)
    code, (line,) = score(path)
    assert (code, line["image"], line["status"]) == (0, str(path), "scored")


def test_the_table_says_what_went_wrong() -> None:
    result = CliRunner().invoke(app, ["score", str(IMAGES / "d_astro_truncated60.jpg")])
    assert result.exit_code == 1
    assert "truncated" in result.stdout


def test_a_pipe_gets_each_image_on_one_line_and_the_whole_model(tmp_path: Path) -> None:
    path = tmp_path / ("long-name-" * 12 + ".jpg")
    shutil.copy(IMAGES / "sk_rocket.jpg", path)
    result = CliRunner(env={"COLUMNS": None}).invoke(app, ["score", str(path)])
    (row,) = (line for line in result.stdout.splitlines() if "640x427" in line)
    assert str(path) in row
    assert result.stdout.splitlines()[-1].startswith("model open_nsfw/74b7c0374425/")


@pytest.mark.parametrize("arguments", [[], ["--reference"], ["x.png", "--runtime", "tpu"]])
def test_a_wrong_call_is_a_usage_error(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["score", *arguments]).exit_code == 2


def test_what_speaks_for_the_probability_is_drawn(tmp_path: Path) -> None:
    shutil.copy(IMAGES / "sk_rocket.jpg", tmp_path)
    result = CliRunner().invoke(app, ["score", str(tmp_path / "sk_rocket.jpg"), "--explain"])
    assert result.exit_code == 0
    decoded = decode((tmp_path / "sk_rocket.jpg").read_bytes(), DecodeSettings())
    picture = np.asarray(decoded.frames[0], int)
    with Image.open(tmp_path / "sk_rocket.jpg.explained.png") as after:
        assert after.format == "PNG"
        drawn = np.asarray(after.convert("RGB"), int)
    assert drawn.shape == picture.shape
    changed = np.abs(drawn - picture).max(axis=2) > 0
    assert changed.mean() > 0.3
    # The net sees the middle only: 224 of 256 rows and columns.
    assert not changed[:26].any()
    assert not changed[:, :39].any()


def test_red_speaks_for_and_blue_against() -> None:
    wanted = Input(size=(8, 8), resize=(10, 10), preprocessing="resize-crop", mean=(0, 0, 0))
    evidence = np.zeros((4, 4), np.float32)
    evidence[0, 0], evidence[3, 3] = 5.0, -2.5
    drawn = explained(Image.new("RGB", (100, 50), "white"), evidence, wanted)
    red, blue, untouched = ((15, 8), (85, 42), (50, 25))
    assert drawn.getpixel(red)[0] > 200 > drawn.getpixel(red)[2]
    assert drawn.getpixel(blue)[2] > 200 > drawn.getpixel(blue)[0]
    assert drawn.getpixel(untouched) == drawn.getpixel((0, 0)) == (255, 255, 255)
    assert drawn.getpixel(red)[2] < drawn.getpixel(blue)[0]  # in proportion
