"""An index as version 0.1 left it is brought up to date by what the page on that says."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from pages import ROOT, blocks, typed
from typer.testing import CliRunner, Result

from saferank.cli import app
from saferank.indexer.worker.resources import model_identity
from saferank.ranker import SafeSearch, load_policy
from saferank.settings import get_settings

PAGE = ROOT / "docs" / "how-to" / "upgrade.md"
# As component template version 1 made it.
SAFETY_1 = {
    "type": "object",
    "dynamic": "strict",
    "properties": {
        "probability": {"type": "float"},
        "model": {"type": "keyword"},
        "status": {"type": "keyword"},
        "error": {"type": "keyword"},
        "scored_at": {"type": "date"},
        "images": {"type": "object", "enabled": False},
        "override": {"type": "keyword"},
        "override_by": {"type": "keyword"},
        "override_at": {"type": "date"},
        "override_reason": {"type": "text"},
    },
}
OLD = "open_nsfw/74b7c0374425/resize-jpeg-crop/3f7e0a1b2c4d"
POLICY = """version: 1
levels:
  off: {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
demotion: {curve: exponential, floor: 0.1}
contexts: [{level: moderate}]
"""


def test_an_index_of_the_first_mapping(
    client: Elasticsearch,
    elasticsearch_url: str,
    index_name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
    get_settings.cache_clear()
    image = {"type": "keyword", "index": False}
    client.indices.create(
        index=index_name,
        mappings={
            "_meta": {"saferank": {"version": 1}},
            "properties": {"image": image, "safety": SAFETY_1},
        },
    )
    scored = {"model": OLD, "status": "scored", "scored_at": "2026-01-01T00:00:00Z"}
    safety = {
        "old": {**scored, "probability": 0.1},
        "new": {**scored, "probability": 0.1, "model": model_identity("open_nsfw")},
        "blocked": {**scored, "probability": 0.1, "override": "block", "override_by": "ann"},
    }
    for name, record in safety.items():
        client.index(
            index=index_name, id=name, document={"image": "a.jpg", "safety": record}, refresh=True
        )
    commands = [
        shlex.split(line)[1:]
        for block in blocks("console", page=PAGE)
        for line, _ in typed(block)
        if " photos" in line
    ]

    def run(words: list[str], *more: str) -> Result:
        named = [index_name if word == "photos" else word for word in words]
        return CliRunner().invoke(app, [*named, *more])

    try:
        missing, installed, ready, dry, _ = commands
        assert run(missing).exit_code == 1
        assert run(installed).exit_code == 0
        assert run(ready).exit_code == 0
        assert json.loads(run(dry, "--json").stdout)["documents"] == 2
    finally:
        get_settings.cache_clear()
    mapping = client.indices.get_mapping(index=index_name)[index_name]["mappings"]
    assert mapping["_meta"]["saferank"] == {"version": 3}
    assert {"digests", "matched", "matched_by"} < set(mapping["properties"]["safety"]["properties"])
    for name, record in safety.items():
        assert client.get(index=index_name, id=name)["_source"]["safety"] == record
    hits = SafeSearch(client, load_policy(POLICY)).search(index=index_name)["hits"]["hits"]
    assert {hit["_id"] for hit in hits} == {"old", "new"}


def test_the_names_of_the_page_are_there() -> None:
    new = [row.split(" | ")[1] for row in PAGE.read_text().splitlines() if row.startswith("| `")]
    imported = re.findall(r"`from (\S+) import ([^`]+)`", " ".join(new))
    assert len(imported) >= 4
    for module, names in imported:
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name)
    for dotted in re.findall(r"`(saferank\.[\w.]+)`", " ".join(new)):
        module, _, name = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), name) or importlib.import_module(dotted)
