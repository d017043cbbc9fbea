"""Services that can be broken and mended, for the scripts beside this file.

Everything is started here, on free ports, in a temporary folder, and ended by process id, or with
the script that started it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import redis

__all__ = [
    "Node",
    "Producer",
    "RabbitMq",
    "Valkey",
    "Workers",
    "data_uri",
    "environment",
    "make_broker",
    "png",
    "started",
]

SUPPORT = Path(__file__).parent.parent / "support"
sys.path.insert(0, str(SUPPORT))

from brightness import data_uri, png  # noqa: E402
from workers import WorkerProcess  # noqa: E402

from saferank.local import valkey as local_valkey  # noqa: E402
from saferank.local.elasticsearch import VERSION, start_node  # noqa: E402
from saferank.local.ending import end_with_this_process  # noqa: E402
from saferank.local.processes import Service, base_environment, free_port  # noqa: E402
from saferank.settings import Settings  # noqa: E402


class Node:
    """An Elasticsearch node that keeps its port and data over restarts."""

    def __init__(
        self, folder: Path, heap: str = "512m", version: str = VERSION, **settings: Any
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._heap = heap
        self._version = version
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._service: Service | None = None

    def start(self) -> None:
        self._service = start_node(
            self._folder,
            version=self._version,
            heap=self._heap,
            port=self._port,
            settings=self._settings,
            report=print,
        )

    def stop(self, *, hard: bool = False) -> None:
        if self._service is not None:
            _stop(self._service, hard=hard)


class Valkey:
    """A broker that keeps its port and, with its log of writes, its data over restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._service: Service | None = None

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        options = ["--bind", "127.0.0.1", "--port", str(self._port), "--save", ""]
        options += ["--appendonly", "yes", "--dir", str(self._folder)]
        self._service = Service.start(
            "Valkey",
            [local_valkey.server_program(), *options],
            folder=self._folder,
            environment=base_environment(),
            find_url=lambda: self.url if local_valkey._answers(self._port) else None,
            timeout=30,
        )

    def stop(self, *, hard: bool = False) -> None:
        if self._service is not None:
            _stop(self._service, hard=hard)

    def memory(self) -> int:
        """Bytes that the data take."""
        used: int = redis.Redis.from_url(self.url).info("memory")["used_memory"]
        return used


class RabbitMq:
    """The Debian package's server, with its own node name, port and folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._name = f"saferank-{uuid.uuid4().hex[:8]}@localhost"
        self._distribution_port = free_port()
        self._map_port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        self._service: Service | None = None

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "plugins").write_text("[].\n")
        # The erlang name server is private too: it would outlive the broker otherwise.
        self._service = Service.start(
            "RabbitMQ",
            ["/usr/lib/rabbitmq/bin/rabbitmq-server"],
            folder=self._folder,
            environment={
                **base_environment(),
                "HOME": str(self._folder),
                "ERL_EPMD_PORT": str(self._map_port),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODENAME": self._name,
                "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODE_PORT": str(self._port),
                "RABBITMQ_DIST_PORT": str(self._distribution_port),
                "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
                "RABBITMQ_LOG_BASE": str(self._folder / "log"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
                "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            },
            find_url=self._answer,
            timeout=90,
        )

    def _answer(self) -> str | None:
        import amqp

        try:
            with amqp.Connection(f"127.0.0.1:{self._port}", connect_timeout=2):
                return self.url
        except (OSError, amqp.AMQPError):
            return None

    def stop(self, *, hard: bool = False) -> None:
        if self._service is not None:
            _stop(self._service, hard=hard)
        for process in psutil.process_iter(["name", "environ"]):
            with suppress(psutil.Error):
                environment = process.info["environ"] or {}
                ours = environment.get("ERL_EPMD_PORT") == str(self._map_port)
                if process.info["name"] == "epmd" and ours:
                    process.kill()


Broker = Valkey | RabbitMq


def make_broker(name: str, folder: Path) -> Broker:
    return RabbitMq(folder) if name == "rabbitmq" else Valkey(folder)


def _stop(service: Service, *, hard: bool) -> None:
    if hard:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(service.pid)
            family = [process, *process.children(recursive=True)]
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(family, timeout=30)
    else:
        service.stop(60)


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Give the settings as a process takes them."""
    indexer = settings.indexer.model_dump(exclude_defaults=True)
    return {
        "SAFERANK_ELASTICSEARCH_URL": settings.elasticsearch_url,
        "SAFERANK_BROKER_URL": settings.broker_url,
        # The tests' model stands in for the real one, under its identity.
        "SAFERANK_INDEXER__DIGESTS": "0",
        **{f"SAFERANK_INDEXER__{name.upper()}": str(value) for name, value in indexer.items()},
        **more,
    }


class Workers:
    """Worker processes that are started again whenever they end."""

    def __init__(self, count: int, env: dict[str, str], log: Path, *arguments: str) -> None:
        self._make = lambda: WorkerProcess(env, log, *arguments, fast=True)
        self._workers = [self._make() for _ in range(count)]
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._closing.wait(0.5):
            for place, worker in enumerate(self._workers):
                if worker.process.poll() is not None:
                    self._workers[place] = self._make()

    def kill_worker(self, place: int) -> None:
        with suppress(ProcessLookupError):
            self._workers[place % len(self._workers)].kill()

    def kill_child(self, place: int) -> None:
        with suppress(psutil.NoSuchProcess, IndexError):
            self._workers[place % len(self._workers)].children()[0].kill()

    def megabytes(self) -> list[float]:
        with suppress(psutil.NoSuchProcess):
            return [round(m) for worker in self._workers for m in worker.resident_megabytes()]
        return []

    def stop(self) -> None:
        self._closing.set()
        self._watcher.join()
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.stop()


class Producer:
    """``saferank backfill``, started again until the job is finished."""

    def __init__(self, env: dict[str, str], log: Path, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "saferank.cli", "backfill", *arguments]
        self._env = {**os.environ, **env, "COLUMNS": "200"}
        self._log = log
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, finished: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not finished():
            assert time.monotonic() < deadline, f"the job did not finish in {seconds:g} s"
            self.starts += 1
            with self._log.open("ab") as output:
                self.process = subprocess.Popen(
                    self._command, env=self._env, stdout=output, stderr=subprocess.STDOUT
                )
            end_with_this_process(self.process.pid)
            while self.process.poll() is None:
                if time.monotonic() > deadline:
                    self.process.send_signal(signal.SIGINT)
                    break
                time.sleep(0.2)
            self.process.wait(30)
            if not finished():
                time.sleep(1)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    def megabytes(self) -> float:
        with suppress(psutil.NoSuchProcess):
            if self.process is not None:
                return round(psutil.Process(self.process.pid).memory_info().rss / 2**20)
        return 0.0


@contextmanager
def started(*services: Any) -> Iterator[None]:
    """Start services, and stop them whatever happens."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for service in services:
            service.start()
        yield
    finally:
        for service in reversed(services):
            service.stop(hard=True)
