"""``saferank net``: what is written and what is printed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from saferank.cli import app
from saferank.errors import ConfigurationError, SaferankError
from saferank.models.caffe import convert, read_prototxt, read_weights


def run(*arguments: object) -> Result:
    words = ["net", *(str(each) for each in arguments)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "160"}, catch_exceptions=False)


def test_a_net_is_written_with_first_weights_that_fit_it(tmp_path: Path) -> None:
    out = tmp_path / "made" / "here"
    result = run(
        "build",
        "cifar10_resnet_20",
        "--classes",
        3,
        "--classifier",
        "new",
        "--weights",
        "--out",
        out,
    )
    assert result.exit_code == 0, result.output
    converted = convert(
        read_prototxt(out / "deploy.prototxt"), read_weights(out / "initial.caffemodel")
    )
    assert converted.outputs == {"prob": (1, 3)}
    assert {layer.name for layer in converted.layers} >= {"conv_1", "new", "prob"}
    train = read_prototxt(out / "train.prototxt").message
    assert train.layer[0].memory_data_param.batch_size == 32
    assert train.layer[-1].type == "Accuracy"


def test_the_folder_is_called_like_the_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("build", "resnet_50_thin", "--batch", 8).exit_code == 0
    train = read_prototxt(tmp_path / "resnet_50_1by2" / "train.prototxt").message
    assert train.layer[0].memory_data_param.batch_size == 8
    assert not (tmp_path / "resnet_50_1by2" / "initial.caffemodel").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaferankError, match=r"file/x/deploy\.prototxt cannot be written"):
        run("build", "alexnet", "--out", tmp_path / "file" / "x")


def test_costs_are_printed_in_both_ways_of_counting() -> None:
    output = run("cost", "resnet_50").output
    assert "25,636,765" in output
    assert "as pynetbuilder counts: 25.556032 M parameters, 3858.026368 M multiply-adds" in output


def test_another_input_shape_is_counted() -> None:
    assert "30,941,0" not in run("cost", "vgg_16").output
    # Two images: twice the multiply-adds.
    assert "30,940,528,640" in run("cost", "vgg_16", "--shape", "data=2x3x224x224").output
    wrong = run("cost", "vgg_16", "--shape", "data=2x3xax224")
    assert wrong.exit_code == 2
    assert "is not like data=1x3x224x224" in wrong.output


def test_a_net_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is 'squeezenet' meant"):
        run("cost", "squeeznet")


def test_the_comparison_is_written(tmp_path: Path) -> None:
    page, png = tmp_path / "page.html", tmp_path / "picture.png"
    output = run("compare", "--page", page, "--png", png).output
    assert "resnet_50_1by2" in output
    assert "1,069.57" in output
    assert page.read_text().startswith("<!doctype html>")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_all_nets_are_listed() -> None:
    output = run("list").output
    assert "ms_ctc" in output
    assert "cifar10_resnet_110" in output
