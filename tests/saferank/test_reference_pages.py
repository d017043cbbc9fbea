"""The reference pages say what the code says, and leave nothing out."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from reference_pages import PAGES, REFERENCE, filled

import saferank
from saferank.cli import app
from saferank.ranker import SafeSearch
from saferank.settings import SETTINGS_FILE, Settings


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


def block(language: str) -> str:
    """The one block of a language on the page of the settings."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", page("settings.md"), re.M | re.S)
    return str(text)


def settings(model: type[BaseModel], group: str = "") -> Iterator[tuple[str, str | None]]:
    """Name and description of each setting."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{group}{name}.")
        else:
            yield group + name, field.description


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for word, part in getattr(command, "commands", {}).items():
        yield from commands(f"{name} {word}", part)
    if not hasattr(command, "commands"):
        yield name, command


COMMANDS = dict(commands("saferank", typer.main.get_command(app)))


@pytest.fixture
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to read settings in, and an environment without any."""
    for name in [name for name in os.environ if name.startswith("SAFERANK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_are_up_to_date(path: Path) -> None:
    text = path.read_text()
    assert text == filled(text), "run 'make reference'"


@pytest.mark.parametrize(("name", "description"), list(settings(Settings)))
def test_every_setting_is_listed_and_described(name: str, description: str | None) -> None:
    variable = f"SAFERANK_{name.upper().replace('.', '__')}"
    assert f"| `{name}`<br>`{variable}` |" in page("settings.md")
    assert description


def test_settings_file_of_the_page_is_read(no_settings: Path) -> None:
    (no_settings / SETTINGS_FILE).write_text(block("toml"))
    read = Settings()
    assert read.elasticsearch_url == "http://search.internal:9200"
    assert read.fetch.per_host_rate == 2.5
    assert read.indexer.sweep == ("products",)


def test_variables_of_the_page_are_read(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in shlex.split(block("sh").replace("export ", "")):
        monkeypatch.setenv(*word.split("=", 1))
    read = Settings()
    assert read.elasticsearch_api_key
    assert [str(network) for network in read.fetch.allowed_networks] == [
        "10.1.0.0/16",
        "10.2.0.0/16",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_listed_with_its_options(name: str) -> None:
    heading = f"\n## {name}\n"
    assert heading in page("commands.md")
    section = page("commands.md").partition(heading)[2].partition("\n## ")[0]
    shown = [each for each in COMMANDS[name].params if not each.hidden and each.name != "help"]
    for parameter in shown:
        for option in [*parameter.opts, *parameter.secondary_opts]:
            assert f"`{option}`" in section or parameter.param_type_name == "argument"
        assert parameter.help in section.replace("`", "")


@pytest.mark.parametrize("name", saferank.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert re.search(rf"^\.\. \S+:: saferank\.{name}\b", page("python.md"), re.M)


def test_every_call_of_a_safe_client_is_listed() -> None:
    offered = {name for name in dir(SafeSearch) if not name.startswith("_")} - {"transport"}
    listed = set(re.findall(r"`(\w+)", page("surfaces.md")))
    assert offered - listed == set()


def test_settings_that_pages_name_exist() -> None:
    known = {name for name, _ in settings(Settings)}
    variables = {f"SAFERANK_{name.upper().replace('.', '__')}" for name in known}
    for path in REFERENCE.parent.rglob("*.md"):
        text = path.read_text()
        assert set(re.findall(r"`((?:fetch|decode|indexer)\.[a-z_]+)\b", text)) <= known, path
        named = set(re.findall(r"\bSAFERANK_(?!TEST_)[A-Z]\w+", text))
        assert named <= variables, path
