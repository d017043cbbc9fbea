"""``saferank search`` and ``saferank alias`` on a real node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from typer.testing import CliRunner, Result

from saferank.cli import app
from saferank.errors import ConfigurationError, ContextError, MappingError, ServiceUnavailable
from saferank.mappings import template
from saferank.mappings.fields import SafetyFields
from saferank.settings import get_settings

POLICY = """\
version: 1
levels:
  off: {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict: {hide_from: 0.2, unscored: hide}
contexts:
  - {when: {audience: child}, level: strict}
  - {level: moderate}
"""
PROBABILITIES = {"plain": 0.0, "medium": 0.5, "high": 0.9}


@pytest.fixture
def filled(client: Elasticsearch, index_name: str) -> str:
    client.indices.create(index=index_name)
    template.add_to_index(client, index_name)
    for name, probability in PROBABILITIES.items():
        document = {"title": f"cat {name}", "safety": {"probability": probability}}
        client.index(index=index_name, id=name, document=document)
    client.indices.refresh(index=index_name)
    return index_name


@pytest.fixture(autouse=True)
def environment(
    elasticsearch_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
    monkeypatch.setenv("SAFERANK_POLICY", str(path))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))


def ids(*arguments: str) -> list[str]:
    result = run("search", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return [hit["_id"] for hit in json.loads(result.output)["hits"]["hits"]]


def test_search_at_each_level_and_in_a_context(filled: str) -> None:
    assert sorted(ids(filled, "cat", "--level", "off")) == ["high", "medium", "plain"]
    assert ids(filled, "cat", "--level", "moderate") == ["plain", "medium"]
    assert ids(filled, "cat", "--context", "audience=child") == ["plain"]
    assert ids(filled, "cat") == ["plain", "medium"]
    assert ids(filled, "") == ["plain", "medium"]
    assert ids(filled, "medium", "--field", "title") == ["medium"]
    assert ids(filled, "cat", "--size", "1") == ["plain"]


def test_the_table_says_what_was_done_and_why(filled: str) -> None:
    output = run("search", filled, "cat").output
    assert "2 hits at level 'moderate'" in output
    (row,) = [line for line in output.splitlines() if " medium " in line]
    for text in ("0.500", "0.316", "demoted", "demote from", "cat medium"):
        assert text in row


def test_the_table_fits_a_small_window_and_shows_what_was_searched(
    client: Elasticsearch, filled: str
) -> None:
    long = {"id": "7", "title": "seven grey cats asleep", "safety": {"probability": 0.5}}
    client.index(index=filled, id="seven-cats-of-a-kind", document=long, refresh=True)
    arguments = ["search", filled, "grey", "--field", "title"]
    narrow = CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments).output
    assert max(map(len, narrow.splitlines())) <= 80
    for text in ("seven-cats", "0.500", "demoted", "seven grey", "--json"):
        assert text in narrow
    # A pipe or a file has no width.
    wide = CliRunner().invoke(app, arguments, env={"COLUMNS": None}).output
    for text in ("seven-cats-of-a-kind", "demote from", "seven grey cats asleep"):
        assert text in wide


OF_TWO = """\
version: 2
categories: {nudity: {field: safety}, violence: {field: safety_violence}}
levels:
  moderate:
    nudity: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
    violence: {blur_from: 0.3, unscored: show}
contexts: [{level: moderate}]
"""


def test_of_several_categories_each_has_a_column_and_one_is_named(
    filled: str, client: Elasticsearch, tmp_path: Path
) -> None:
    template.add_to_index(client, filled, fields=SafetyFields("safety_violence"))
    for name, probability in {"medium": 0.35, "[b]far[/b]": 0.45}.items():
        scores = {"safety": {"probability": 0.5}, "safety_violence": {"probability": probability}}
        client.index(index=filled, id=name, document={"title": f"cat {name}", **scores})
    client.indices.refresh(index=filled)
    policy = tmp_path / "two.yaml"
    policy.write_text(OF_TWO)
    output = run("search", filled, "cat", "--policy", str(policy)).output
    titles, plain, medium, far = (
        next(line for line in output.splitlines() if text in line)
        for text in ("document", " plain ", " medium ", " [b]far[/b] ")
    )
    assert titles.index("nudity") < titles.index("violence") < titles.index("factor")
    assert "probability" not in titles
    # Its number, id and score, nudity and violence, the factor, what was done and why.
    assert [cell.strip() for cell in plain.split("│")][4:9] == [
        "0.000",
        "-",
        "1",
        "shown",
        "below thresholds",
    ]
    for row, probability in ((medium, "0.350"), (far, "0.450")):
        for text in ("0.500", probability, "0.316", "demoted, blurred", "nudity: demote from"):
            assert text in row


def test_what_lacks_a_category_is_told_that_the_settings_must_name_it(
    filled: str, tmp_path: Path
) -> None:
    """The bare command would add ``safety`` again and say that all is well."""
    policy = tmp_path / "two.yaml"
    policy.write_text(OF_TWO)
    for command in (("search", filled, "cat"), ("policy", "what-if", filled)):
        raised = run(*command, "--policy", str(policy)).exception
        assert isinstance(raised, MappingError)
        assert f"{filled}' with 'safety_violence' in its settings" in str(raised)


def test_a_field_that_the_index_lacks_is_named_where_nothing_is_found(filled: str) -> None:
    found = run("search", filled, "cat", "--field", "titel^2", "--field", "title")
    assert "no field" not in found.output
    nothing = run("search", filled, "cat", "--field", "titel^2", "--field", "*_text")
    assert "0 hits" in nothing.output
    assert "has no field 'titel', so nothing is found in it" in nothing.output


def test_known_failures_are_one_sentence(
    filled: str, client: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(run("search", filled, "cat", "--level", "x").exception, ContextError)
    assert run("search", filled, "cat", "--level", "off", "--context", "a=b").exit_code == 2
    missing = run("search", "test-no-such-index", "cat").exception
    assert isinstance(missing, ConfigurationError)
    bare = f"{filled}-bare"
    client.indices.create(index=bare)
    try:
        unprepared = run("search", bare, "cat").exception
    finally:
        client.indices.delete(index=bare)
    assert isinstance(unprepared, MappingError)
    assert f"saferank mapping install {bare}" in str(unprepared)
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", "http://127.0.0.1:9")
    get_settings.cache_clear()
    stopped = run("search", filled, "cat").exception
    assert isinstance(stopped, ServiceUnavailable)
    assert "http://127.0.0.1:9 cannot be reached" in str(stopped)


def test_aliases_hide_as_the_levels_do(filled: str, client: Elasticsearch) -> None:
    result = run("alias", "install", filled)
    assert result.exit_code == 0, result.output
    expected = {"off": {"plain", "medium", "high"}, "moderate": {"plain", "medium"}}
    for level, names in {**expected, "strict": {"plain"}}.items():
        found = client.search(index=f"{filled}-{level}", query={"match": {"title": "cat"}})
        assert {hit["_id"] for hit in found["hits"]["hits"]} == names
    assert "removed" in run("alias", "remove", filled).output
    assert not client.indices.exists_alias(name=f"{filled}-strict")
    assert "there were none" in run("alias", "remove", filled).output


def test_an_alias_name_that_cannot_be_is_refused(filled: str) -> None:
    for name in ("{index}", "{shard}-{level}", "#{level}"):
        result = run("alias", "install", filled, "--name", name)
        assert isinstance(result.exception, ConfigurationError), name
