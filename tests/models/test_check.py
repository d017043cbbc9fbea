"""What ``saferank model check`` refuses: a sentence and exit code 1 each."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_nets import DESCRIPTION, write_classifier, write_detector

from saferank.cli import main

IMAGES = Path(__file__).parent / "data" / "images"
GOOD = f"""{DESCRIPTION}category = "violence"
[output.categories.violence]
classes = ["gore", "blood"]
combine = "sum"
"""
Run = Callable[[], tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Check the description in the folder: exit code, standard output, standard error."""
    (tmp_path / "model.toml").write_text(GOOD)
    write_classifier(tmp_path / "net.onnx")
    monkeypatch.setenv("COLUMNS", "200")

    def checked() -> tuple[int, str, str]:
        command = ["saferank", "model", "check", str(tmp_path), str(IMAGES / "sk_astronaut.png")]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return checked


def test_a_description_that_fits_is_shown_with_what_it_gives(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    figures = dict(line.split()[1:4:2] for line in out.splitlines() if "│" in line)
    assert set(figures) == {"calm", "gore", "blood", "small#violence"}
    values = {name: float(value) for name, value in figures.items()}
    assert values["small#violence"] == pytest.approx(values["gore"] + values["blood"], abs=2e-6)
    assert values["calm"] + values["small#violence"] == pytest.approx(1, abs=2e-6)


WRONG_WORDS = [
    ("[files]", "[files", "not a TOML file"),
    ('name = "small"', 'name = "small"\nthreshold = 0.5', "threshold: there is no such key"),
    ('name = "small"', 'name = "a#b"', "name: String should match"),
    ('onnx = "net.onnx"', "", "name either prototxt and weights, or onnx"),
    ('onnx = "net.onnx"', 'onnx = "net.onnx"\nweights = "w"', "prototxt and weights belong"),
    ('onnx = "net.onnx"', 'onnx = "nets.onnx"', "nets.onnx: the model's file cannot be read"),
    ('"net.onnx"', f'"net.onnx"\nonnx_sha256 = "{"0" * 64}"', "is not the file that"),
    ('blob = "image"', 'blob = "data"', 'feeds "data", the net has the inputs image'),
    ("size = [8, 8]", "size = [8, 9]", "gives 3x8x9, the net wants 3x8x8"),
    ("size = [8, 8]", "size = [8, 8]\nresize = [4, 8]", "resize must be at least as large"),
    ("mean = ", 'layout = "NHWC"\nmean = ', "gives 8x8x3, the net wants 3x8x8"),
    ("mean = ", 'layout = "CHWN"\nmean = ', "input.layout: Input should be 'NCHW' or 'NHWC'"),
    ("mean = [0, 0, 0]", "mean = [0, 0]", "input.mean.2 is missing"),
    ("mean = ", "std = [1, 1, 0]\nmean = ", "input.std.2: Input should be greater than 0"),
    ("mean = ", "fill = [9, 9, 9]\nmean = ", "fill and pad belong to the preprocessing letterbox"),
    ("mean = ", 'antialias = false\ninterpolation = "bicubic"\nmean = ', "antialias = false is"),
    ('"resize-crop"', '"resize"', "preprocessing 'resize' is not one of"),
    ('blob = "out"', 'blob = "probs"', 'no output "probs"; it has out'),
    ('"calm", ', "", 'names 2 classes, the output "out" has 3'),
    ('"calm", ', '"calm", "calm", ', "names 4 classes"),
    ('["gore", "blood"]\n', '["gore", "drugs"]\n', "class 'drugs' must be exactly one of"),
    ('["gore", "blood"]\n', '["gore", "gore"]\n', "a class is named twice"),
    ('["gore", "blood"]\n', "[]\n", "output.categories.violence.classes: Tuple should have"),
    ('category = "violence"', 'category = "drugs"', "no category 'drugs'; there is violence"),
    ('blob = "out"', 'blob = "out"\nkind = "sigmoid"', "a sum of sigmoid is no probability"),
    ('blob = "out"', 'blob = "out"\nkind = "softmax"', "they are probabilities already"),
    ('blob = "out"', 'blob = "out"\nkind = "logits"', "output.kind: Input should be"),
    ("[output]", "[fast]\nmargin = 0.1\n[output]", "made from a Caffe net, not from ONNX"),
]


@pytest.mark.parametrize(("before", "after", "reason"), WRONG_WORDS)
def test_wrong_words_are_refused(
    tmp_path: Path, run: Run, before: str, after: str, reason: str
) -> None:
    path = tmp_path / "model.toml"
    assert before in GOOD
    path.write_text(GOOD.replace(before, after))
    code, out, err = run()
    assert code == 1
    assert reason in err
    assert out == ""
    assert err.startswith("saferank: ")
    assert err.count("\n") <= 4


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def apart(path: Path) -> None:
    net = onnx.load(path)
    onnx.save(net, path, save_as_external_data=True, size_threshold=0, location="weights.bin")


def two_inputs(path: Path) -> None:
    net = onnx.load(path)
    net.graph.input.append(onnx.helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    onnx.save(net, path)


def never_a_number(path: Path) -> None:
    net = onnx.load(path)
    weights = onnx.numpy_helper.to_array(net.graph.initializer[0])
    wrong = onnx.numpy_helper.from_array(np.full_like(weights, np.nan), "weights")
    net.graph.initializer[0].CopyFrom(wrong)
    onnx.save(net, path)


def a_detector(path: Path) -> None:
    write_detector(path, np.full((3, 5), 0.1, np.float32))


WRONG_NETS = {
    "is not an ONNX file": lambda path: path.write_bytes(b"<html>not here</html>"),
    "onnxruntime cannot load the net": lambda path: path.write_bytes(b""),
    "has its weights in other files": apart,
    "has the inputs image, mask": two_inputs,
    'input "image" is tensor(uint8); export it': lambda path: write_classifier(
        path, element=TensorProto.UINT8
    ),
    "gives 3x8x8, the net wants 1x8x8": lambda path: write_classifier(path, shape=("N", 1, 8, 8)),
    'output "out" is not a probability': lambda path: write_classifier(path, last=None),
    "(nan to nan)": never_a_number,
    "add up to 1.": lambda path: write_classifier(path, last="Sigmoid"),
    "images of one batch change each other's": lambda path: write_classifier(path, mixes=True),
    "is the same for every picture": lambda path: write_classifier(path, last="Softmax", dead=True),
    "has 35": a_detector,
}


@pytest.mark.parametrize("reason", WRONG_NETS)
def test_a_net_that_the_description_does_not_fit_is_refused(
    tmp_path: Path, run: Run, reason: str
) -> None:
    WRONG_NETS[reason](tmp_path / "net.onnx")
    code, out, err = run()
    assert code == 1
    assert reason in err.replace("\n", " ")
    assert out == ""
    assert "Traceback" not in err


def test_detections_in_another_order_are_refused(tmp_path: Path, run: Run) -> None:
    write_detector(tmp_path / "net.onnx", np.full((3, 5), 0.1, np.float32), turned=True)
    path = tmp_path / "model.toml"
    path.write_text(
        GOOD.replace('blob = "out"', 'blob = "out"\nkind = "detections"').replace(
            'combine = "sum"', ""
        )
    )
    code, _, err = run()
    assert code == 1
    assert "detections of 3 classes are N x 7 x places" in err
