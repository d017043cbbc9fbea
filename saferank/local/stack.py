"""The two services together: one stack per user that outlives its shell, or a temporary one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from saferank.errors import ConfigurationError
from saferank.local import elasticsearch, opensearch
from saferank.local.elasticsearch import DEFAULT_HEAP
from saferank.local.folders import cache_folder, temporary_folder
from saferank.local.processes import Service
from saferank.local.valkey import start_broker
from saferank.settings import Engine

Report = Callable[[str], None]

_NODES = {Engine.ELASTICSEARCH: elasticsearch, Engine.OPENSEARCH: opensearch}


@dataclass(frozen=True, slots=True)
class Stack:
    """A running Elasticsearch or OpenSearch node, and a broker.

    Attributes:
        elasticsearch: the node.
        broker: a Valkey server.
        engine: what the node is.
    """

    elasticsearch: Service
    broker: Service
    engine: Engine = Engine.ELASTICSEARCH

    @property
    def services(self) -> tuple[Service, Service]:
        """Both services."""
        return self.elasticsearch, self.broker

    @property
    def engine_version(self) -> str:
        """Name and version of the node's engine."""
        return f"{self.elasticsearch.name} {_NODES[self.engine].VERSION}"

    @property
    def environment(self) -> dict[str, str]:
        """The ``SAFERANK_*`` variables that make every command use this stack."""
        return {
            "SAFERANK_ENGINE": self.engine,
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


def recorded_services() -> tuple[Service, ...]:
    """The services of the user's stack, whether they run or not; none where there was no stack."""
    recorded = _read_state()
    return () if recorded is None else recorded.services


def up(
    *, engine: Engine | None = None, heap: str = DEFAULT_HEAP, report: Report = lambda _: None
) -> Stack:
    """Return the user's stack, started when it does not run; its data are kept between starts.

    Args:
        engine: what the node is to be; None for the one that runs, or the first.
        heap: Java heap of the node, for example ``512m`` or ``1g``.
        report: called with what is being done, for progress display.

    Raises:
        ConfigurationError: the stack runs with the other engine.
        ServiceUnavailable: a service cannot be started; says what to install or where to look.
    """
    if running := status():
        if engine not in (None, running.engine):
            raise ConfigurationError(
                f"the stack runs with {running.engine}; stop it first: saferank stack down"
            )
        return running
    down()
    folder = _folder()
    stack = _start(folder, engine=engine or Engine.ELASTICSEARCH, heap=heap, report=report)
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
    *,
    engine: Engine = Engine.ELASTICSEARCH,
    heap: str = DEFAULT_HEAP,
    report: Report = lambda _: None,
) -> Iterator[Stack]:
    """Run a stack of its own, stopped and deleted at the end.

    Raises:
        ServiceUnavailable: a service cannot be started.
    """
    with temporary_folder() as folder:
        stack = _start(folder, engine=engine, heap=heap, report=report)
        try:
            yield stack
        finally:
            stack.stop()


def _start(folder: Path, *, engine: Engine, heap: str, report: Report) -> Stack:
    report("starting Valkey")
    broker = start_broker(folder / "valkey")
    try:
        node = _NODES[engine].start_node(folder / engine, heap=heap, report=report)
        return Stack(node, broker, engine)
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
        node, broker = Service(**state["elasticsearch"]), Service(**state["broker"])
        return Stack(node, broker, Engine(state["engine"]))
    return None
