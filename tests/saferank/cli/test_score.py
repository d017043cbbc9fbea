"""``saferank score`` on the pictures of the models' tests."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saferank.cli import app

MODELS = Path(__file__).parents[2] / "models"
IMAGES = MODELS / "data" / "images"
GOLDEN = {
    entry["file"]: entry
    for entry in json.loads((MODELS / "data" / "golden.json").read_text())["images"]
}
KEYS = ["image", "probability", "model", "status", "error", "width", "height", "frames"]


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
        "width": 640,
        "height": 427,
        "frames": 1,
    }
    assert lines[0]["model"].startswith("open_nsfw/74b7c0374425/resize-jpeg-crop/")


def test_a_failed_image_has_its_line_and_the_others_theirs(tmp_path: Path) -> None:
    broken, missing = IMAGES / "d_astro_truncated60.jpg", tmp_path / "none.png"
    text = tmp_path / "page.jpg"
    text.write_text("<html>no image</html>")
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


@pytest.mark.parametrize("arguments", [[], ["--reference"], ["x.png", "--runtime", "tpu"]])
def test_a_wrong_call_is_a_usage_error(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["score", *arguments]).exit_code == 2
