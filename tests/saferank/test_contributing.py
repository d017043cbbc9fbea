"""CONTRIBUTING.md names files and words that are really there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def rows(heading: str) -> list[str]:
    """The rows of the first table under a heading."""
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def in_code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("row", rows("To change X, open Y"))
def test_the_files_and_names_to_open_are_there(row: str) -> None:
    _, _, opened, mind, _ = re.split(r"(?<!\\)\|", row)
    files = [name for name in in_code(opened) if name.endswith((".py", ".json"))]
    folder = next((Path(name).parent for name in files), Path())
    known = [path if (path := ROOT / name).exists() else ROOT / folder / name for name in files]
    for path in [*known, *(ROOT / name for name in in_code(mind) if "/" in name)]:
        assert path.exists(), path
    text = "".join(path.read_text() for path in known)
    for name in in_code(opened):
        if name.isidentifier():
            assert re.search(rf"\b{name}\b", text), name


def test_the_table_has_the_likeliest_changes() -> None:
    assert len(rows("To change X, open Y")) >= 20


def test_the_glossary_is_short_and_each_word_stands_once() -> None:
    words = [word for row in rows("Words") for word in row.split("|")[1].strip().split(", ")]
    assert len(rows("Words")) <= 25
    assert len(set(words)) == len(words)


def test_the_targets_it_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
