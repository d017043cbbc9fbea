"""Have real Caffe train small nets for a few steps, and keep what came out.

    PYTHONPATH=$(deploy/build_caffe.sh) python tests/models/training/record_caffe.py

Writes ``data/NAME.npz``: batches, labels, and all blobs before the first and after every step.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "data"
STEPS = 6
SOLVER = """
train_net: "{net}"
base_lr: 0.05 lr_policy: "step" gamma: 0.1 stepsize: 3
momentum: 0.9 weight_decay: {decay} max_iter: 100 display: 0 snapshot_after_train: false
"""


def main() -> None:
    import caffe

    for prototxt in sorted(HERE.glob("*.prototxt")):
        random = np.random.default_rng(11)
        with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
            # This build lets the decay shrink statistics of a BatchNorm; Caffe 1.0 does not.
            decay = 0 if "BatchNorm" in prototxt.read_text() else 0.05
            file.write(SOLVER.format(net=prototxt, decay=decay))
            file.flush()
            solver = caffe.SGDSolver(file.name)
        net = solver.net
        for name, blobs in net.params.items():
            for place, blob in enumerate(blobs):
                # A filler of zeros would hide a wrong gradient of a bias; variances are positive.
                low = 0.5 if name.startswith(("bn", "scale")) else -0.3
                blob.data[...] = random.uniform(low, 0.6, blob.data.shape)
                if name.startswith("bn") and place == 2:
                    blob.data[...] = 1
        kept = {
            f"0/{name}/{i}": b.data.copy()
            for name, bs in net.params.items()
            for i, b in enumerate(bs)
        }
        for step in range(1, STEPS + 1):
            kept[f"images/{step}"] = random.normal(0, 1, net.blobs["data"].data.shape).astype("f4")
            kept[f"labels/{step}"] = random.integers(0, 3, net.blobs["label"].data.shape).astype(
                "f4"
            )
            net.blobs["data"].data[...] = kept[f"images/{step}"]
            net.blobs["label"].data[...] = kept[f"labels/{step}"]
            solver.step(1)
            kept[f"loss/{step}"] = net.blobs["loss"].data.copy()
            for name, blobs in net.params.items():
                for place, blob in enumerate(blobs):
                    kept[f"{step}/{name}/{place}"] = blob.data.copy()
        np.savez_compressed(prototxt.with_suffix(".npz"), **kept)
        sys.stdout.write(
            f"{prototxt.stem}: losses {[float(kept[f'loss/{s}']) for s in range(1, STEPS + 1)]}\n"
        )


if __name__ == "__main__":
    main()
