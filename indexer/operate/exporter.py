"""Serving the figures of a worker and its children to Prometheus, from a process of its own.

The children write their figures into files; this process sums them up when it is asked. Were it a
thread of the worker, a child forked while that thread holds a lock would wait for ever.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from saferank.errors import ConfigurationError

_READY = "ready"
_LIVE_FILE = re.compile(r"gauge_live\w*_(\d+)\.db")


class _Collector:
    """Sums the files up, without what killed children last said of themselves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        forget_dead(self._folder)
        metrics: Iterable[Metric] = self._files.collect()  # type: ignore[no-untyped-call]
        return metrics


def forget_dead(folder: Path) -> None:
    """Remove the files that count only while their process lives."""
    for file in folder.glob("gauge_live*.db"):
        match = _LIVE_FILE.fullmatch(file.name)
        if match and not psutil.pid_exists(int(match[1])):
            mark_process_dead(int(match[1]), str(folder))  # type: ignore[no-untyped-call]


def start_exporter(folder: Path, address: str, port: int) -> subprocess.Popen[str]:
    """Start the process; it ends with this one.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    process = subprocess.Popen(  # noqa: S603
        [
            sys.executable,
            "-m",
            "saferank.indexer.operate.exporter",
            str(folder),
            address,
            str(port),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Ctrl-C is for the worker, whose last figures are still to be read.
        start_new_session=True,
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != _READY:
        process.wait()
        raise ConfigurationError(
            f"metrics cannot be served at {address}:{port}; choose a free port with --metrics-port"
        )
    return process


def main() -> None:
    """Serve until standard input ends, which it does when the worker is gone."""
    folder, address, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    registry = CollectorRegistry()
    registry.register(_Collector(folder))
    start_http_server(port, address, registry)
    sys.stdout.write(f"{_READY}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
