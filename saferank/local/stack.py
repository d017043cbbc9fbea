"""The two services together: a user's stacks, which outlive their shell, or a temporary one."""

from __future__ import annotations

import json
import re
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


def status(*, name: str | None = None) -> Stack | None:
    """Return the user's stack when both its services run, else None.

    Raises:
        ConfigurationError: there can be no stack of that name.
    """
    recorded = _read_state(name)
    if recorded is None or not all(service.running for service in recorded.services):
        return None
    return recorded


def recorded_services(*, name: str | None = None) -> tuple[Service, ...]:
    """The services of the user's stack, whether they run or not; none where there was no stack.

    Raises:
        ConfigurationError: there can be no stack of that name.
    """
    recorded = _read_state(name)
    return () if recorded is None else recorded.services


def up(
    *,
    name: str | None = None,
    engine: Engine | None = None,
    heap: str = DEFAULT_HEAP,
    stay: bool = True,
    report: Report = lambda _: None,
) -> Stack:
    """Return the user's stack, started when it does not run; its data are kept between starts.

    Args:
        name: of a stack beside the others, with data and ports of its own; None for the usual one.
        engine: what the node is to be; None for the one that runs, or the first.
        heap: Java heap of the node, for example ``512m`` or ``1g``.
        stay: whether a stack that is started here runs on after this process has ended.
        report: called with what is being done, for progress display.

    Raises:
        ConfigurationError: the stack runs with the other engine, or the name is none.
        ServiceUnavailable: a service cannot be started; says what to install or where to look.
    """
    if running := status(name=name):
        if engine not in (None, running.engine):
            raise ConfigurationError(
                f"the stack runs with {running.engine}; stop it first: "
                f"{command_of('down', name)}, or start another beside it with --name"
            )
        return running
    down(name=name)
    folder = _folder(name)
    stack = _start(folder, engine=engine or Engine.ELASTICSEARCH, heap=heap, report=report)
    partial = _state_file(name).with_suffix(".new")
    partial.write_text(json.dumps(asdict(stack), indent=1))
    partial.replace(_state_file(name))
    if stay:
        for service in stack.services:
            service.outlive()
    return stack


def down(*, name: str | None = None, erase: bool = False) -> bool:
    """Stop the user's stack, whatever of it runs.

    Args:
        name: as it was started with.
        erase: also delete its indices and logs.

    Returns:
        Whether anything ran.

    Raises:
        ConfigurationError: there can be no stack of that name.
    """
    recorded = _read_state(name)
    was_running = recorded is not None and any(service.running for service in recorded.services)
    if recorded is not None:
        recorded.stop()
        _state_file(name).unlink(missing_ok=True)
    if erase:
        shutil.rmtree(_folder(name), ignore_errors=True)
    return was_running


@contextmanager
def temporary_stack(
    *,
    engine: Engine = Engine.ELASTICSEARCH,
    heap: str = DEFAULT_HEAP,
    report: Report = lambda _: None,
) -> Iterator[Stack]:
    """Run a stack of its own, stopped and deleted at the end; stopped if this process is killed.

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


def command_of(command: str, name: str | None) -> str:
    """The command line for a stack."""
    return f"saferank stack {command}" + ("" if name is None else f" --name {name}")


def _folder(name: str | None) -> Path:
    if name is None:
        return cache_folder() / "stack"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise ConfigurationError(
            f"a stack's name has at most 40 letters from a to z, digits and hyphens: not {name!r}"
        )
    return cache_folder() / f"stack-{name}"


def _state_file(name: str | None) -> Path:
    return _folder(name).with_suffix(".json")


def _read_state(name: str | None) -> Stack | None:
    file = _state_file(name)
    # A file that cannot be read describes no process that could be stopped safely.
    with suppress(OSError, ValueError, TypeError, KeyError):
        state = json.loads(file.read_text())
        node, broker = Service(**state["elasticsearch"]), Service(**state["broker"])
        return Stack(node, broker, Engine(state["engine"]))
    return None
