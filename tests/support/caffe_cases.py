"""The nets in ``tests/models/layers`` and folders like it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LAYERS = Path(__file__).parents[1] / "models" / "layers"


@dataclass(frozen=True)
class Case:
    folder: Path
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    info: dict[str, Any]

    @property
    def prototxt(self) -> Path:
        return self.folder / "net.prototxt"

    @property
    def weights(self) -> Path:
        return self.folder / "net.caffemodel"

    def excess(self, got: dict[str, np.ndarray]) -> float:
        """By how much the worst value is out of tolerance; at most 0 when all are within."""
        return max(self._excess(name, got[name]) for name in self.outputs)

    def worst(self, got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> float:
        """The largest difference, in units of the largest value."""
        return max(relative(got[name], want[name]) for name in self.outputs)

    def _excess(self, name: str, got: np.ndarray) -> float:
        want, allowed = self.outputs[name].astype(np.float64), self.info["tolerance"][name]
        assert got.shape == want.shape, f"{name}: {got.shape}, Caffe {want.shape}"
        with np.errstate(all="ignore"):
            difference = np.abs(got.astype(np.float64) - want)
            over = difference - allowed["atol"] - allowed["rtol"] * np.abs(want)
        over = np.where((got == want) | (np.isnan(got) & np.isnan(want)), 0.0, over)
        return float(np.where(np.isnan(over), np.inf, over).max(initial=0.0))


def relative(got: np.ndarray, want: np.ndarray) -> float:
    usual = np.isfinite(want) & (np.abs(want) < 1e38)
    if not usual.any():
        return 0.0
    difference = np.abs(got[usual].astype(np.float64) - want[usual])
    return float(difference.max() / max(1.0, np.abs(want[usual]).max()))


def case_names(root: Path = LAYERS) -> list[str]:
    return sorted(path.parent.name for path in root.glob("*/case.json"))


def read_case(name: str, root: Path = LAYERS) -> Case:
    folder = root / name
    info = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    files = {
        name: entry if isinstance(entry, str) else entry["file"]
        for name, entry in info["inputs"].items()
    }
    with np.load(folder / "outputs.npz") as stored:
        outputs = {name: stored[name] for name in info["outputs"]}
    return Case(folder, {n: np.load(folder / f) for n, f in files.items()}, outputs, info)
