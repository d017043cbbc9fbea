"""What a process started ends with it, however it ends; any long-running program will do."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from workers import wait_until

from saferank.local import ending
from saferank.local.stack import down, status

# Starts services in threads that end, prints their ids, and waits to be ended.
OWNER = """
import sys
from pathlib import Path
from threading import Thread
from saferank.local import stack
from saferank.local.processes import Service, base_environment

folder, started = Path(sys.argv[1]), []

def start(name):
    ready = folder / name
    thread = Thread(target=lambda: started.append(Service.start(
        name, ["/bin/sh", "-c", f"sleep 600 & touch {ready}; wait"],
        folder=folder, environment=base_environment(), timeout=60,
        find_url=lambda: "http://" if ready.exists() else None,
    )))
    thread.start()
    thread.join()
    return started[-1]

if len(sys.argv) > 2:
    stack.cache_folder = lambda: folder
    stack._start = lambda *_, engine, **__: stack.Stack(start("one"), start("two"), engine)
    (folder / "stack").mkdir()
    stack.up(stay="stay" in sys.argv)
else:
    start("one")
print(*[service.pid for service in started], flush=True)
sys.stdin.read()
"""


@dataclass
class Known:
    """A process, told apart from a later one of the same id."""

    pid: int
    started: float

    @classmethod
    def of(cls, process: psutil.Process) -> Known:
        return cls(process.pid, process.create_time())

    @property
    def lives(self) -> bool:
        return ending.find(self.pid, self.started) is not None


class Owner:
    """A process that started services, each with a child."""

    def __init__(self, folder: Path, *task: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(folder), *task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        services = [psutil.Process(int(pid)) for pid in self.process.stdout.readline().split()]
        (self.guard,) = [
            Known.of(child)
            for child in psutil.Process(self.process.pid).children()
            if child not in services
        ]
        self.services = [Known.of(service) for service in services]
        self.children = [Known.of(child) for one in services for child in one.children()]

    @property
    def alive(self) -> list[bool]:
        return [one.lives for one in (*self.services, *self.children)]


@pytest.fixture
def owners() -> Iterator[list[Owner]]:
    """Those of a test, of which nothing is left after it."""
    made: list[Owner] = []
    yield made
    for owner in made:
        owner.process.communicate()
        for one in (*owner.services, *owner.children):
            if process := ending.find(one.pid, one.started):
                process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_service_ends_with_the_process_that_started_it(
    tmp_path: Path, owners: list[Owner], how: signal.Signals
) -> None:
    owners.append(owner := Owner(tmp_path))
    assert owner.alive == [True, True]
    owner.process.send_signal(how)
    owner.process.wait()
    wait_until(lambda: not owner.guard.lives, "the end of the guard")
    assert owner.alive == [False, False]


def test_one_that_was_forgotten_has_ended_when_the_process_has(
    tmp_path: Path, owners: list[Owner]
) -> None:
    owners.append(owner := Owner(tmp_path))
    owner.process.communicate()
    assert owner.alive == [False, False]


def test_a_stack_outlives_the_command_that_started_it(
    tmp_path: Path, owners: list[Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saferank.local.stack.cache_folder", lambda: tmp_path)
    owners.append(owner := Owner(tmp_path, "stay"))
    owner.process.kill()
    owner.process.wait()
    wait_until(lambda: not owner.guard.lives, "the end of the guard")
    assert owner.alive == [True] * 4
    found = status()
    assert found is not None
    assert [service.pid for service in found.services] == [one.pid for one in owner.services]
    assert down()
    assert owner.alive == [False] * 4


def test_a_stack_that_is_not_to_stay_ends_with_its_process(
    tmp_path: Path, owners: list[Owner]
) -> None:
    owners.append(owner := Owner(tmp_path, "pass"))
    assert owner.alive == [True] * 4
    owner.process.kill()
    owner.process.wait()
    wait_until(lambda: not owner.guard.lives, "the end of the guard")
    assert owner.alive == [False] * 4
