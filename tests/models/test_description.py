import hashlib
from pathlib import Path

import pytest

from saferank.errors import ConfigurationError, ModelFormatError, ModelNotFound
from saferank.models.description import (
    Files,
    ModelDescription,
    ModelFiles,
    identity,
    load_description,
    locate,
)
from saferank.models.preprocess import VIEWED

DESCRIPTION = """
name = "tiny"
[files]
prototxt = "net.prototxt"
weights = "net.caffemodel"
[input]
size = [224, 224]
resize = [256, 256]
preprocessing = "resize-crop"
mean = [104, 117, 123]
[output]
classes = ["safe", "unsafe"]
positive = "unsafe"
"""


def write(folder: Path, text: str = DESCRIPTION) -> Path:
    (folder / "net.prototxt").write_bytes(b"the network")
    (folder / "net.caffemodel").write_bytes(b"the weights")
    path = folder / "model.toml"
    path.write_text(text)
    return path


def test_the_built_in_model_names_the_class_it_stores() -> None:
    description, folder = load_description("open_nsfw")
    assert description.output.places(description.output.counted) == [1]
    assert description.output.positive_class == "nsfw"
    files = locate(description, folder)
    assert files.weights_sha256.startswith("74b7c0374425c2b3")


def test_the_built_in_model_s_identity_stays_what_it_is_in_stored_documents() -> None:
    named = "open_nsfw/74b7c0374425/resize-jpeg-crop/viewed-5/6632024008c9"
    assert identity(*_located("open_nsfw")) == named
    assert identity(*_located("open_nsfw_fast")) == f"{named}/fast-0.05-f7b34d6744cd"


def _located(name: str) -> tuple[ModelDescription, ModelFiles]:
    description, folder = load_description(name)
    return description, locate(description, folder)


def test_files_are_found_beside_the_description_by_file_or_folder(tmp_path: Path) -> None:
    path = write(tmp_path)
    for given in (path, tmp_path):
        files = locate(*load_description(given))
        assert files.prototxt == tmp_path / "net.prototxt"
        assert files.weights_sha256 == hashlib.sha256(b"the weights").hexdigest()


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('positive = "unsafe"', 'positive = "nsfw"', "output"),
        ('classes = ["safe", "unsafe"]', 'classes = ["unsafe", "unsafe"]', "output"),
        ('"resize-crop"', '"resize"', "input"),
        ("resize = [256, 256]", "resize = [200, 256]", "input"),
        ("mean = [104, 117, 123]", "mean = [104, 117]", "input.mean.2"),
        ("[output]", "[output]\nthreshold = 0.5", "output.threshold"),
        ('name = "tiny"', 'name = "a b"', "name"),
    ],
)
def test_a_wrong_description_is_refused_by_key(
    tmp_path: Path, before: str, after: str, named: str
) -> None:
    path = write(tmp_path, DESCRIPTION.replace(before, after))
    with pytest.raises(ConfigurationError, match=rf"model\.toml: {named}(: | is missing)"):
        load_description(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="open_nsfw"):
        load_description("open_nfsw")
    description, folder = load_description(write(tmp_path))
    (tmp_path / "net.caffemodel").unlink()
    with pytest.raises(ModelNotFound, match=r"net\.caffemodel"):
        locate(description, folder)
    elsewhere = description.model_copy(
        update={"files": Files(package="no_such_package", prototxt="a", weights="b")}
    )
    with pytest.raises(ModelNotFound, match="run: saferank model fetch"):
        locate(elsewhere, folder)


def test_another_file_than_the_one_meant_is_refused(tmp_path: Path) -> None:
    stated = f'weights = "net.caffemodel"\nweights_sha256 = "{"0" * 64}"'
    path = write(tmp_path, DESCRIPTION.replace('weights = "net.caffemodel"', stated))
    with pytest.raises(ModelFormatError, match="sha256"):
        locate(*load_description(path))


def changed(description: ModelDescription, part: str, **values: object) -> ModelDescription:
    return description.model_copy(
        update={part: getattr(description, part).model_copy(update=values)}
    )


def test_identity_changes_with_everything_that_decides_the_number(tmp_path: Path) -> None:
    description, folder = load_description(write(tmp_path))
    files = locate(description, folder)
    base = identity(description, files)
    others = [
        identity(changed(description, "input", mean=(104.0, 117.0, 123.5)), files),
        identity(changed(description, "input", preprocessing="resize-jpeg-crop"), files),
        identity(changed(description, "input", channel_order="RGB"), files),
        identity(changed(description, "input", resize=(257, 256)), files),
        identity(changed(description, "output", positive="safe"), files),
        identity(description, ModelFiles(files.prototxt, files.weights, "f" * 64, "e" * 64)),
        identity(
            description, ModelFiles(files.prototxt, files.weights, "f" * 64, files.weights_sha256)
        ),
    ]
    assert len({base, *others}) == len(others) + 1
    # Where the files are does not matter.
    moved = ModelFiles(Path("elsewhere"), Path("too"), files.prototxt_sha256, files.weights_sha256)
    assert identity(description, moved) == base
    assert base.startswith("tiny/")
    assert base.split("/")[1:4] == [files.weights_sha256[:12], "resize-crop", VIEWED]


def test_identity_names_the_reading_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description, folder = load_description(write(tmp_path))
    files = locate(description, folder)
    before = identity(description, files)
    monkeypatch.setattr("saferank.models.description.VIEWED", "viewed-next")
    assert identity(description, files) == before.replace(VIEWED, "viewed-next") != before
