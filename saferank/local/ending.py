"""Ending a process and its children: when asked, or with the process that started them.

A process that is killed has no time to end what it started. A second process does that for it: the
*guard*, which is this file as a program. It is told over a pipe what to end, and ends it as soon as
the pipe closes, which it does whatever ends the other side.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import psutil

# A clock step moves the start times that the system reports; no process id returns this soon.
_START_TOLERANCE = 5.0
_POLL_SECONDS = 0.1
_PATIENCE = 30.0

_lock = threading.Lock()
_guard: subprocess.Popen[str] | None = None


def find(pid: int, started: float) -> psutil.Process | None:
    """The very process of that id that started then, in seconds since the epoch, while it lives."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _START_TOLERANCE
        return process if same and _is_alive(process) else None
    except psutil.NoSuchProcess:
        return None


def end(processes: Sequence[psutil.Process], timeout: float = _PATIENCE) -> None:
    """End processes and their children: politely, then by force after ``timeout`` seconds."""
    family = [member for process in processes for member in _family(process)]
    for member in family:
        _signal(member.terminate)
    for member in _still_alive(family, timeout):
        _signal(member.kill)
    _still_alive(family, timeout)


def end_with_this_process(pid: int) -> None:
    """Have a process and its children ended as soon as this process ends, however it does.

    Args:
        pid: of a process that was started just now.
    """
    _tell(f"end {pid} {psutil.Process(pid).create_time()!r}")


def let_stay(pid: int) -> None:
    """Take back `end_with_this_process`."""
    _tell(f"leave {pid} 0")


def _tell(line: str) -> None:
    global _guard  # One guard a process.
    with _lock:
        if _guard is None or _guard.poll() is not None:
            _guard = subprocess.Popen(  # noqa: S603  (our own interpreter and this file)
                # By its path: it needs little of Python, and nothing of saferank.
                [sys.executable, "-P", __file__],
                stdin=subprocess.PIPE,
                # A pipe that somebody reads to its end must not wait for the guard.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                # Ctrl-C is for this process, which then ends what it started itself.
                start_new_session=True,
            )
            atexit.register(_dismiss, _guard)
        assert _guard.stdin is not None
        _guard.stdin.write(f"{line}\n")
        _guard.stdin.flush()


def _dismiss(guard: subprocess.Popen[str]) -> None:
    """Wait until what was left running has ended."""
    assert guard.stdin is not None
    guard.stdin.close()
    guard.wait()


def _main() -> None:
    started: dict[int, float] = {}
    for line in sys.stdin:
        what, pid, when = line.split()
        if what == "end":
            started[int(pid)] = float(when)
        else:
            started.pop(int(pid), None)
    end([process for pid, when in started.items() if (process := find(pid, when))])


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return


def _still_alive(processes: Sequence[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Wait until all have ended; return those that have not within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    alive = list(processes)
    while alive := [process for process in alive if _is_alive(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    # In a container, nobody may collect processes that have ended: they stay as zombies.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    _main()
