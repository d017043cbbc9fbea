"""What each extra brings: packages and megabytes, with all that they depend on.

    python tools/extra_sizes.py [--with REQUIREMENT]

Read from the packages that are installed here, so all extras must be (``make`` installs them). An
extra's row counts what a fresh environment would hold, saferank itself left out. ``--with`` adds a
requirement to every extra that has the worker's, to see what it would cost.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console
from rich.table import Table

PROJECT: dict[str, Any] = tomllib.loads(
    (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--with", dest="more", action="append", default=[])
    more: list[str] = parser.parse_args().more
    table = Table("extra", "packages", "MB")
    for name in ("", *EXTRAS):
        found = needed([f"saferank[{name}]"], more)
        table.add_row(
            name or "none", str(len(found)), f"{sum(map(megabytes, found.values())):,.0f}"
        )
    Console().print(table)


def needed(requirements: Iterable[str], more: Iterable[str] = ()) -> dict[str, Distribution]:
    """The installed packages that requirements lead to, by name, saferank not among them."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    open_ends = [Requirement(each) for each in requirements]
    while open_ends:
        requirement = open_ends.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            if name == "saferank":
                open_ends += map(Requirement, EXTRAS[extra] if extra else PROJECT["dependencies"])
                if extra == "indexer":
                    open_ends += map(Requirement, more)
                continue
            found[name] = distribution(name)
            open_ends += [
                each
                for each in map(Requirement, found[name].requires or ())
                if each.marker is None or each.marker.evaluate({"extra": extra})
            ]
    return found


def megabytes(package: Distribution) -> float:
    """What its files take on the disk, compiled ones left out."""
    files = (Path(str(file.locate())) for file in package.files or () if file.suffix != ".pyc")
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
