"""The public REST tests of the engine, as their YAML files have them.

They come from the package registry, into the user's cache folder; none of them is kept here.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from saferank.local.folders import cache_folder

__all__ = ["OPTIONS", "Case", "Group", "load_groups"]

Json = dict[str, Any]

_VERSION = "2.19.0"
_ARTIFACT = f"org.opensearch:rest-api-spec:{_VERSION}"
_FOLDER = "rest-api-spec/test"


@dataclass(frozen=True)
class Case:
    """One test: its name and its own steps."""

    name: str
    steps: tuple[Json, ...]


@dataclass(frozen=True)
class Group:
    """Tests of one file that can share the documents of its ``setup``.

    Attributes:
        file: its path in the suites.
        setup: steps before the first test.
        cases: one test that writes, or any number of tests that do not.
        teardown: steps after the last test.
    """

    file: str
    setup: tuple[Json, ...]
    cases: tuple[Case, ...]
    teardown: tuple[Json, ...]


def load_groups(reads: Collection[str]) -> Iterator[Group]:
    """Every test that calls one of ``reads``, in the order of the files' names."""
    folder = _folder()
    for path in sorted(folder.rglob("*.yml")):
        parts: Json = {}
        for document in yaml.load_all(path.read_text(encoding="utf-8"), _Loader):
            parts.update(_known(document or {}))
        setup, teardown = (tuple(parts.pop(key, None) or ()) for key in ("setup", "teardown"))
        cases = [Case(str(name), tuple(steps or ())) for name, steps in parts.items()]
        reading = [case for case in cases if not _calls(case).isdisjoint(reads)]
        sharing = [case for case in reading if _calls(case) <= {*reads, *_HARMLESS}]
        groups = [sharing, *([case] for case in reading if case not in sharing)]
        file = str(path.relative_to(folder))
        for group in filter(None, groups):
            yield Group(file, setup, tuple(group), teardown)


_HARMLESS = ("cluster.health", "indices.refresh")


def _calls(case: Case) -> set[str]:
    """Names of what a test does."""
    return {name for step in case.steps for name in step.get("do", ()) if name not in OPTIONS}


OPTIONS = ("allowed_warnings", "catch", "headers", "node_selector", "warnings")
"""What a step says about the call in it."""


class _Loader(yaml.CSafeLoader):
    """Takes dates for text, as the runner does for which the files were written."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
    for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


# Fields of modules that the node of the tests lacks, or of another engine, and the nearest it has.
_NEAREST = {
    "constant_keyword": "keyword",
    "flat_object": "flattened",
    "match_only_text": "text",
    "scaled_float": "double",
    "search_as_you_type": "text",
    "unsigned_long": "double",
    "wildcard": "keyword",
}


def _known(value: Any) -> Any:
    """The same, with fields of kinds that the node knows."""
    if isinstance(value, list):
        return [_known(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _NEAREST:
        return {key: _known(item) for key, item in value.items()}
    options = ("scaling_factor", "value")  # That the nearest kind has not.
    rest = {key: _known(item) for key, item in value.items() if key not in options}
    return {**rest, "type": _NEAREST[kind]}


def _folder() -> Path:
    """Where the tests are, downloaded the first time."""
    home = cache_folder() / f"rest-api-spec-{_VERSION}"
    if not home.is_dir():
        with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
            _download(Path(scratch))
            (archive,) = Path(scratch).glob("*.jar")
            with zipfile.ZipFile(archive) as files:
                files.extractall(Path(scratch) / "unpacked")
            shutil.move(Path(scratch) / "unpacked", home)
    return home / _FOLDER


def _download(folder: Path) -> None:
    command = ["mvn", "--quiet", "--batch-mode", "dependency:copy"]
    options = [f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={folder}"]
    subprocess.run([*command, *options], cwd=folder, check=True)
