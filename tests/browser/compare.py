"""Decode other people's pictures here and in Chromium, and say where the two differ.

    python tests/browser/compare.py [--most N] [--folder FOLDER] [--details FILE]

Prints a table by kind. Fails when fewer than 98 % of what both show is within two levels, when a
probability differs by more than 0.02 with the pixels, or when only Chromium shows something;
docs/reference/images.md names the exceptions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from chromium import Chromium, NotShown, Pixels
from pictures import MEDIA_TYPES, Picture, collect
from PIL import Image
from rich.console import Console
from rich.table import Table

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import decode
from saferank.local.folders import cache_folder
from saferank.models import Model, load_model
from saferank.settings import DecodeSettings

FRAMES = 60
SETTINGS = DecodeSettings(max_frames=FRAMES)
CLOSE = 2  # levels of 256
FAR = 0.02  # of a probability
LEAST_CLOSE = 0.98

EQUAL, NEAR, MORE = "equal", "within 2", "more"
HERE, THERE, NEITHER, SKIPPED = "only here", "only Chromium", "neither", "not compared"
COLUMNS = (EQUAL, NEAR, MORE, HERE, THERE, NEITHER, SKIPPED)

# What only Chromium shows, and why, as the section on damage has it: the kind, and a word of the
# reason that is given here.
NAMED = (
    ("", "truncated"),
    ("PNG", "a checksum of its pixels is wrong"),
    ("PNG", "not in order"),
    ("JPEG XL", "animation"),
)
# Files of which Chromium shows less: nobody would want to follow it there.
BETTER_HERE = {
    "Tests/images/issue_2811.gif": "Chromium shows nothing of LZW codes that begin with 11 bits",
    "Tests/images/hopper_unexpected.ico": "Chromium shows an icon with a wrong height empty",
    "test/images/sample.jxl": "Chromium shows nothing of it, libjxl the picture",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture.

    Attributes:
        name: package and path.
        kind: format.
        column: of the table.
        levels: largest difference of a channel, where both show it; 256 for another size.
        change: of the probability.
        why: the error's code and message, or what differs in size or number of frames.
    """

    name: str
    kind: str
    column: str
    levels: int = 0
    change: float = 0.0
    why: str = ""

    @property
    def is_far(self) -> bool:
        return self.change > FAR

    @property
    def is_fault(self) -> bool:
        """Whether it differs in a way that no page names.

        Pixels within two levels are as good as equal, though they can move a probability near the
        middle by more than ``FAR``: so do they here when one level is added to each.
        """
        if self.column == THERE:
            return not any(kind in self.kind and word in self.why for kind, word in NAMED)
        return self.column == MORE and self.is_far


def compare(picture: Picture, browser: Chromium, model: Model) -> Outcome:
    """Show a picture on both sides."""
    kind = picture.kind
    here: list[Pixels] = []
    count, error = 0, ""
    try:
        decoded = decode(picture.data, SETTINGS)
        here, count = [np.asarray(frame) for frame in decoded.frames], decoded.frame_count
    except ImageError as failure:
        error = f"{failure.code}: {failure}"
        if failure.code is ErrorCode.TOO_LARGE:
            return Outcome(picture.name, kind, SKIPPED, why=error)
    if count > 1:
        kind += " animated"
    if count > len(here):
        return Outcome(picture.name, kind, SKIPPED, why=f"{len(here)} of {count} frames")
    try:
        there = browser.show(picture.data, MEDIA_TYPES[picture.kind], FRAMES)
    except NotShown as failure:
        column, why = (NEITHER, error) if error else (HERE, str(failure))
        return Outcome(picture.name, kind, column, why=why)
    if error:
        return Outcome(picture.name, kind, THERE, why=error)
    if picture.name.endswith(tuple(BETTER_HERE)):
        return Outcome(picture.name, kind, HERE, why="of which Chromium shows less")
    if len(here) == len(there) + 1 and picture.kind == "PNG":
        here = here[1:]  # the default image of an animation is looked at as well
    return _compared(picture.name, kind, here, there, model)


