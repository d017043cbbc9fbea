"""What the engine does beside running nets."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from caffe_cases import LAYERS

from saferank import errors

OPEN_A_NET = """
import sys
from pathlib import Path
from saferank.models.model import open_net
assert "onnxruntime" not in sys.modules
open_net(Path(sys.argv[1]) / "net.prototxt", Path(sys.argv[1]) / "net.caffemodel")
assert "onnxruntime" in sys.modules
"""


def opened_in(cache: Path, **environment: str) -> list[Path]:
    """Open a net in a process that knows nothing of CI; the files that it leaves in its home."""
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    subprocess.run(
        [sys.executable, "-c", OPEN_A_NET, str(LAYERS / "act_relu")],
        check=True,
        env={**inherited, "HOME": str(cache), "XDG_CACHE_HOME": str(cache), **environment},
        cwd=Path(errors.__file__).parents[1],
    )
    return [file for file in cache.rglob("*") if "onnxruntime" in str(file) and file.is_file()]


def test_onnxruntime_records_no_telemetry(tmp_path: Path) -> None:
    assert opened_in(tmp_path) == []


def test_an_operator_may_want_the_telemetry(tmp_path: Path) -> None:
    major, minor, *_ = version("onnxruntime").split(".")
    records = (int(major), int(minor)) >= (1, 30)
    assert bool(opened_in(tmp_path, ORT_DISABLE_TELEMETRY="0")) == records
