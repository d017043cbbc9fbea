#!/usr/bin/env bash
# Importing OpenVINO begins its telemetry: it makes a lasting id in the user's home and sends an
# event, from a process that it forks, without having asked.
#
# Version:  openvino 2026.4.1 with openvino-telemetry 2025.2.0, which it depends on.
# Expected: nothing is written or sent before somebody agrees.
# Seen:     ~/intel/openvino_ga_cid is there after 'import openvino' (not where CI is set, so that no
#           CI sees it), and a process was forked to send with.
#
# It matters to whoever runs nets over what others upload: each worker says when it starts, and it
# forks with whatever threads there are. Where openvino_telemetry cannot be imported, OpenVINO goes
# without.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check \
  openvino==2026.4.1 openvino-telemetry==2025.2.0
cat > "$folder/look.py" <<'PYTHON'
import multiprocessing
import sys
import time

forked = []
start = multiprocessing.Process.start
multiprocessing.Process.start = lambda self: (forked.append(self), start(self))[1]
if sys.argv[1] == "without":
    sys.modules["openvino_telemetry"] = None
import openvino  # noqa: E402

time.sleep(2)
print(len(forked) > 0)
PYTHON
seen=
for way in with without; do
  mkdir "$folder/$way"
  # What is sent goes nowhere here.
  forked=$(env -i "PATH=$PATH" "HOME=$folder/$way" https_proxy=http://127.0.0.1:9 \
    "$folder/venv/bin/python" "$folder/look.py" "$way")
  id=$([ -e "$folder/$way/intel/openvino_ga_cid" ] && echo id || echo none)
  seen="$seen$way: $id, forked $forked; "
done
echo "$seen"
if [ "$seen" = "with: id, forked True; without: none, forked False; " ]; then echo "as described"; else
  echo "no longer as described" >&2
  exit 1
fi
