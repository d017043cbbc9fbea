"""Temporary folders of the local services."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from saferank.local import folders
from saferank.local.folders import temporary_folder

HOLD = """
import sys
from pathlib import Path
from saferank.local import folders

folders.cache_folder = lambda: Path(sys.argv[1])
with folders.temporary_folder() as folder:
    (folder / "data").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(folders, "cache_folder", lambda: tmp_path)


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout
        theirs = Path(other.stdout.readline().strip())
        with temporary_folder() as first, temporary_folder() as second:
            assert len({theirs, first, second}) == 3
            assert (theirs / "data").exists()
            assert first.is_dir()
        assert not first.exists()
        assert not second.exists()
        assert (theirs / "data").exists()
        other.kill()
        other.wait()
    assert theirs.exists()
    with temporary_folder():
        assert not theirs.exists()
