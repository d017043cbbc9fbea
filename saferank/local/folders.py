"""Where the local services live on disk, and which user they run as.

Elasticsearch refuses to run as root. For root it therefore runs as ``nobody``, in a system-wide
cache folder that ``nobody`` can reach; anybody else uses their own cache folder.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import platformdirs

_UNPRIVILEGED_USER = "nobody"


def cache_folder() -> Path:
    """Return the folder of downloads and of the local stack's data, made when missing."""
    if os.geteuid() == 0:
        folder = platformdirs.site_cache_path("saferank")
    else:
        folder = platformdirs.user_cache_path("saferank")
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user to run Elasticsearch as, or None when the current one will do."""
    return pwd.getpwnam(_UNPRIVILEGED_USER) if os.geteuid() == 0 else None


def give_to(user: pwd.struct_passwd, folder: Path) -> None:
    """Make ``user`` the owner of ``folder`` and everything in it."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder that the service user can reach; removed at the end.

    Folders of processes that were killed before they could remove them are removed, too.
    """
    parent = cache_folder() / "temporary"
    parent.mkdir(mode=0o755, exist_ok=True)
    with _locked(parent):  # So that nobody takes a folder that is not yet locked for an old one.
        for left in parent.iterdir():
            with _locked(left, wait=False) as unused:
                if unused:
                    shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        folder.chmod(0o755)
        lock = ExitStack()
        lock.enter_context(_locked(folder))
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a folder, which ends with its process; False if another has it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # Removed by its owner meanwhile, or no folder of ours.
        yield False
        return
    try:
        yield _lock(descriptor, wait)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
