"""What the documentation shows must exist: links, policies, commands and their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from saferank.cli import app
from saferank.ranker import load_policy

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _blocks(language: str) -> Iterator[Any]:
    for page in PAGES:
        for number, block in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)
        ):
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")


def _commands() -> Iterator[Any]:
    """Every ``saferank …`` command line in a console block or in inline code."""
    for page in PAGES:
        text = page.read_text()
        lines = [
            line
            for block in re.findall(r"^```(?:console|bash|sh)\n(.*?)^```", text, re.M | re.S)
            for line in re.findall(r"^\$ (saferank .*)$", block.replace("\\\n", " "), re.M)
        ]
        prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        lines += re.findall(r"`(saferank [^`\n]+)`", prose)
        for line in dict.fromkeys(lines):
            yield pytest.param(line, id=f"{page.relative_to(ROOT)}-{line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", prose)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"\]\(([^)#]+\.md)\)", (ROOT / "docs" / "index.md").read_text())
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]} - {"index.md"}
    assert pages - set(listed) == set()


@pytest.mark.parametrize(
    "text", [block for block in _blocks("yaml") if "\nlevels:" in block.values[0]]
)
def test_policies_load(text: str) -> None:
    policy = load_policy(text)
    assert policy.resolve({}).level_name in policy.levels


@pytest.mark.parametrize("code", list(_blocks("python")))
def test_python_is_python(code: str) -> None:
    compile(code, "documentation", "exec")


@pytest.mark.parametrize("line", list(_commands()))
def test_commands_exist_with_their_options(line: str) -> None:
    words = shlex.split(re.split(r" [>&|]", line)[0])[1:]
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands
        command = command.commands[words.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    options |= {name for parameter in command.params for name in parameter.secondary_opts}
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= options | {"--help"}
