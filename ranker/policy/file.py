"""A policy that follows its file, so that a changed level holds without a restart."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from saferank.errors import PolicyError
from saferank.ranker.policy.load import load_policy
from saferank.ranker.policy.policy import Policy

_log = logging.getLogger(__name__)

_SETTLED = 1.0
"""Seconds for which a file has stayed as it is before it is read: half of a policy that somebody
is still writing may be a policy too, and a looser one."""


class PolicyFile:
    """The policy in a file, read again when the file has changed.

    Pass it to a safe client in place of a policy. Each check costs one ``stat``. A changed file is
    read once it has stayed the same for a second. An invalid file leaves the policy as it was, with
    an error in the log and in ``fault``. Threads and event loops can share it.

    Args:
        path: of the file.

    Raises:
        PolicyError: as ``load_policy``; only here, never later.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._reading = threading.Lock()
        self._read_as = _state(self._path)
        self._policy = load_policy(self._path)
        self._fault: str | None = None

    @property
    def fault(self) -> str | None:
        """Why the file is not the policy in use; None if it is. Checks the file."""
        self.current()
        return self._fault

    def current(self) -> Policy:
        """The policy in use now. Call it once for each request, so that one policy answers it."""
        # Whoever does not get the lock goes on with the policy that the other is about to replace.
        if _state(self._path) != self._read_as and self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()
        return self._policy

    def _read(self) -> None:
        state = _state(self._path)
        if state == self._read_as or _may_be_half_written(state):
            return
        try:
            policy, fault = load_policy(self._path), None
        except PolicyError as error:
            policy, fault = self._policy, str(error)
        if _state(self._path) != state:
            return
        self._policy, self._fault, self._read_as = policy, fault, state
        if fault is None:
            _log.info("the policy of %s was read again and holds now", self._path)
        else:
            _log.error("the policy stays as it was before: %s", fault)


def current_policy(policy: Policy | PolicyFile) -> Policy:
    """The policy that holds now, be it one or what a file says."""
    return policy.current() if isinstance(policy, PolicyFile) else policy


_State = tuple[int, int, int, int]


def _state(path: Path) -> _State | None:
    """What tells two versions of a file apart; None where there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _may_be_half_written(state: _State | None) -> bool:
    """Whether a file was changed just now, by the clock of this machine."""
    return state is not None and 0 <= time.time() - max(state[:2]) / 1e9 < _SETTLED
