#!/usr/bin/env bash
# MAPIE 1.6.0, BinaryClassificationController: one threshold of the default grid that no score reaches
# makes all other thresholds invalid when precision is controlled.
#
# Version:  MAPIE 1.6.0, numpy 2.4, scikit-learn 1.9.
# Expected: on the default grid (0 to 0.99) the thresholds that keep precision at 80 %, as on a grid
#           that ends at the highest score: 82 of 100, the smallest p-value below 1e-160.
# Seen:     none at all, and the warning that no parameter controls the risk: precision above the
#           highest score is 0/0, its p-value NaN, and Holm's step-down stops at it.
#
# It matters to whoever chooses a threshold by labels: "no threshold can be supported" may mean that
# no picture scored 0.95. saferank tests thresholds itself, one after the other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check \
  "mapie==1.6.0" "numpy>=2.4,<2.5" "scikit-learn>=1.9,<1.10"

cat > "$folder/grid.py" <<'PYTHON'
import warnings

import numpy as np
from mapie.risk_control import BinaryClassificationController

warnings.simplefilter("ignore")
random = np.random.default_rng(0)
truth = (random.random(4000) < 0.5).astype(int)
# Good scores, none of which reaches 0.9.
scores = np.where(truth == 1, random.beta(4, 1.3, 4000), random.beta(1, 8, 4000)) * 0.9


def predict(rows):
    return np.c_[1 - rows[:, 0], rows[:, 0]]


for grid in ({}, {"list_predict_params": np.linspace(0, scores.max(), 100)}):
    controller = BinaryClassificationController(
        predict, "precision", target_level=0.8, confidence_level=0.95, **grid
    )
    controller.calibrate(scores[:, None], truth)
    print(len(controller.valid_predict_params), int(np.isnan(controller.p_values).sum()))
PYTHON

seen=$("$folder/venv/bin/python" "$folder/grid.py" | tr '\n' ' ')
echo "valid thresholds and NaN p-values, on the default grid and on one of the same size: $seen"
if [ "$seen" = "0 10 82 0 " ]; then echo "as described"; else
  echo "no longer as described" >&2
  exit 1
fi
