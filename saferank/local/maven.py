"""Fetching published servers with Maven, each once, into the cache folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from saferank.errors import ServiceUnavailable
from saferank.local.folders import cache_folder

_TIMEOUT = 1800


def kept(name: str, fetch: Callable[[Path], Path]) -> Path:
    """A folder in the cache, fetched the first time.

    Args:
        name: of the folder.
        fetch: puts everything into the scratch folder it is given, and says which folder of it is
            to be kept.

    Raises:
        ServiceUnavailable: see ``run``.
    """
    home = cache_folder() / name
    if home.is_dir():
        return home
    # Made beside its final place and moved there whole, so that a second start at the same time,
    # or one that was interrupted, never sees half of it.
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        fetched = fetch(Path(scratch))
        fetched.chmod(0o755)
        try:
            fetched.rename(home)
        except OSError:
            if not home.is_dir():
                raise
    return home


def run(what: str, folder: Path, *arguments: str) -> None:
    """Run Maven quietly.

    Args:
        what: is fetched, for messages.
        folder: to run it in.
        arguments: goal and properties.

    Raises:
        ServiceUnavailable: there is no Maven, or it failed.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceUnavailable(
            f"{what} is downloaded with Maven, and there is no mvn on the path: install it, for "
            "example Debian's maven package"
        )
    try:
        subprocess.run(  # noqa: S603
            [maven, "--quiet", "--batch-mode", *arguments],
            cwd=folder,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = str(error.stdout or "").strip().splitlines()
        raise ServiceUnavailable(
            f"Maven could not download {what}: {said[0] if said else error}; "
            "check the network and Maven's settings, then try again"
        ) from error
