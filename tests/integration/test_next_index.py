"""What `mapping install` and `mapping check` say of indices that Elasticsearch will make later."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch
from typer.testing import CliRunner, Result

from saferank.cli import app
from saferank.mappings import install
from saferank.mappings.next_index import next_indices_without_fields
from saferank.settings import get_settings

Run = Callable[..., Result]


@pytest.fixture
def name(client: Elasticsearch) -> Iterator[str]:
    """The start of the names of this test's indices and templates, all deleted at the end."""
    unique = f"test-{uuid.uuid4().hex[:8]}"
    yield unique
    for index in client.indices.get(index=f"{unique}*", expand_wildcards="all"):
        with suppress(ApiError):  # the local node cannot delete a data stream
            client.indices.delete(index=index)
    # In this order: a template needs its components, and a stream its template.
    with suppress(ApiError):
        client.indices.delete_index_template(name=f"{unique}*")
    with suppress(ApiError):
        client.cluster.delete_component_template(name=f"{unique}*")
    with suppress(ApiError):
        client.indices.delete_template(name=f"{unique}*")


@pytest.fixture
def run(elasticsearch_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
    get_settings.cache_clear()
    yield lambda *arguments: CliRunner().invoke(app, ["mapping", *arguments])
    get_settings.cache_clear()


def put_template(client: Elasticsearch, name: str, *composed_of: str, **rest: Any) -> None:
    client.indices.put_index_template(
        name=name, index_patterns=[f"{name}*"], composed_of=[*composed_of], priority=900, **rest
    )


def roll_over(client: Elasticsearch, name: str) -> None:
    alias: dict[str, Any] = {name: {"is_write_index": True}}
    client.indices.create(index=f"{name}-000001", aliases=alias)


def make_stream(client: Elasticsearch, name: str) -> None:
    document = {"@timestamp": "2026-01-01"}
    client.create(index=name, id="1", document=document, refresh=True)


@pytest.mark.parametrize("stream", [True, False])
def test_the_template_of_a_series_and_its_line_are_named(
    client: Elasticsearch, name: str, run: Run, stream: bool
) -> None:
    client.cluster.put_component_template(name=f"{name}-own", template={"settings": {}})
    rest: dict[str, Any] = {"data_stream": {}} if stream else {}
    put_template(client, name, f"{name}-own", **rest)
    (make_stream if stream else roll_over)(client, name)
    installed, checked = run("install", name), run("check", name)
    assert (installed.exit_code, checked.exit_code) == (0, 1)
    line = f'"composed_of": ["{name}-own", "saferank-safety"]'
    for result in (installed, checked):
        assert f"the index template '{name}' does not have them" in result.stderr
        assert line in result.stderr
    # As it says:
    assert run("install").exit_code == 0
    put_template(client, name, f"{name}-own", "saferank-safety", **rest)
    checked = run("check", name)
    assert (checked.exit_code, "lack" in checked.stderr) == (0, False)


def test_a_template_that_has_the_fields_in_its_own_way_will_do(
    client: Elasticsearch, name: str, run: Run
) -> None:
    install(client, name=f"{name}-theirs")
    put_template(client, name, f"{name}-theirs")
    roll_over(client, name)
    assert run("install", name).stderr == ""


def test_a_template_that_maps_a_field_differently_is_named(
    client: Elasticsearch, name: str, run: Run
) -> None:
    wrong = {"properties": {"safety": {"properties": {"status": {"type": "text"}}}}}
    client.indices.create(index=f"{name}-1")
    put_template(client, name, template={"mappings": wrong})
    assert f"the index template '{name}'" in run("install", f"{name}-1").stderr


def test_a_series_without_a_template_is_told_from_an_index_that_stays(
    client: Elasticsearch, name: str, run: Run
) -> None:
    client.indices.create(index=f"{name}-alone", aliases={f"{name}-a": {}})
    assert run("install", f"{name}-alone").stderr == ""
    roll_over(client, name)
    stderr = run("install", name).stderr
    assert f"the next index like '{name}-000001' will lack the safety fields" in stderr
    assert "no index template is for it" in stderr


@pytest.mark.filterwarnings("ignore:Legacy index templates")
def test_a_legacy_template_is_named(client: Elasticsearch, name: str, run: Run) -> None:
    client.indices.put_template(name=f"{name}-old", index_patterns=[f"{name}-*"], order=1)
    client.indices.create(index=f"{name}-1")
    assert f"the legacy index template '{name}-old'" in run("install", f"{name}-1").stderr


def test_several_indices_of_one_template_are_one_sentence(client: Elasticsearch, name: str) -> None:
    put_template(client, name)
    for number in range(3):
        client.indices.create(index=f"{name}-{number}")
    (sentence,) = next_indices_without_fields(client, f"{name}-*")
    assert f"'{name}-2'" in sentence
