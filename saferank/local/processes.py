"""Starting services apart from the terminal, and stopping exactly those later."""

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
from saferank.local import ending

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
        return ending.find(self.pid, self.started) is not None

    def stop(self, timeout: float = 30.0) -> None:
        """End the process and its children: politely, then by force after ``timeout`` seconds."""
        process = ending.find(self.pid, self.started)
        if process is not None:
            ending.end([process], timeout)

    def outlive(self) -> None:
        """Let it run on after the process that started it has ended."""
        ending.let_stay(self.pid)

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

        It ends with this process, even a killed one, unless it is told to `outlive` it.

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
        ending.end_with_this_process(child.pid)
        service = cls(name, "", child.pid, psutil.Process(child.pid).create_time(), str(log))
        try:
            return replace(service, url=_wait_for(child, name, log, find_url, timeout))
        except BaseException:  # an interrupt, too, must not leave it running
            service.stop()
            raise


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


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
