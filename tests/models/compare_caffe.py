"""Run both runtimes side by side, onnxruntime and real Caffe, and print how far they are apart.

    PYTHONPATH=tests/support:$(deploy/build_caffe.sh) python tests/models/compare_caffe.py \
        [--cases FOLDER]... [--images FOLDER]...

The nets and pictures of the tests are always used; further folders have the same form (a folder of
case folders; a folder with ``golden.json`` and ``images/``). The exit code is 1 when a value is out
of tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from caffe_cases import LAYERS, Case, case_names, read_case
from rich.console import Console
from rich.table import Table

from saferank.errors import ImageError, ModelError
from saferank.indexer.decode import decode_reference
from saferank.models import load_model
from saferank.models.description import load_description, locate
from saferank.models.model import open_net
from saferank.settings import DecodeSettings

PICTURES = Path(__file__).parent / "data"
# Layers and fields of later Caffe that the sources of the build do not have.
NOT_IN_THIS_BUILD = {"act_clip", "act_swish", "pool_floor"}
SCORE, LOGITS = 1e-5, 5e-5


def compare_nets(roots: list[Path], console: Console) -> bool:
    """One row a family: the worst difference, relative to a blob's largest value."""
    cases = [read_case(name, root) for root in roots for name in case_names(root)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(compare_net, cases))
    rows: dict[str, list[tuple[float, float, float | None]]] = defaultdict(list)
    failed = []
    for case, (excess, recorded, live) in zip(cases, results, strict=True):
        rows[case.info["family"]].append((excess, recorded, live))
        if excess > 0 or (live is None and case.folder.name not in NOT_IN_THIS_BUILD):
            failed.append(case.folder.name)
    table = Table(title="nets: worst difference relative to the blob's largest value")
    for column in ("family", "nets", "onnx - recorded", "onnx - Caffe live", "not run live"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for family, figures in sorted(rows.items()):
        live = [figure for _, _, figure in figures if figure is not None]
        table.add_row(
            family,
            str(len(figures)),
            f"{max(recorded for _, recorded, _ in figures):.1e}",
            f"{max(live, default=0):.1e}",
            str(len(figures) - len(live) or ""),
        )
    console.print(table)
    console.print(f"{len(cases) - len(failed)} of {len(cases)} nets within tolerance")
    for name in failed:
        console.print(f"[red]out of tolerance or not run: {name}[/red]")
    return not failed


def compare_net(case: Case) -> tuple[float, float, float | None]:
    """Excess over the tolerance, difference to the recorded values, and to Caffe's live ones."""
    got = open_net(case.prototxt, case.weights, threads=1).run(case.inputs)
    recorded = case.worst(got, case.outputs)
    # Caffe itself cannot run a file whose data base is not there.
    deploy = case.folder / "equivalent_deploy.prototxt"
    prototxt = deploy if deploy.exists() else case.prototxt
    try:
        with closing(open_net(prototxt, case.weights, runtime="caffe", threads=1)) as net:
            live = net.run(case.inputs)
    except ModelError:
        return case.excess(got), recorded, None
    return case.excess(got), recorded, case.worst(got, live)


def compare_pictures(roots: list[Path], console: Console) -> bool:
    """Scores and logits of the built-in classifier on every picture."""
    description, folder = load_description("open_nsfw")
    files = locate(description, folder)
    model = load_model("open_nsfw")
    wanted = ["fc_nsfw", "prob"]
    worst: dict[str, tuple[float, str]] = defaultdict(lambda: (-1.0, ""))
    count = 0
    onnx = open_net(files.prototxt, files.weights, blobs=wanted, threads=1)
    with closing(
        open_net(files.prototxt, files.weights, runtime="caffe", blobs=wanted, threads=1)
    ) as caffe:
        for name, blob, golden in pictures(roots, model.preprocess):
            ours, theirs = (net.run({"data": blob[None]}) for net in (onnx, caffe))
            count += 1
            for what, difference in (
                ("score, onnx - Caffe live", ours["prob"][0, 1] - theirs["prob"][0, 1]),
                ("score, onnx - recorded", ours["prob"][0, 1] - golden["score"]),
                ("logits, onnx - Caffe live", ours["fc_nsfw"] - theirs["fc_nsfw"]),
                ("logits, onnx - recorded", ours["fc_nsfw"] - np.ravel(golden["fc_nsfw"])),
            ):
                worst[what] = max(worst[what], (float(np.abs(difference).max()), name))
    table = Table(title=f"open_nsfw on {count} pictures: worst difference")
    for column in ("value", "worst", "allowed", "picture"):
        table.add_column(column)
    fine = True
    for what, (difference, name) in worst.items():
        allowed = SCORE if what.startswith("score") else LOGITS
        fine = fine and difference <= allowed
        table.add_row(what, f"{difference:.1e}", f"{allowed:.0e}", name)
    console.print(table)
    return fine and count > 0


def pictures(roots: list[Path], preprocess) -> Iterator[tuple[str, np.ndarray, dict]]:
    """Name, blob and recorded figures of each picture that Caffe scored."""
    for root in roots:
        for entry in json.loads((root / "golden.json").read_text())["images"]:
            if "error" in entry:
                continue
            data = (root / "images" / entry["file"]).read_bytes()
            try:
                image = decode_reference(data, DecodeSettings())
            except ImageError as error:
                sys.exit(f"{entry['file']} was scored by Caffe and is refused here: {error}")
            yield entry["file"], preprocess(image), entry["yahoo"]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, action="append", default=[])
    parser.add_argument("--images", type=Path, action="append", default=[])
    options = parser.parse_args()
    console = Console(width=100)
    fine = [
        compare_nets([LAYERS, *options.cases], console),
        compare_pictures([PICTURES, *options.images], console),
    ]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