def _compared(
    name: str, kind: str, here: Sequence[Pixels], there: Sequence[Pixels], model: Model
) -> Outcome:
    if [frame.shape for frame in here] != [frame.shape for frame in there]:
        why = f"here {_shape(here)}, in Chromium {_shape(there)}"
        return Outcome(name, kind, MORE, 256, _change(model, here, there), why)
    levels = max(_levels(one, other) for one, other in zip(here, there, strict=True))
    if levels == 0:
        return Outcome(name, kind, EQUAL)
    column = NEAR if levels <= CLOSE else MORE
    return Outcome(name, kind, column, levels, _change(model, here, there))


def _levels(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(np.int16) - other).max())


def _shape(frames: Sequence[Pixels]) -> str:
    height, width, _ = frames[0].shape
    return f"{len(frames)} x {width} x {height}"


def _change(model: Model, here: Sequence[Pixels], there: Sequence[Pixels]) -> float:
    return abs(_probability(model, here) - _probability(model, there))


def _probability(model: Model, frames: Sequence[Pixels]) -> float:
    blobs = (model.preprocess(Image.fromarray(np.ascontiguousarray(each))) for each in frames)
    return max(float(model.probabilities(blob[None])[0]) for blob in blobs)


def report(outcomes: Sequence[Outcome]) -> None:
    """Print the table, and whatever is not equal or close."""
    table = Table("kind", "pictures", *COLUMNS, f"|Δp| > {FAR}", box=None)
    for kind in [*sorted({each.kind for each in outcomes}), "all"]:
        of_kind = [each for each in outcomes if kind in (each.kind, "all")]
        counts = Counter(each.column for each in of_kind)
        cells = (counts[column] for column in COLUMNS)
        table.add_row(
            kind,
            str(len(of_kind)),
            *map(str, cells),
            str(sum(each.is_far for each in of_kind)),
        )
    Console(width=140).print(table)
    print()
    for each in outcomes:
        if each.column not in (EQUAL, NEAR, NEITHER) or each.is_far:
            figures = f"{each.levels} levels, Δp {each.change:.4f}" if each.levels else each.why
            mark = "FAULT " if each.is_fault else ""
            print(f"{mark}{each.kind}, {each.column}: {each.name}: {figures}"[:240])


def verdict(outcomes: Sequence[Outcome]) -> int:
    """Print how many are close enough, and give the exit status."""
    shown = [each for each in outcomes if each.column in (EQUAL, NEAR, MORE)]
    close = sum(each.column != MORE for each in shown)
    faults = sum(each.is_fault for each in outcomes)
    share = close / len(shown)
    print(
        f"\n{close:,} of {len(shown):,} that both show are within {CLOSE} levels: {share:.2%} "
        f"(wanted: {LEAST_CLOSE:.0%}); {faults} differ in a way that no page names"
    )
    return int(share < LEAST_CLOSE or faults > 0)


def outcomes_of(pictures: Iterator[Picture], details: Path | None) -> list[Outcome]:
    """Compare them all; each is also written to a file of details as it comes."""
    model, outcomes = load_model(), []
    with Chromium() as browser:
        for picture in pictures:
            outcomes.append(compare(picture, browser, model))
            if details is not None:
                with details.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcomes[-1])) + "\n")
    return outcomes


def main() -> int:
    """Run, print, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=60, help="of a kind from one package")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "pictures")
    parser.add_argument("--details", type=Path, help="a file for one JSON object a picture")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.monotonic()
    outcomes = outcomes_of(collect(options.folder, options.most), options.details)
    packages = {each.name.split(":")[0] for each in outcomes}
    took = time.monotonic() - started
    print(f"{Chromium.version()}; {len(packages)} packages with pictures; {took:,.0f} s\n")
    report(outcomes)
    return verdict(outcomes)


if __name__ == "__main__":
    sys.exit(main())
