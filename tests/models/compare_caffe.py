"""Run both runtimes side by side, onnxruntime and real Caffe, and print how far they are apart.

    PYTHONPATH=tests/support:$(deploy/build_caffe.sh) python tests/models/compare_caffe.py \
        [--cases FOLDER]... [--images FOLDER]...

The nets and pictures of the tests and the nets that can be built are always used; further folders
have the same form (a folder of case folders; a folder with ``golden.json`` and ``images/``). The
exit code is 1 when a value is out of tolerance.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from caffe_cases import LAYERS, Case, case_names, read_case, relative
from google.protobuf import text_format
from rich.console import Console
from rich.progress import track
from rich.table import Table

from saferank.errors import ImageError, ModelError
from saferank.indexer.decode import decode_reference
from saferank.models import load_model
from saferank.models.builder import NETS, Net, deploy_net, find_net, train_net
from saferank.models.builder.cost import as_prototxt
from saferank.models.builder.fill import fill
from saferank.models.description import load_description, locate
from saferank.models.model import open_net
from saferank.settings import DecodeSettings

PICTURES = Path(__file__).parent / "data"
# Layers and fields of later Caffe that the sources of the build do not have.
NOT_IN_THIS_BUILD = {"act_clip", "act_swish", "pool_floor"}
SCORE, LOGITS = 1e-5, 5e-5
BUILT = 1e-4


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


def compare_built(names: list[str], console: Console) -> bool:
    """Nets of our own with random weights: as deployed side by side, and loaded for training."""
    table = Table(title="built nets: worst difference relative to the blob's largest value")
    for column in ("net", "logits", "prob", "train.prototxt in phases TRAIN, TEST"):
        table.add_column(column)
    fine = True
    for name in track(names, "built nets", console=console, transient=True):
        with tempfile.TemporaryDirectory() as folder:
            differences = compare_built_net(find_net(name), Path(folder))
            refusal = load_for_training(find_net(name), Path(folder))
        fine = fine and max(differences) <= BUILT and not refusal
        table.add_row(name, *(f"{each:.1e}" for each in differences), refusal or "loaded")
    console.print(table)
    return fine


def compare_built_net(net: Net, folder: Path) -> tuple[float, float]:
    """Differences between both runtimes in the logits and the probabilities of one image."""
    if net.name == "vgg_16":
        # Its weights at full size, 553 MB, are more than protobuf takes in this build of Caffe.
        net = replace(net, size=64)
    message = deploy_net(net)
    weights = fill(as_prototxt(message), seed=1)
    random = np.random.default_rng(2)
    for layer in weights.layer:
        if layer.type == "BatchNorm":
            mean, variance, factor = layer.blobs
            mean.data[:] = random.normal(0, 0.1, len(mean.data)).tolist()
            variance.data[:] = random.uniform(0.5, 1.5, len(variance.data)).tolist()
            factor.data[:] = [1.0]
    prototxt, caffemodel = folder / "deploy.prototxt", folder / "random.caffemodel"
    prototxt.write_text(text_format.MessageToString(message))
    caffemodel.write_bytes(weights.SerializeToString())
    image = {"data": random.normal(0, 60, (1, 3, net.size, net.size)).astype(np.float32)}
    blobs = [message.layer[-1].bottom[0], "prob"]
    ours = open_net(prototxt, caffemodel, blobs=blobs).run(image)
    with closing(open_net(prototxt, caffemodel, runtime="caffe", blobs=blobs)) as caffe:
        theirs = caffe.run(image)
    logits, probabilities = (relative(ours[blob], theirs[blob]) for blob in blobs)
    return logits, probabilities


def load_for_training(net: Net, folder: Path) -> str:
    """What Caffe has against the training file; nothing when it loads it."""
    path = folder / "train.prototxt"
    path.write_text(text_format.MessageToString(train_net(net, batch=2)))
    load = (
        "import caffe, sys; [caffe.Net(sys.argv[1], phase) for phase in (caffe.TRAIN, caffe.TEST)]"
    )
    done = subprocess.run(
        [sys.executable, "-c", load, path],
        env={**os.environ, "GLOG_minloglevel": "2"},
        capture_output=True,
        text=True,
    )
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[0]


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
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, action="append", default=[])
    parser.add_argument("--images", type=Path, action="append", default=[])
    options = parser.parse_args()
    console = Console(width=100)
    fine = [
        compare_nets([LAYERS, *options.cases], console),
        compare_pictures([PICTURES, *options.images], console),
        compare_built(list(NETS), console),
    ]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
