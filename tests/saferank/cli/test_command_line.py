"""What all commands have in common: help, examples, the version."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import saferank
from saferank.cli import app
from saferank.cli.examples import EXAMPLES

WHOLE: Any = typer.main.get_command(app)


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name.strip(), command
        return
    for word, part in command.commands.items():
        yield from commands(part, f"{name} {word}")


@pytest.mark.parametrize("name", sorted(dict(commands(WHOLE))))
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_of_every_command_ends_with_its_example(name: str, option: str) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*name.split(), option])
    assert result.exit_code == 0
    assert f"Example: {EXAMPLES[name]}" in result.output


@pytest.mark.parametrize("columns", [60, 200])
def test_the_lines_of_a_help_are_as_wide_as_the_terminal(columns: int) -> None:
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, ["health", "--help"])
    text = result.output.partition("scored and stored.")[2].partition("╭")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Each line but the last is full: the next word would not have fitted.
    rests = [columns - 2 - len(line) for line in lines[:-1]]
    words = [len(line.split()[0]) for line in lines[1:]]
    assert len(lines) > 1
    assert [rest for rest, word in zip(rests, words, strict=True) if rest > word] == []


def test_no_example_is_of_a_command_that_is_not_there() -> None:
    assert EXAMPLES.keys() == dict(commands(WHOLE)).keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_command_line_that_is_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(EXAMPLES[name].removeprefix('eval "$(').removesuffix(')"'))
    words = words[: words.index(">")] if ">" in words else words
    assert words[: 1 + len(name.split())] == ["saferank", *name.split()]
    for word in words:  # some commands look whether a file is there
        if "." in word and "/" not in word:
            (tmp_path / word).touch()
    command = dict(commands(WHOLE))[name]
    command.make_context(name, words[1 + len(name.split()) :]).close()


def test_the_version_is_said_once() -> None:
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["version"] == saferank.__version__
    assert f"\n## [{saferank.__version__}]" in (root / "CHANGELOG.md").read_text()


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"saferank {version('saferank')}\n")
