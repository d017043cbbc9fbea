"""``saferank calibrate``: from a file of labels to thresholds, a report and a policy."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import NEGATIVE, POSITIVE, drawn
from PIL import Image
from small_model import write_small_model
from typer.testing import CliRunner, Result

from saferank.cli import app
from saferank.errors import ConfigurationError, PolicyError
from saferank.mappings.float32 import as_float32
from saferank.ranker import load_policy

POLICY = """\
version: 1
levels:
  off:      {}   # nothing
  moderate: {demote_from: 0.3, hide_from: 0.8, unscored: demote}
contexts: [{level: moderate}]
"""


def run(*arguments: object) -> Result:
    words = ["calibrate", *(str(each) for each in arguments)]
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, words)


def write(path: Path, *, size: int = 2000, seed: int = 1) -> Path:
    labels = drawn(seed, size, 0.4)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "probability", "label", "surface"))
        rows = zip(labels.names, labels.probabilities.tolist(), labels.truth.tolist(), strict=True)
        for number, (name, probability, truth) in enumerate(rows):
            table.writerow((name, probability, int(truth), ("web", "app")[number % 2]))
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write(tmp_path / "labels.csv")


def figures(path: Path) -> dict[str, Any]:
    text = path.read_text()
    assert "Infinity" not in text
    assert "NaN" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_thresholds_go_from_labels_into_a_copy_of_the_policy(labels: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    out, told = tmp_path / "out", tmp_path / "figures.json"
    result = run(
        labels, "--max-miss", 0.02, "--max-false-alarm", 0.01, "--out", out, "--figures", told,
        "--policy", policy, "--level", "moderate",
    )  # fmt: skip
    assert result.exit_code == 0, result.exception
    miss, alarm = figures(told)["thresholds"]
    assert miss["counted"]["share"] < miss["bound"] <= 0.02
    assert alarm["counted"]["share"] < alarm["bound"] <= 0.01
    level = load_policy(out / "policy.yaml").levels["moderate"]
    assert level.demote_from == as_float32(miss["threshold"])
    assert level.hide_from == as_float32(alarm["threshold"])
    assert POSITIVE.cdf(level.demote_from) < 0.02
    assert NEGATIVE.sf(level.hide_from) < 0.01
    text = (out / "policy.yaml").read_text()
    assert "  off:      {}   # nothing\n" in text
    assert "# calibrated: miss bound 0.02 at" in text
    assert policy.read_text() == POLICY
    assert {path.name for path in out.iterdir()} == {
        "report.html", "policy.yaml", "probabilities.png", "rates.png", "roc.png",
        "precision-recall.png",
    }  # fmt: skip


def test_the_report_needs_no_other_file_and_names_the_hardest(labels: Path, tmp_path: Path) -> None:
    options = ("--group", "surface", "--probabilities", "isotonic", "--max-miss", 0.05)
    result = run(labels, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 5
    for outside in ("<script", "<link", "src=", "url(http"):
        assert outside not in page
    assert "surface = app" in page
    known = drawn(1, 2000, 0.4)
    wrong = np.where(known.truth, 1 - known.probabilities, known.probabilities)
    assert f">{known.names[int(wrong.argmax())]}<" in page


def test_no_threshold_is_null_and_writes_no_policy(tmp_path: Path) -> None:
    labels = write(tmp_path / "few.csv", size=100)
    told = tmp_path / "figures.json"
    assert run(labels, "--max-miss", 0.01, "--figures", told).exit_code == 0
    (one,) = figures(told)["thresholds"]
    assert one["threshold"] is None
    assert one["needed"] == 299
    out = tmp_path / "out"
    result = run(labels, "--max-miss", 0.01, "--out", out, "--level", "strict")
    assert isinstance(result.exception, ConfigurationError)
    assert not out.exists()


def test_what_changed_from_another_file_is_told(labels: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    lines = labels.read_text().splitlines()
    changed = [
        line.replace(line.split(",")[1], "0.999") if number == 5 else line
        for number, line in enumerate(lines)
    ]
    other.write_text("\n".join(changed))
    told = tmp_path / "figures.json"
    result = run(other, "--before", labels, "--max-miss", 0.05, "--figures", told)
    assert result.exit_code == 0, result.exception
    (drift,) = figures(told)["drift"]
    assert drift["both"] == 2000
    assert {one["name"] for one in drift["moved"]} <= {lines[5].split(",")[0]}


def test_images_are_scored_where_there_is_no_probability(tmp_path: Path) -> None:
    model = write_small_model(tmp_path, ("safe", "nsfw"), preprocessing="resize-jpeg-crop")
    rows = ["image,label"]
    for number in range(20):
        Image.new("RGB", (40, 40), (number * 12,) * 3).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number % 2}")
    (tmp_path / "images.csv").write_text("\n".join(rows))
    told = tmp_path / "figures.json"
    result = run(tmp_path / "images.csv", "--model", model, "--figures", told)
    assert result.exit_code == 0, result.exception
    assert figures(told)["labels"]["count"] == 20
    (tmp_path / "3.png").unlink()
    assert "3.png cannot be read" in str(run(tmp_path / "images.csv", "--model", model).exception)


@pytest.mark.parametrize(
    ("last", "options", "said"),
    [
        ("0.png,animal", (), "row 22: the label is 'animal'"),
        ("none.png,1", (), "none.png cannot be read: no such file"),
        ("0.png,0", ("--policy", "policy.yaml", "--level", "x"), "there is no level 'x'"),
    ],
)
def test_what_can_be_known_before_costs_no_scoring(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    last: str,
    options: tuple[str, ...],
    said: str,
) -> None:
    """The model is not there either, and would be missed first."""
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text(POLICY)
    for number in range(20):
        Path(f"{number}.png").touch()
    rows = [f"{number}.png,{number % 2}" for number in range(20)]
    Path("images.csv").write_text("\n".join(["image,label", *rows, last]))
    options = (*options, "--max-miss", "0.1", "--out", "out") if options else options
    result = run("images.csv", "--model", "missing.toml", *options)
    assert said in str(result.exception)


def test_names_of_classes_are_taken_as_for_training(tmp_path: Path) -> None:
    path, told = tmp_path / "labels.csv", tmp_path / "figures.json"
    rows = [f"{number},{number / 40},{('other', 'animal')[number // 20]}" for number in range(40)]
    path.write_text("\n".join(["image,probability,label", *rows]))
    result = run(path, "--positive", "animal", "--figures", told)
    assert "positive: 'animal' (20); negative: 'other' (20)" in result.output
    assert figures(told)["areas"]["roc"]["value"] == 1
    assert "do not tell" not in result.output


def test_probabilities_that_tell_nothing_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    rows = [f"{number},{number % 20 / 40},{number // 20}" for number in range(40)]
    path.write_text("\n".join(["image,probability,label", *rows]))
    result = run(path, "--max-miss", 0.2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    assert "the area is 0.5000" in result.output
    assert "Do not use these thresholds" in (tmp_path / "out" / "report.html").read_text()


HEAD = "image,probability,label"
GOOD = [f"{number}.jpg,0.{number:02d},{number % 2}" for number in range(40)]


@pytest.mark.parametrize(
    "lines",
    [
        ["image,probability", "a,0.5"],
        [HEAD, *GOOD, "x,1.2,1"],
        [HEAD, *(f"{number},0.5,0" for number in range(50))],
        [HEAD],
        [""],
        [HEAD, "a,0.1,0", "b,0.9,1"],
        [HEAD, *GOOD, "1.jpg,0.01,0"],
        [HEAD, *(f"{number},0.5,{number % 2}" for number in range(500_001))],
    ],
    ids=["column", "range", "one-class", "no-rows", "empty", "two-rows", "two-labels", "too-many"],
)
def test_bad_labels_are_one_sentence_and_nothing_is_written(
    tmp_path: Path, lines: list[str]
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines))
    result = run(path, "--max-miss", 0.01, "--out", tmp_path / "out", "--figures", tmp_path / "j")
    assert isinstance(result.exception, ConfigurationError)
    assert "\n" not in str(result.exception)
    assert [one.name for one in tmp_path.iterdir()] == ["bad.csv"]


def test_a_policy_that_cannot_be_changed_leaves_nothing_behind(
    labels: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    out = tmp_path / "out"
    result = run(labels, "--max-miss", 0.02, "--out", out, "--policy", policy, "--level", "none")
    assert isinstance(result.exception, PolicyError)
    assert not out.exists()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--level", "strict"),
        ("--level", "strict", "--out", "x"),
        ("--policy", "policy.yaml", "--max-miss", "0.1"),
        ("--audit", "x.csv"),
        ("--probabilities", "other"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(labels: Path, options: tuple[str, ...]) -> None:
    assert run(*([labels, *options] if options else [])).exit_code == 2
