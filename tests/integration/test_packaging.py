"""What is published: built as for a release, and installed into clean environments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import uuid
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from celery import Celery

ROOT = Path(__file__).parents[2]
# Package folder in the checkout → where it is installed.
PACKAGES = {
    "saferank": "saferank",
    "calibration": "saferank/calibration",
    "gateway": "saferank/gateway",
    "indexer": "saferank/indexer",
    "mappings": "saferank/mappings",
    "models": "saferank/models",
    "ranker": "saferank/ranker",
    "review": "saferank/review",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the source distribution and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def base_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment with nothing but the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", "--no-compile", wheel)
    return python


def test_the_wheel_holds_every_source_file_under_one_name(wheel: Path) -> None:
    installed = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in installed} == {
        "saferank",
        next(name for name in installed if name.endswith("/RECORD")).split("/")[0],
    }
    missing = {
        target
        for source in _tracked_files()
        if (target := _installed_path(source)) is not None and target not in installed
    }
    assert missing == set()


def test_the_source_distribution_can_be_built_from(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
        assert not any(member.issym() for member in archive)
    assert {"pyproject.toml", "LICENSE", "NOTICE", "ranker/__init__.py"} <= names


def test_a_base_install_ranks_without_the_indexer_s_dependencies(base_python: Path) -> None:
    program = """
import importlib.util, json
import saferank.ranker, saferank.mappings
absent = [name for name in ("onnxruntime", "onnx", "celery", "PIL", "httpx")
          if importlib.util.find_spec(name) is None]
print(json.dumps({"file": saferank.ranker.__file__, "absent": absent}))
"""
    said = json.loads(_run(base_python, "-c", program))
    assert Path(said["file"]).is_relative_to(base_python.parents[1])
    assert said["absent"] == ["onnxruntime", "onnx", "celery", "PIL", "httpx"]


def test_a_base_install_has_the_command(base_python: Path) -> None:
    shown = _run(base_python.parent / "saferank", "--help")
    assert "policy" in shown
    assert "search" in shown


def test_a_decision_that_is_to_reach_copies_says_what_it_needs(base_python: Path) -> None:
    program = """
import saferank
try:
    saferank.override_document("photos", "1", "block", by="ann")
except saferank.SaferankError as error:
    print(type(error).__name__, error)
"""
    names = {"SAFERANK_OVERRIDES": "overrides", "SAFERANK_KNOWN": "known"}
    said = _run(base_python, "-c", program, **names)
    assert said.startswith("ConfigurationError bringing decisions to copies (SAFERANK_KNOWN)")
    assert said.strip().endswith("is not installed: pip install 'saferank[indexer]'")


def test_an_install_with_the_indexer_scores_an_image(
    base_python: Path, wheel: Path, tmp_path: Path
) -> None:
    _run(base_python, "-m", "pip", "install", "--quiet", "--no-compile", f"{wheel}[indexer]")
    present = (
        "import importlib.util as u; print([n for n in ('django', 'image') if u.find_spec(n)])"
    )
    assert _run(base_python, "-c", present).strip() == "[]"
    saferank = base_python.parent / "saferank"
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    _run(saferank, "model", "fetch", "open_nsfw", **cache)
    image = tmp_path / "grey.ppm"
    image.write_bytes(b"P6 64 64 255\n" + b"\x80" * (64 * 64 * 3))
    line = json.loads(_run(saferank, "score", image, "--json", **cache))
    assert line["status"] == "scored"
    assert 0.0 <= line["probability"] <= 1.0
    assert (line["width"], line["height"]) == (64, 64)


@pytest.fixture(scope="module")
def queue_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment with the wheel, its settings' reader and its extra queue."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [
        *(name for name in project["dependencies"] if name.startswith("pydantic")),
        *project["optional-dependencies"]["queue"],
    ]
    folder = tmp_path_factory.mktemp("queue")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", "--no-compile", *needed)
    _run(python, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", wheel)
    return python


def test_an_application_queues_documents_without_a_worker_s_packages(
    queue_python: Path, broker_url: str
) -> None:
    program = """
import importlib.util, json, sys
from saferank.indexer.queue import queue_documents
present = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is not None]
print(json.dumps({"present": present, "tasks": queue_documents("images", ["1", "2"])}))
"""
    absent = [
        *("PIL", "numpy", "onnx", "onnxruntime", "httpx", "httpcore"),
        *("prometheus_client", "structlog", "stamina", "elasticsearch"),
    ]
    queue = f"fresh-{uuid.uuid4().hex[:8]}"
    said = _run(
        queue_python,
        "-c",
        program,
        *absent,
        SAFERANK_BROKER_URL=broker_url,
        SAFERANK_INDEXER__FRESH_QUEUE=queue,
    )
    assert json.loads(said) == {"present": [], "tasks": 1}
    app = Celery(broker=broker_url, set_as_current=False)
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue(queue).get(timeout=5)
    assert message.headers["task"] == "saferank.score"
    assert message.payload[0] == ["images", ["1", "2"]]


def _tracked_files() -> Sequence[str]:
    return _run("git", "-C", ROOT, "ls-files").splitlines()


def _installed_path(source: str) -> str | None:
    folder, _, rest = source.partition("/")
    if folder not in PACKAGES or not rest or rest in PACKAGES:
        return None
    return f"{PACKAGES[folder]}/{rest}"


def _run(*command: object, **environment: str) -> str:
    """Run a command outside the checkout and its import path; returns what it printed."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout
