"""The figures of several processes as one, with processes that are gone."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from saferank.errors import ConfigurationError
from saferank.indexer.operate.exporter import start_exporter
from saferank.local.processes import free_port

CHILD = """
import os
from pathlib import Path
from saferank.indexer.operate.figures import FOLDER, has_room
assert has_room(Path(os.environ[FOLDER]))
from saferank.indexer.operate import metrics
metrics.IMAGES.inc(3)
metrics.IN_FLIGHT.inc()
print("counted", flush=True)
input()
"""


def child(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


def test_counts_outlive_a_killed_process_and_what_it_had_in_flight_does_not(tmp_path: Path) -> None:
    port = free_port()
    exporter = start_exporter(tmp_path, "127.0.0.1", port)
    children = [child(tmp_path), child(tmp_path)]
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert "saferank_images_scored_total 6.0" in text
        assert "saferank_tasks_in_flight 2.0" in text
        children[0].kill()
        children[0].wait()
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert "saferank_images_scored_total 6.0" in text
        assert "saferank_tasks_in_flight 1.0" in text
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}; choose a free port"):
            start_exporter(tmp_path, "127.0.0.1", port)
    finally:
        for process in children:
            process.kill()
            process.wait()
        assert exporter.stdin is not None
        exporter.stdin.close()
        assert exporter.wait(30) == 0  # it ends with the worker
