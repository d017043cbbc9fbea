"""Starting services detached from the terminal, and stopping exactly those later."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import psutil

from saferank.errors import ServiceUnavailable

# A clock step moves the start times that the system reports; no process id returns this soon.
_START_TOLERANCE = 5.0
_POLL_SECONDS = 0.1
_LOG_LINES_SHOWN = 15


@dataclass(frozen=True, slots=True)
class Service:
    """A running local service, identified so that no other process can be mistaken for it.

    Args:
        name: what it is, for people.
        url: where it answers.
        pid: its process id.
        started: when that process started, in seconds since the epoch.
        log: the file with its output.
    """

    name: str
    url: str
    pid: int
    started: float
    log: str

    @property
    def running(self) -> bool:
        """Whether this very process is still alive."""
        return self._process() is not None

    def stop(self, timeout: float = 30.0) -> None:
        """End the process and its children: politely, then by force after ``timeout`` seconds."""
        process = self._process()
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        for member in family:
            _signal(member.terminate)
        for member in _still_alive(family, timeout):
            _signal(member.kill)
        _still_alive(family, timeout)

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        environment: Mapping[str, str],
        find_url: Callable[[], str | None],
        timeout: float,
        user: pwd.struct_passwd | None = None,
    ) -> Self:
        """Start a service in the background and wait until it answers.

        Args:
            name: what it is, for people.
            command: program and arguments.
            folder: working folder; the output goes to ``NAME.log`` in it.
            environment: the whole environment of the process.
            find_url: returns the service's address once it answers, None until then.
            timeout: seconds to wait for that.
            user: run as this user, which only root can ask for; None is the current one.

        Raises:
            ServiceUnavailable: it ended or did not answer; carries the end of its output.
        """
        log = folder / f"{name.lower()}.log"
        with log.open("wb") as output:
            child = subprocess.Popen(  # noqa: S603 - the command is built here, not by a user
                [str(part) for part in command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        service = cls(name, "", child.pid, psutil.Process(child.pid).create_time(), str(log))
        try:
            return replace(service, url=_wait_for(child, name, log, find_url, timeout))
        except BaseException:  # an interrupt, too, must not leave it running
            service.stop()
            raise

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _START_TOLERANCE
            return process if same and _is_alive(process) else None
        except psutil.NoSuchProcess:
            return None


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def base_environment() -> dict[str, str]:
    """Return the few variables a service needs, without the user's own settings and secrets."""
    return {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}


def _wait_for(
    child: subprocess.Popen[bytes],
    name: str,
    log: Path,
    find_url: Callable[[], str | None],
    timeout: float,
) -> str:
    deadline = time.monotonic() + timeout
    while (url := find_url()) is None:
        ended = child.poll()
        if ended is not None:
            reason = f"{name} ended with code {ended}"
        elif time.monotonic() > deadline:
            reason = f"{name} did not answer within {timeout:.0f} s"
        else:
            time.sleep(_POLL_SECONDS)
            continue
        raise ServiceUnavailable(f"{reason}; the end of {log}:\n{_tail(log)}")
    return url


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


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
