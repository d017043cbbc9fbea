"""``saferank model``: figures, and nets run on arrays."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from caffe_cases import LAYERS, read_case
from typer.testing import CliRunner

from saferank.cli import app
from saferank.errors import ConfigurationError, ModelFormatError


def run(folder: Path, *arguments: object) -> str:
    result = CliRunner().invoke(
        app,
        ["model", "run", str(folder / "net.prototxt"), str(folder / "net.caffemodel")]
        + [str(each) for each in arguments],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_the_figures_of_open_nsfw() -> None:
    result = CliRunner().invoke(app, ["model", "show"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    # By hand: weights of the convolutions and of the last layer; rows x columns x taps of each.
    assert "Convolution 5.89 M" in result.stdout
    assert "Convolution 1,068.55 M" in result.stdout
    assert "5,944,567" in result.stdout
    assert "value 1 of prob" in result.stdout
    # 7 x 7 x 3 taps for each of 64 filters and their biases; 112 x 112 places.
    assert "9,472" in result.stdout
    assert "118,013,952" in result.stdout


def test_a_net_of_two_files_is_shown() -> None:
    folder = LAYERS / "net_squeezenet"
    files = [str(folder / "net.prototxt"), str(folder / "net.caffemodel")]
    result = CliRunner().invoke(app, ["model", "show", *files])
    assert result.exit_code == 0
    assert "conv10" in result.stdout


def test_outputs_are_written_under_caffes_names(tmp_path: Path) -> None:
    for name in ("weights_names_odd", "text_syntax", "outputs_sorted", "inplace_name_collisions"):
        case = read_case(name)
        output = tmp_path / f"{name}.npz"
        run(case.folder, "--input", case.folder / "input.npy", "--out", output)
        with np.load(output) as written:
            got = {blob: written[blob] for blob in written.files}
        assert list(got) == list(case.outputs)
        assert case.excess(got) <= 0


def test_inputs_go_by_name_or_by_order(tmp_path: Path) -> None:
    case = read_case("scale_two_bottom_axis0")
    x, s = (tmp_path / f"{name}.npy" for name in ("x", "s"))
    np.save(x, case.inputs["x"])
    np.save(s, case.inputs["s"].astype(np.float64))
    output = tmp_path / "out.npz"
    for given in (
        ["--input", f"s={s}", "--input", f"x={x}"],
        ["--input", x, "--input", s],
        ["--input", f"s={s}", "--input", x],
    ):
        run(case.folder, *given, "--out", output)
        with np.load(output) as written:
            assert case.excess({"y": written["y"]}) <= 0


def test_a_blob_inside_the_net_can_be_asked_for(tmp_path: Path) -> None:
    case = read_case("net_alexnet")
    output = tmp_path / "out.npz"
    run(case.folder, "--input", case.folder / "input.npy", "--out", output, "--blob", "pool1")
    with np.load(output) as written, np.load(case.folder / "blobs.npz") as caffe:
        assert written.files == ["pool1"]
        if "pool1" in caffe.files:
            np.testing.assert_allclose(written["pool1"], caffe["pool1"], rtol=1e-4, atol=1e-4)


def test_the_shape_of_the_input_wins(tmp_path: Path) -> None:
    case = read_case("conv_basic")
    image = np.zeros((5, 3, 9, 9), np.float32)
    np.save(tmp_path / "x.npy", image)
    output = tmp_path / "out.npz"
    run(case.folder, "--input", tmp_path / "x.npy", "--out", output)
    with np.load(output) as written:
        assert written["conv1"].shape == (5, 5, 9, 9)


def test_a_blob_without_axes_has_none_in_the_file(tmp_path: Path) -> None:
    """As in Caffe: a reduction over all axes leaves a number, not a row of one."""
    case = read_case("reduction_ops")
    text = (case.folder / "net.prototxt").read_text()
    (tmp_path / "net.prototxt").write_text(text.replace("axis: 1", "axis: 0"))
    shutil.copy(case.folder / "net.caffemodel", tmp_path)
    output = tmp_path / "out.npz"
    printed = run(tmp_path, "--input", case.folder / "input.npy", "--out", output)
    with np.load(output) as written:
        assert () in {written[name].shape for name in written.files}
    assert "scalar" in printed


@pytest.mark.parametrize(
    ("arguments", "reason", "kind"),
    [
        (["--input", "image=x.npy"], "it has data", ConfigurationError),
        (["--input", "none.npy"], r"none\.npy", ConfigurationError),
        (["--input", "INPUT", "--input", "INPUT"], "2 inputs are given", ConfigurationError),
        (["--input", "INPUT", "--blob", "conv2"], "meant", ModelFormatError),
    ],
)
def test_a_wrong_input_or_blob_is_named(
    arguments: list[str], reason: str, kind: type[Exception]
) -> None:
    folder = LAYERS / "conv_basic"
    given = [argument.replace("INPUT", str(folder / "input.npy")) for argument in arguments]
    with pytest.raises(kind, match=reason):
        run(folder, *given)
