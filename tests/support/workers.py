"""Worker processes for tests: real ones, in a process group of their own."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from celery import Celery

from saferank.indexer.brokers import queue_length
from saferank.indexer.worker.sweep import SWEEP_TASK
from saferank.local.ending import end_with_this_process
from saferank.settings import Settings


class WorkerProcess:
    """A worker and its children.

    Args:
        environment: settings.
        log: file for its output.
        arguments: further ones of the command.
        fast: run ``testworker``, with the fast model, instead of ``saferank worker``.
    """

    def __init__(
        self, environment: Mapping[str, str], log: Path, *arguments: str, fast: bool = False
    ) -> None:
        command = [sys.executable, "-m", "saferank.cli", "worker"]
        if fast:
            name = f"test-{uuid.uuid4().hex[:8]}@%h"
            command = [sys.executable, "-m", "celery", "-A", "testworker", "worker", "-n", name]
            command += ["--loglevel", "info", "--without-gossip", "--without-mingle"]
            path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
            environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, path))}
        if "--concurrency" not in arguments:
            command += ["--concurrency", "1"]
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *arguments],
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end_with_this_process(self.process.pid)

    def kill(self) -> None:
        """End the worker and its children at once, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask the worker to finish its tasks and end."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def resident_megabytes(self) -> list[float]:
        """Resident memory of the worker and of each child."""
        parent = psutil.Process(self.process.pid)
        return [p.memory_info().rss / 2**20 for p in (parent, *parent.children(recursive=True))]


@contextmanager
def running_worker(
    environment: Mapping[str, str], log: Path, *arguments: str, fast: bool = False
) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(environment, log, *arguments, fast=fast)
    try:
        yield worker
    finally:
        worker.stop()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for something that a process does in its own time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


def sweep(app: Celery, settings: Settings, index: str) -> None:
    """Ask for a sweep as beat does, unless anything waits: sweeps go before the chunks."""
    queues = settings.indexer.fresh_queue, settings.indexer.backfill_queue
    if not any(queue_length(app, queue) for queue in queues):
        app.send_task(SWEEP_TASK, args=[index], queue=queues[0])
