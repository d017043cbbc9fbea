"""Figures of a process that has no room for them, and the room that they need."""

import json
import os
import subprocess
import sys
from pathlib import Path

TELL_ALL = """
import json, os, sys
from pathlib import Path
from saferank.errors import ErrorCode
from saferank.indexer.operate.figures import FOLDER, has_room

folder = Path(os.environ[FOLDER])
if sys.argv[1] == "full":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
room = has_room(folder)
before = {file.name: file.stat().st_size for file in folder.iterdir()}
if not room:
    del os.environ[FOLDER]
from saferank.indexer.operate import metrics
from saferank.indexer.score.report import Outcome

if not room:
    metrics.turn_off()
for outcome in Outcome:
    metrics.DOCUMENTS.labels(outcome.value).inc(2)
for code in ErrorCode:
    metrics.FAILURES.labels(code.value).inc()
for reason in ("busy", "request"):
    metrics.STORE_RETRIES.labels(reason).inc()
for queue in ("fresh", "backfill"):
    metrics.QUEUE_SECONDS.labels(queue).observe(1.5)
for index in ("photos", "products"):
    metrics.UNSCORED.labels(index).set(17)
    metrics.SWEPT.labels(index).set(1.8e9)
for stage in ("fetch", "decode", "preprocess", "infer", "read", "write"):
    with metrics.stage(stage):
        pass
with metrics.IN_FLIGHT.track_inprogress():
    metrics.IMAGES.inc()
after = {file.name: file.stat().st_size for file in folder.iterdir()}
print(json.dumps([room, before, after]))
"""


def tell_all(folder: Path, disk: str) -> tuple[bool, dict[str, int], dict[str, int]]:
    done = subprocess.run(
        [sys.executable, "-c", TELL_ALL, disk],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    room, before, after = json.loads(done.stdout)
    return room, before, after


def test_there_is_room_for_all_that_a_process_may_tell(tmp_path: Path) -> None:
    room, before, after = tell_all(tmp_path, "ample")
    assert room
    assert after == before  # a file that grows on a full disk ends the process


def test_a_process_without_room_goes_on_without_figures(tmp_path: Path) -> None:
    room, before, after = tell_all(tmp_path, "full")
    assert (room, before, after) == (False, {}, {})
