"""What the engine of the cheap first pass does beside running nets."""

import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from saferank import errors

LOAD = """
from saferank.models import load_model
load_model("open_nsfw_fast")
"""
NNCF = """
from saferank.models.runtime_openvino import import_openvino
import_openvino()
import nncf
"""


def home_after(home: Path, code: str) -> list[Path]:
    """Run code in a process that knows nothing of CI; what it leaves in its home but for caches."""
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    cache = home / "cache"
    (cache / "saferank").mkdir(parents=True)
    weights = platformdirs.user_cache_path("saferank") / "weights"
    (cache / "saferank" / "weights").symlink_to(weights)
    # Where something were sent, it would go nowhere.
    nowhere = dict.fromkeys(("https_proxy", "http_proxy"), "http://127.0.0.1:9")
    code = f"{code}\nimport sys; assert sys.modules['openvino_telemetry'] is None"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**inherited, **nowhere, "HOME": str(home), "XDG_CACHE_HOME": str(cache)},
        cwd=Path(errors.__file__).parents[1],
    )
    return [path for path in home.rglob("*") if cache not in (path, *path.parents)]


@pytest.mark.parametrize("code", [LOAD, NNCF])
def test_openvino_sends_no_telemetry(tmp_path: Path, code: str) -> None:
    assert home_after(tmp_path, code) == []
