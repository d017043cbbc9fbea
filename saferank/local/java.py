"""Finding a Java that is new enough for Elasticsearch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from saferank.errors import ServiceUnavailable

MINIMUM_VERSION = 21

_INSTALLED_IN = (
    ("/usr/lib/jvm", "*"),
    ("/Library/Java/JavaVirtualMachines", "*/Contents/Home"),
)


def find_java_home() -> Path:
    """Return the home folder of the first Java that is new enough.

    Looks at ``ES_JAVA_HOME``, ``JAVA_HOME``, ``java`` on the path, then where systems install it.

    Raises:
        ServiceUnavailable: there is none; says which were looked at.
    """
    seen: list[str] = []
    for program in dict.fromkeys(_candidates()):
        found = _home_and_version(program)
        if found is None:
            continue
        home, version = found
        if version >= MINIMUM_VERSION:
            return home
        seen.append(f"{program} is Java {version}")
    looked = "; ".join(seen) or "no Java was found"
    raise ServiceUnavailable(
        f"the local Elasticsearch needs Java {MINIMUM_VERSION} or newer ({looked}): install one, "
        "for example Debian's openjdk-21-jdk-headless or Temurin, or set ES_JAVA_HOME"
    )


def _candidates() -> Iterator[Path]:
    for variable in ("ES_JAVA_HOME", "JAVA_HOME"):
        if home := os.environ.get(variable):
            yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path).resolve()
    for folder, pattern in _INSTALLED_IN:
        for home_folder in sorted(Path(folder).glob(pattern)):
            yield (home_folder / "bin" / "java").resolve()


def _home_and_version(program: Path) -> tuple[Path, int] | None:
    try:
        shown = subprocess.run(  # noqa: S603
            [program, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    home = re.search(r"java\.home = (.+)", shown)
    version = re.search(r"java\.specification\.version = (\d+)", shown)
    return (Path(home[1]), int(version[1])) if home and version else None
