"""One of several processes, run as a child, so that whatever ends it is said in a sentence.

JAX aborts a process whose first peer has gone, in the middle of anything, and prints a stack trace;
and one that ends by itself waits for its peers for minutes. So the child leaves at once, and its
parent says what became of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from saferank.cli.output import print_error
from saferank.errors import JobError, SaferankError

_MARK = "SAFERANK_WATCHED_CHILD"


def is_child() -> bool:
    """Whether this process is the one that is watched."""
    return _MARK in os.environ


def run_watched() -> int:
    """Run this process's own command again as a child; gives the child's exit code.

    Raises:
        JobError: a signal ended the child.
    """
    # The pipe tells the child that its parent lives: its end is closed whatever ends the parent.
    child = subprocess.Popen(  # noqa: S603  (our own command line)
        [sys.executable, "-m", "saferank.cli", *sys.argv[1:]],
        stdin=subprocess.PIPE,
        env={**os.environ, _MARK: "1"},
    )
    try:
        code = child.wait()
    except KeyboardInterrupt:
        code = child.wait()
    if code < 0:
        from saferank.models.training.place import LOST

        raise JobError(
            f"{signal.Signals(-code).name} ended this process of the training, as happens when "
            f"another one has gone; {LOST}"
        )
    return code


@contextmanager
def as_child() -> Iterator[None]:
    """End with the parent, and without waiting for peers where something is wrong."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        yield
    except SaferankError as error:
        print_error(str(error))
        _leave(1)
    except BaseException:
        traceback.print_exc()
        _leave(1)


def _end_with_parent() -> None:
    # The descriptor itself: a thread that waits in sys.stdin would hold up the end of Python.
    while os.read(0, 1024):
        pass
    _leave(1)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
