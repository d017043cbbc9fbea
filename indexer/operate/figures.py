"""Room on the disk for the figures that a process tells Prometheus.

Each process maps files into its memory. Where the disk is full, a figure written there is no error
that could be caught, but the end of the process. So each makes sure of its room beforehand.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder of all processes' files."""

# As prometheus_client names the files of the kinds of figures in ``metrics``.
_KINDS = ("counter", "gauge_livesum", "gauge_mostrecent", "histogram")
# Several times what all labels together take.
_BYTES = 1 << 18


def has_room(folder: Path) -> bool:
    """Whether this process may keep figures in a folder; its files are there then, in full size."""
    files = [folder / f"{kind}_{os.getpid()}.db" for kind in _KINDS]
    try:
        for file in files:
            if not file.exists():
                file.write_bytes(bytes(_BYTES))
    except OSError:
        for file in files:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        return False
    return True
