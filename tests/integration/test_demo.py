"""The demo, with a real worker, on the services of the tests."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from engines import ENGINE
from rich.console import Console

from saferank.demo.page import Column
from saferank.demo.run import INDEX, show
from saferank.local import Service, Stack


@pytest.fixture(scope="module")
def stack(elasticsearch_url: str, broker_url: str) -> Stack:
    def service(name: str, url: str) -> Service:
        return Service(name, url, os.getpid(), 0.0, "")

    node, broker = service(ENGINE.title(), elasticsearch_url), service("Valkey", broker_url)
    return Stack(node, broker, ENGINE)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "page.html"


@pytest.fixture(scope="module")
def columns(stack: Stack, page: Path) -> list[Column]:
    found = show(stack, "warm red", page=page, console=Console(file=io.StringIO()))
    with Elasticsearch(stack.elasticsearch.url) as client:
        client.indices.delete(index=INDEX)
    return found


def test_the_levels_differ_and_each_shows_less(columns: list[Column]) -> None:
    off, moderate, strict = columns
    assert [column.level for column in columns] == ["off", "moderate", "strict"]
    shown = [{row.name for row in column.hits} for column in columns]
    assert shown[0] > shown[1] > shown[2]
    assert (off.demoted, strict.demoted) == (0, 0)
    assert 0 < moderate.blurred < moderate.demoted
    assert not off.hidden


def test_every_document_is_accounted_for_at_each_level(columns: list[Column]) -> None:
    everything = {row.name for row in columns[0].hits}
    for column in columns:
        assert {row.name for row in (*column.hits, *column.hidden)} == everything
        assert [row.rank for row in column.hits] == list(range(1, len(column.hits) + 1))
        for row in column.hidden:
            assert row.probability is not None
            assert column.hide_from is not None
            assert row.probability >= column.hide_from
            assert row.action == "hidden"


def test_scores_are_relevance_times_factor(columns: list[Column]) -> None:
    relevance = {row.name: row.score for row in columns[0].hits}
    for row in columns[1].hits:
        assert row.factor is not None
        assert row.score == pytest.approx(relevance[row.name] * row.factor, rel=1e-5)


def test_the_page_names_the_model_and_every_licence(columns: list[Column], page: Path) -> None:
    text = page.read_text()
    assert re.search(r"<dt>Model</dt><dd>open_nsfw/74b7c0374425[^,]*</dd>", text)
    assert text.count('<td class="number">') == 50
    assert "none</td>" not in text
