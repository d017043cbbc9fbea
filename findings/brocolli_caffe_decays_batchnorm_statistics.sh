#!/usr/bin/env bash
# brocolli-caffe 9.0.2, on PyPI as "official caffe, commit id 9b891540", lets weight decay shrink the
# statistics of BatchNorm layers, also where the net says `lr_mult: 0` for each of them.
#
# Version:  brocolli-caffe 9.0.2, built from its sdist by deploy/build_caffe.sh (minutes, or kept).
# Expected: statistics of 1.0 are 1.0 after ten steps of weight decay; Caffe 1.0 sets the rate of the
#           three blobs to 0 by itself, in batch_norm_layer.cpp.
# Seen:     0.5987 = (1 - 0.1 * 0.5)^10, with and without `lr_mult: 0`. That part of the layer is
#           missing, and the upgrade of nets still takes away the three `param` as it did in Caffe 1.0,
#           where they were superfluous. An InnerProduct with `lr_mult: 0` stays as it is.
#
# It matters to whoever trains with this package: the net scores with statistics that fade.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
caffe=$(deploy/build_caffe.sh "$python")

cat > "$folder/steps.py" <<'PYTHON'
import sys

import caffe

NET = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 2 dim: 3 dim: 3 } shape { dim: 4 }
  data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" BN
  batch_norm_param { use_global_stats: true } }
layer { name: "fc" type: "InnerProduct" bottom: "bn" top: "fc" FC
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = """train_net: "{net}" base_lr: 0.1 lr_policy: "fixed" weight_decay: 0.5 max_iter: 10
display: 0 snapshot_after_train: false"""
folder, still = sys.argv[1], "param { lr_mult: 0 decay_mult: 0 } "


def after(layer: str, bn: str, fc: str) -> str:
    with open(f"{folder}/net.prototxt", "w") as net, open(f"{folder}/solver.prototxt", "w") as to:
        net.write(NET.replace("BN", bn).replace("FC", fc))
        to.write(SOLVER.format(net=net.name))
    solver = caffe.SGDSolver(to.name)
    for blob in solver.net.params[layer]:
        blob.data[...] = 1
    solver.step(10)
    return "%.4f" % solver.net.params[layer][1].data.flat[0]


print(after("bn", "", ""), after("bn", 3 * still, ""), after("fc", "", 2 * still))
PYTHON
seen=$(GLOG_minloglevel=2 PYTHONPATH=$caffe "$python" "$folder/steps.py" "$folder" 2> /dev/null)
echo "variance without param, variance with lr_mult 0, bias with lr_mult 0: $seen"
if [ "$seen" = "0.5987 0.5987 1.0000" ]; then echo "as described"; else
  echo "no longer as described" >&2
  exit 1
fi
