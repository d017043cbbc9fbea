"""The pages of the documentation, and the samples in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```", re.M | re.S)
_SHELLS = ("console", "bash", "sh")


@dataclass(frozen=True)
class Block:
    """A sample.

    Attributes:
        page: file of the page.
        number: of the block within it, from 0.
        language: that the page gives.
        text: of the sample.
    """

    page: Path
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}-{self.number}"


def blocks(*languages: str, page: Path | None = None) -> Iterator[Block]:
    """The samples in these languages, of one page or of all."""
    for each in PAGES if page is None else [page]:
        for number, (language, text) in enumerate(_BLOCK.findall(each.read_text())):
            if language in languages:
                yield Block(each, number, language, text)


def prose(page: Path) -> str:
    """A page without its samples."""
    return _BLOCK.sub("", page.read_text())


def typed(block: Block) -> list[tuple[str, str]]:
    """What is typed in a sample of a shell, line by line, each with the output that follows."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return [(line, "") for line in lines if line.strip()]
    found: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = found[-1][0], f"{found[-1][1]}{line}\n"
    return found


def shell_blocks() -> Iterator[Block]:
    """All samples of a shell."""
    return blocks(*_SHELLS)


def command_lines(line: str) -> Iterator[list[str]]:
    """The words of each command of ours in a line, from ``saferank`` on."""
    inner = re.sub(r"\"\$\((.*?)\)\"", r" ; \1 ; ", line)
    lexer = shlex.shlex(inner, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set("();<>|&"):
            if "saferank" in words:
                yield words[words.index("saferank") :]
            words = []
        else:
            words.append(word)
