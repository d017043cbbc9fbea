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
from typing import Annotated, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic import ValidationError as PydanticValidationError

from saferank.errors import ConfigurationError, ModelFormatError, ModelNotFound, fault_of
from saferank.models.frames import HIGHEST, FrameRule
from saferank.models.preprocess import VIEWED, Input

_BUILT_IN = Path(__file__).resolve().parent
# How a first pass reads files: JPEGs decoded at a fraction of their size. A change is a new name.
_FIRST_READING = "scaled-2"
_FAST = "fast-"
_MARGIN = re.compile(rf"/{_FAST}(0\.\d+|\d(?:\.\d+)?e-\d+)-[0-9a-f]{{12}}$")
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Files(_Part):
    """The network and its weights: two files of Caffe's, or one ONNX file.

    Attributes:
        package: import name of the package that carries the files; without it they are beside the
            description. The package is found, never imported.
        distribution: what carries the package, as pip takes it, for ``saferank model fetch``.
        licence: of the weights, as their package says it.
        prototxt: path of Caffe's network.
        weights: path of Caffe's weights.
        onnx: path of an ONNX file, weights and all.
        prototxt_sha256: of the network's bytes; checked when given.
        weights_sha256: of the weights' bytes; checked when given.
        onnx_sha256: of the ONNX file's bytes; checked when given.
    """

    package: str | None = None
    distribution: str | None = None
    licence: str | None = None
    prototxt: str | None = None
    weights: str | None = None
    onnx: str | None = None
    prototxt_sha256: _Sha256 | None = None
    weights_sha256: _Sha256 | None = None
    onnx_sha256: _Sha256 | None = None

    @property
    def named(self) -> dict[str, str | None]:
        """The files by their paths, each with its digest."""
        if self.onnx is not None:
            return {self.onnx: self.onnx_sha256}
        assert self.prototxt is not None
        assert self.weights is not None
        return {self.prototxt: self.prototxt_sha256, self.weights: self.weights_sha256}

    @model_validator(mode="after")
    def _one_net(self) -> Files:
        if (self.prototxt is None) != (self.weights is None):
            raise ValueError("prototxt and weights belong together; name both")
        if (self.prototxt is None) == (self.onnx is None):
            raise ValueError("name either prototxt and weights, or onnx")
        return self


