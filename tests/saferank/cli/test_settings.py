"""``saferank settings``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from saferank.cli import app
from saferank.settings import get_settings


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def printed(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["settings", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_each_setting_says_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "saferank.toml").write_text('field = "safe"\n[fetch]\ntimeout = 3.5\n')
    monkeypatch.setenv("SAFERANK_IMAGE_FIELD", "picture")
    monkeypatch.setenv("SAFERANK_REVIEW__SHOW_FIELDS", "title,text")
    monkeypatch.setenv("SAFERANK_FIELD", "safety_2")
    assert printed("--changed") | printed("--changed") == {
        "field": {"value": "safety_2", "said_by": "SAFERANK_FIELD"},
        "image_field": {"value": "picture", "said_by": "SAFERANK_IMAGE_FIELD"},
        "fetch.timeout": {"value": 3.5, "said_by": "saferank.toml"},
        "review.show_fields": {
            "value": ["title", "text"],
            "said_by": "SAFERANK_REVIEW__SHOW_FIELDS",
        },
        **{
            name: one
            for name, one in printed("--changed").items()
            if name.startswith("indexer.digest")  # switched off in tests
        },
    }
    assert printed()["model"] == {"value": "open_nsfw", "said_by": "default"}


def test_a_choice_is_printed_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFERANK_ENGINE", "opensearch")
    assert printed("--changed")["engine"]["value"] == "opensearch"


def test_nothing_secret_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", "https://ann:hunter2@example.com:9200")
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_API_KEY", "hunter3")
    monkeypatch.setenv(
        "SAFERANK_BROKER_OPTIONS", json.dumps({"sentinel_kwargs": {"password": "hunter4"}})
    )
    for arguments in ([], ["--json"]):
        text = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["settings", *arguments]).output
        assert "example.com" in text
        assert "hunter" not in text


@pytest.mark.parametrize("changed", [[], ["--changed"]])
def test_the_table_has_the_same(monkeypatch: pytest.MonkeyPatch, changed: list[str]) -> None:
    monkeypatch.setenv("SAFERANK_FIELD", "safety_2")
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["settings", *changed])
    assert "safety_2" in result.output
    assert "SAFERANK_FIELD" in result.output
    assert ("open_nsfw" in result.output) is not bool(changed)
