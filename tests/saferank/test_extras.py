"""What each extra brings is what the page says, and no more."""

from __future__ import annotations

import re

import pytest
from extra_sizes import EXTRAS, megabytes, needed
from pages import ROOT

PAGE = (ROOT / "docs/reference/extras.md").read_text()
# Of the megabytes on the page: newer versions may be a little larger.
ROOM = 1.1


def rows() -> dict[str, tuple[int, int]]:
    """Packages and megabytes on the page, by extra."""
    found = {}
    for names, packages, sizes in re.findall(
        r"^\| (.+?) \| .+ \| ([\d, ]+) \| ([\d, ]+) \|$", PAGE, re.M
    ):
        each = [name.strip("`") for name in names.split(", ")]
        counts = [packages] if len(each) == 1 else packages.split(", ")
        megabytes_of = [sizes.replace(",", "")] if len(each) == 1 else sizes.split(", ")
        for name, count, size in zip(each, counts, megabytes_of, strict=True):
            found[name] = int(count), int(size)
    return found


def test_the_page_has_every_extra() -> None:
    assert rows().keys() == {"none", *EXTRAS}


@pytest.mark.parametrize(("name", "packages", "size"), [(n, *each) for n, each in rows().items()])
def test_an_extra_brings_what_the_page_says(name: str, packages: int, size: int) -> None:
    """If not: ``python tools/extra_sizes.py``, and whether it is worth that."""
    found = needed([f"saferank[{'' if name == 'none' else name}]"])
    assert len(found) == packages
    assert sum(map(megabytes, found.values())) <= size * ROOM


def test_the_readme_says_the_same() -> None:
    installs = re.findall(
        r"^pip install '\.(?:\[(\w+)\])?'.*\((\d+) MB\)$", (ROOT / "README.md").read_text(), re.M
    )
    assert len(installs) >= 2
    for name, size in installs:
        assert int(size) == rows()[name or "none"][1]