class Category(_Part):
    """A probability that is made of several classes.

    Attributes:
        classes: those that count.
        combine: the ``highest`` of their probabilities, or their ``sum``.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    combine: Literal["highest", "sum"] = "highest"


class Output(_Part):
    """What the net's output means.

    Attributes:
        blob: name of the output blob.
        kind: ``probabilities``, one a class; ``softmax`` or ``sigmoid``, logits that this is still
            to be applied to; ``detections``, boxes as YOLOv8 gives them, (N, 4 + classes, places):
            a class's probability is that of the place where it is highest.
        classes: names of the classes in the blob's order.
        positive: the class whose probability is stored and compared with thresholds.
        categories: by name, what else may be stored.
        category: which of them is, instead of a positive class; ``MODEL#CATEGORY``, wherever a
            model is named, says it, too.
    """

    blob: str = "prob"
    kind: Literal["probabilities", "softmax", "sigmoid", "detections"] = "probabilities"
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    positive: str | None = None
    categories: Mapping[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], Category] = Field(
        default_factory=dict
    )
    category: str | None = None

    @model_validator(mode="after")
    def _of_its_classes(self) -> Output:
        for name, category in self.categories.items():
            for each in category.classes:
                self._check_class(f"categories.{name}: class", each)
            if len(set(category.classes)) < len(category.classes):
                raise ValueError(f"categories.{name}: a class is named twice")
            if category.combine == "sum" and self.kind in ("sigmoid", "detections"):
                raise ValueError(
                    f"categories.{name}: a sum of {self.kind} is no probability; use highest"
                )
        if self.positive is not None:
            self._check_class("positive", self.positive)
        elif not self.categories:
            raise ValueError("name a positive class, or categories")
        if self.category is not None and self.category not in self.categories:
            known = ", ".join(self.categories) or "none"
            raise ValueError(f"there is no category {self.category!r}; there is {known}")
        return self

    def _check_class(self, what: str, name: str) -> None:
        if self.classes.count(name) != 1:
            raise ValueError(f"{what} {name!r} must be exactly one of {', '.join(self.classes)}")

    @property
    def counted(self) -> Category:
        """What is stored.

        Raises:
            ConfigurationError: it is not said.
        """
        if self.category is not None:
            return self.categories[self.category]
        if self.positive is None:
            raise ConfigurationError(
                f"the model has the categories {', '.join(self.categories)}; say which one is "
                "meant, as in MODEL#CATEGORY"
            )
        return Category(classes=(self.positive,))

    @property
    def positive_class(self) -> str:
        """The class whose probability is stored.

        Raises:
            ConfigurationError: there are several, or it is not said.
        """
        if len(self.counted.classes) != 1:
            raise ConfigurationError(
                f"the probability is made of the classes {', '.join(self.counted.classes)}, "
                "where only one can be"
            )
        return self.counted.classes[0]

    def places(self, category: Category) -> list[int]:
        """Where a category's classes are in the output."""
        return [self.classes.index(name) for name in category.classes]

    def decisive(self) -> dict[str, object]:
        """All that decides the number that is stored, for the identity."""
        values: dict[str, object] = {"blob": self.blob, "classes": list(self.classes)}
        if self.kind != "probabilities":
            values["kind"] = self.kind
        if self.category is None and self.positive is not None:
            values["positive"] = self.positive
        else:
            values["category"] = self.counted.model_dump(mode="json")
        return values


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
        frames: how the frames of an animation or a video make one probability.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    files: Files
    input: Input
    output: Output
    fast: Fast | None = None
    frames: FrameRule = HIGHEST

    @model_validator(mode="after")
    def _fast_sees_the_highest(self) -> ModelDescription:
        if self.fast is not None and self.frames != HIGHEST:
            raise ValueError(f"a cheap first pass (fast) goes with frames = {HIGHEST!r} only")
        return self

    @model_validator(mode="after")
    def _fast_is_converted(self) -> ModelDescription:
        if self.fast is not None and self.files.onnx is not None:
            raise ValueError("a cheap first pass (fast) is made from a Caffe net, not from ONNX")
        return self

    def of_category(self, name: str) -> ModelDescription:
        """The same model, of which this category's probability is stored.

        Raises:
            ConfigurationError: it has no such category.
        """
        if name not in self.output.categories:
            known = ", ".join(self.output.categories) or "none"
            raise ConfigurationError(f"model {self.name} has no category {name!r}; it has {known}")
        output = self.output.model_copy(update={"category": name})
        return self.model_copy(update={"output": output})


@dataclass(frozen=True)
class ModelFiles:
    """The located and verified files.

    Attributes:
        prototxt: path of the network; None when it is in the same file as the weights.
        weights: path of Caffe's weights, or of the ONNX file.
        prototxt_sha256: of the bytes that are there; None without a prototxt.
        weights_sha256: of the bytes that are there.
        first_net: path of the first pass's eight-bit net, if there is one.
    """

    prototxt: Path | None
    weights: Path
    prototxt_sha256: str | None
    weights_sha256: str
    first_net: Path | None = None

    @property
    def caffe(self) -> tuple[Path, Path]:
        """Prototxt and weights, for what only Caffe's nets can do.

        Raises:
            ConfigurationError: the model is an ONNX file.
        """
        if self.prototxt is None:
            raise ConfigurationError(
                f"{self.weights}: this is an ONNX model, which can be scored with and no more; "
                "name a Caffe model"
            )
        return self.prototxt, self.weights


