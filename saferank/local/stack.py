"""The two services together: one stack per user that outlives its shell, or a temporary one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from saferank.local.elasticsearch import DEFAULT_HEAP, start_node
from saferank.local.folders import cache_folder, temporary_folder
from saferank.local.processes import Service
from saferank.local.valkey import start_broker

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stack:
    """A running Elasticsearch node and broker."""

    elasticsearch: Service
    broker: Service

    @property
    def services(self) -> tuple[Service, Service]:
        """Both services."""
        return self.elasticsearch, self.broker

    @property
    def environment(self) -> dict[str, str]:
        """The ``SAFERANK_*`` variables that make every command use this stack."""
        return {
            "SAFERANK_ELASTICSEARCH_URL": self.elasticsearch.url,
            "SAFERANK_BROKER_URL": self.broker.url,
        }

    def stop(self) -> None:
        """Stop both services."""
        for service in self.services:
            service.stop()


def status() -> Stack | None:
    """Return the user's stack when both its services run, else None."""
    recorded = _read_state()
    if recorded is None or not all(service.running for service in recorded.services):
        return None
    return recorded


def up(*, heap: str = DEFAULT_HEAP, report: Report = lambda _: None) -> Stack:
    """Return the user's stack, started when it does not run; its data are kept between starts.

    Raises:
        ServiceUnavailable: a service cannot be started; says what to install or where to look.
    """
    if running := status():
        return running
    down()
    folder = _folder()
    stack = _start(folder, heap=heap, report=report)
    partial = _state_file().with_suffix(".new")
    partial.write_text(json.dumps(asdict(stack), indent=1))
    partial.replace(_state_file())
    return stack


def down(*, erase: bool = False) -> bool:
    """Stop the user's stack, whatever of it runs.

    Args:
        erase: also delete its indices and logs.

    Returns:
        Whether anything ran.
    """
    recorded = _read_state()
    was_running = recorded is not None and any(service.running for service in recorded.services)
    if recorded is not None:
        recorded.stop()
        _state_file().unlink(missing_ok=True)
    if erase:
        shutil.rmtree(_folder(), ignore_errors=True)
    return was_running


@contextmanager
def temporary_stack(
    *, heap: str = DEFAULT_HEAP, report: Report = lambda _: None
) -> Iterator[Stack]:
    """Run a stack of its own, stopped and deleted at the end.

    Raises:
        ServiceUnavailable: a service cannot be started.
    """
    with temporary_folder() as folder:
        stack = _start(folder, heap=heap, report=report)
        try:
            yield stack
        finally:
            stack.stop()


def _start(folder: Path, *, heap: str, report: Report) -> Stack:
    report("starting Valkey")
    broker = start_broker(folder / "valkey")
    try:
        return Stack(start_node(folder / "elasticsearch", heap=heap, report=report), broker)
    except BaseException:
        broker.stop()
        raise


def _folder() -> Path:
    return cache_folder() / "stack"


def _state_file() -> Path:
    return cache_folder() / "stack.json"


def _read_state() -> Stack | None:
    # A file that cannot be read describes no process that could be stopped safely.
    with suppress(OSError, ValueError, TypeError, KeyError):
        state = json.loads(_state_file().read_text())
        return Stack(Service(**state["elasticsearch"]), Service(**state["broker"]))
    return None
