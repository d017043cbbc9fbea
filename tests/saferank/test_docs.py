"""What the documentation shows must exist: links, commands and options, settings, samples."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import PAGES, ROOT, blocks, command_lines, prose, shell_blocks, typed

from saferank.cli import app
from saferank.gateway.callers import read_callers
from saferank.models.description import load_description
from saferank.ranker import load_policy, rerank
from saferank.settings import Settings, get_settings, variables

COMMANDS: Any = typer.main.get_command(app)
# What a policy needs, for the samples that show a part of one.
REST = "levels: {off: {}}\ncontexts: [{level: off}]\n"


def _lines() -> Iterator[Any]:
    """Each command line of ours in a sample, as words.

    The usage lines of the reference are not meant to be typed; they are made from the commands.
    """
    for block in shell_blocks():
        if block.page.name == "commands.md":
            continue
        for line, _ in typed(block):
            for words in command_lines(line):
                yield pytest.param(words, id=f"{block}-{' '.join(words)}")


def _in_prose() -> Iterator[Any]:
    """Each part of a command line in a sentence."""
    for page in PAGES:
        for line in dict.fromkeys(re.findall(r"`(saferank [^`\n]+)`", prose(page))):
            yield pytest.param(line, id=f"{page.relative_to(ROOT)}-{line}")


def _command(words: list[str]) -> tuple[str, Any, list[str]]:
    """The command that words name, and the words behind its name."""
    name, command = "", COMMANDS
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands
        command = command.commands[words[0]]
        name, words = f"{name} {words[0]}", words[1:]
    return name.strip(), command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", prose(page))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_index_lists_every_page() -> None:
    docs = ROOT / "docs"
    listed = re.findall(r"\]\(([^)#]+\.md)\)", (docs / "index.md").read_text())
    pages = {str(page.relative_to(docs)) for page in PAGES if docs in page.parents}
    assert pages - {"index.md"} - set(listed) == set()


@pytest.mark.parametrize("words", list(_lines()))
def test_a_sample_is_a_command_line_that_is_taken(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, command, rest = _command(words[1:])
    for word in rest:  # Some commands look whether a file is there.
        if "." in word and not word.startswith(("/", "-")) and "://" not in word:
            (tmp_path / word).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / word).touch()
    command.make_context(name, rest).close()


@pytest.mark.parametrize("line", list(_in_prose()))
def test_commands_in_sentences_exist_with_their_options(line: str) -> None:
    _, command, rest = _command(shlex.split(re.split(r" [>&|]", line)[0])[1:])
    options = {name for parameter in command.params for name in parameter.opts}
    options |= {name for parameter in command.params for name in parameter.secondary_opts}
    used = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert used <= options | {"--help"}


def test_what_is_made_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        samples = [line for block in blocks("console", page=page) for line, _ in typed(block)]
        named = re.findall(r"^make ([a-z-]+)", "\n".join(samples), re.M)
        named += re.findall(r"`make ([a-z-]+)`", prose(page))
        assert set(named) <= targets, page


def test_every_variable_is_one_of_a_setting() -> None:
    settings = set(variables())
    others = {"SAFERANK_TEST_BROKER_URL", "SAFERANK_TEST_ELASTICSEARCH_URL", "SAFERANK_CAFFE_HOME"}
    for page in PAGES:
        named = set(re.findall(r"SAFERANK_[A-Z_]*[A-Z]\b(?!_)", page.read_text()))
        assert named <= settings | others, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_exported_is_taken(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "company.pem").touch()
    for block in blocks("console", "bash", "sh", page=page):
        for line, _ in typed(block):
            for name, value in re.findall(r"^export (SAFERANK_\w+)=(.*)$", line):
                if not name.startswith("SAFERANK_TEST_"):
                    (given, *_) = shlex.split(value.replace("/etc/ssl/", ""), comments=True)
                    monkeypatch.setenv(name, given)
    Settings()


@pytest.mark.parametrize("block", list(blocks("yaml")), ids=str)
def test_policies_load(block: Any) -> None:
    text = block.text if "\nlevels:" in block.text else block.text + REST
    policy = load_policy(text)
    assert policy.resolve({}).level_name in policy.levels


@pytest.mark.parametrize("block", list(blocks("toml")), ids=str)
def test_tables_are_read_by_what_they_are_for(
    block: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = re.sub(r'(_sha256 = )"[^"]*…"', rf'\1"{"0" * 64}"', block.text)
    if "saferank.toml" in text:
        (tmp_path / "saferank.toml").write_text(text)
        get_settings.cache_clear()
        assert get_settings() != Settings.model_construct()
        get_settings.cache_clear()
    elif "[keys." in text:
        (tmp_path / "callers.toml").write_text(text)
        assert read_callers(tmp_path / "callers.toml").keys["shop"].says
    else:
        (tmp_path / "model.toml").write_text(text)
        assert load_description(tmp_path / "model.toml")[0].name


@pytest.mark.parametrize("block", list(blocks("json")), ids=str)
def test_an_explanation_has_the_parts_and_the_numbers_that_it_would_have(block: Any) -> None:
    shown = json.loads(f"{{{block.text}}}")["saferank"]
    policy = load_policy(
        "version: 1\nlevels:\n  moderate: {demote_from: 0.2, blur_from: 0.4, hide_from: 0.8, "
        "unscored: demote}\ndemotion: {floor: 0.1}\ncontexts: [{level: moderate}]\n"
    )
    record = {"probability": shown["probability"], "status": "scored"}
    hit = {"_id": "1", "_score": 1.0, "_source": {"safety": record}}
    (found,) = rerank([hit], policy.resolve({}))
    real = {key: value for key, value in found["saferank"].items() if value is not None}
    assert shown == {**real, "factor": round(real["factor"], 3)}


@pytest.mark.parametrize("block", list(blocks("python")), ids=str)
def test_python_is_python(block: Any) -> None:
    """All of it; what can be run is run by test_page_samples.py, and `make types` checks types."""
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