def load_description(name_or_path: str | Path) -> tuple[ModelDescription, Path]:
    """Read a description by built-in name or by path.

    Args:
        name_or_path: either, with ``#CATEGORY`` at its end for one of the model's categories.

    Returns:
        The description, and the folder that its files are relative to.

    Raises:
        ModelNotFound: there is no such built-in model and no such file.
        ConfigurationError: the description is wrong; the message names file and key.
    """
    named, _, category = str(name_or_path).partition("#")
    path = _BUILT_IN / f"{named}.toml"
    if not path.is_file() or Path(named).name != named:
        path = Path(named)
        if path.is_dir():
            path = path / "model.toml"
    try:
        description = ModelDescription.model_validate(
            tomllib.loads(path.read_text(encoding="utf-8"))
        )
        if category:
            description = description.of_category(category)
    except OSError as error:
        built_in = ", ".join(sorted(each.stem for each in _BUILT_IN.glob("*.toml")))
        raise ModelNotFound(
            f"{named}: neither a built-in model ({built_in}) nor a model description file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not a TOML file: {error}") from error
    except PydanticValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        fault = fault_of(key, first["type"], first["msg"])
        raise ConfigurationError(f"{path}: {fault}") from error
    return description, path.resolve().parent


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
    found = [_found(description, folder, path, digest) for path, digest in files.named.items()]
    weights, weights_sha256 = found[-1]
    prototxt, prototxt_sha256 = found[0] if len(found) == 2 else (None, None)
    return ModelFiles(prototxt, weights, prototxt_sha256, weights_sha256, first_net)


def kept_path(path: str, sha256: str) -> Path:
    """Where ``saferank model fetch`` keeps a file that a package carries."""
    return platformdirs.user_cache_path("saferank") / "weights" / sha256 / Path(path).name


def _found(
    description: ModelDescription, folder: Path, path: str, sha256: str | None
) -> tuple[Path, str]:
    """A file that is the one that is meant, and its digest."""
    if (package := description.files.package) is None:
        return folder / path, _verified(folder / path, sha256)
    if sha256 is not None and (kept := kept_path(path, sha256)).exists():
        return kept, _verified(kept, sha256)
    # Finding a top-level package does not run it: importing open_nsfw's would import caffe.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        named = description.name if folder == _BUILT_IN else folder
        raise ModelNotFound(
            f"the files of the model {description.name} are not here yet; "
            f"run: saferank model fetch {named}"
        )
    carried = Path(spec.submodule_search_locations[0]) / path
    return carried, _verified(carried, sha256)


def _verified(path: Path, expected: str | None) -> str:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelNotFound(f"{path}: the model's file cannot be read: {error.strerror}") from error
    if expected is not None and found != expected:
        raise ModelFormatError(
            f"{path} is not the file that the model's description means: its sha256 is {found}, "
            f"not {expected}; bring it again or correct the description"
        )
    return found


def identity(description: ModelDescription, files: ModelFiles) -> str:
    """What produced a probability, as stored with it: ``name/weights/preprocessing/viewed/rest``.

    The first part of one category of several is ``name#category``. The third part is the
    preprocessing's name and the fourth that of the reading of files before it; the last is a hash
    over all else that decides the number: the files, the input and the output sections, and how
    frames are combined unless the highest counts. A model
    with a cheap first pass has a sixth part, ``fast-MARGIN-HASH``, with a hash over all that
    decides which images it spares. The runtime is not part of it.

    Raises:
        ConfigurationError: the model has several categories, and it is not said which one counts.
    """
    decisive: dict[str, object] = {
        "weights": files.weights_sha256,
        "input": description.input.decisive(),
        "output": description.output.decisive(),
    }
    if files.prototxt_sha256 is not None:
        decisive["prototxt"] = files.prototxt_sha256
    if description.frames != HIGHEST:
        decisive["frames"] = description.frames
    category = description.output.category
    name = description.name if category is None else f"{description.name}#{category}"
    parts = [
        name,
        files.weights_sha256[:12],
        description.input.preprocessing,
        VIEWED,
        _hash(decisive),
    ]
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
