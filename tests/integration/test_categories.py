"""A second category on a live index, with real workers and a fast model."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from brightness import data_uri, png
from elasticsearch import Elasticsearch, helpers
from workers import running_worker, sweep, wait_until

import saferank.models
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import model_identity
from saferank.mappings.float32 import as_probability
from saferank.settings import Settings

Environment = dict[str, str]
FIELDS = {"nudity": "safety", "violence": "safety_violence"}


@pytest.fixture
def environment(indexer_environment: Environment, tmp_path: Path) -> Environment:
    """Two categories; the second one's model is the first one's under another name."""
    built_in = Path(saferank.models.__file__).parent / "open_nsfw.toml"
    model = tmp_path / "violence.toml"
    model.write_text(built_in.read_text().replace('"open_nsfw"\n', '"violence"\n', 1))
    categories = {
        "nudity": {"field": FIELDS["nudity"], "model": "open_nsfw"},
        "violence": {"field": FIELDS["violence"], "model": str(model)},
    }
    return {
        **indexer_environment,
        "SAFERANK_CATEGORIES": json.dumps(categories),
        "SAFERANK_INDEXER__DIGESTS": "0",
        "SAFERANK_INDEXER__THREADS": "2",
        "TEST_INFERENCES": str(tmp_path / "inferences"),
    }


@pytest.fixture
def index(client: Elasticsearch, index_name: str, environment: Environment) -> str:
    client.indices.create(
        index=index_name,
        settings={"number_of_shards": 2, "number_of_replicas": 0},
        mappings={"properties": {"image": {"type": "keyword", "index": False}}},
    )
    saferank_command(environment, "mapping", "install", index_name)
    documents = [
        {"_index": index_name, "_id": str(n), "image": data_uri(png(n))} for n in range(30)
    ]
    helpers.bulk(client, documents, refresh=True)
    return index_name


def saferank_command(environment: Environment, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "saferank.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources(client: Elasticsearch, index: str) -> dict[str, dict[str, Any]]:
    client.indices.refresh(index=index)
    hits = client.search(index=index, size=100)["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


def inferences(path: Path) -> set[int]:
    """How often images were decoded for a model."""
    return set(Counter(path.read_text().split()).values())


def stored(client: Elasticsearch, index: str, field: str) -> dict[str, str]:
    """What documents have for a category, byte for byte."""
    return {id: json.dumps(one.get(field)) for id, one in sources(client, index).items()}


def test_a_category_is_rolled_out_by_a_backfill_of_its_own(
    client: Elasticsearch, index: str, environment: Environment, tmp_path: Path
) -> None:
    properties = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]
    assert all(properties[field]["properties"]["probability"] for field in FIELDS.values())
    with running_worker(environment, tmp_path / "log", fast=True):
        saferank_command(environment, "backfill", index, "--category", "nudity")
        before = stored(client, index, "safety")
        assert "null" not in before.values()
        assert set(stored(client, index, "safety_violence").values()) == {"null"}

        saferank_command(environment, "backfill", index, "--category", "violence")
        assert stored(client, index, "safety") == before
        for id, source in sources(client, index).items():
            violence = source["safety_violence"]
            assert violence["status"] == "scored"
            assert violence["probability"] == as_probability(int(id) / 255)
            assert violence["model"].startswith("violence/")
        assert inferences(tmp_path / "inferences") == {2}

        # All of them at once: what each lacks is there, and nothing is looked at again.
        saferank_command(environment, "backfill", index)
        assert stored(client, index, "safety") == before
        assert inferences(tmp_path / "inferences") == {2}


def test_an_upload_is_decoded_once_for_all_and_stored_in_one_write(
    client: Elasticsearch,
    index: str,
    environment: Environment,
    indexer_settings: Settings,
    tmp_path: Path,
) -> None:
    with running_worker(environment, tmp_path / "log", fast=True):
        queue_documents(
            index,
            [str(n) for n in range(30)],
            app=create_app(indexer_settings),
            settings=indexer_settings,
        )
        wait_until(lambda: "null" not in stored(client, index, "safety").values(), "scores")
        assert "null" not in stored(client, index, "safety_violence").values()
        versions = client.search(index=index, size=100, version=True)["hits"]["hits"]
        assert {hit["_version"] for hit in versions} == {2}
        assert inferences(tmp_path / "inferences") == {1}


def test_a_sweep_finds_what_lacks_any_category(
    client: Elasticsearch,
    index: str,
    environment: Environment,
    indexer_settings: Settings,
    tmp_path: Path,
) -> None:
    identity = model_identity("open_nsfw")
    with running_worker(environment, tmp_path / "log", fast=True):
        saferank_command(environment, "backfill", index, "--category", "nudity")
        before = sources(client, index)
        sweep(create_app(indexer_settings), indexer_settings, index)
        wait_until(
            lambda: "null" not in stored(client, index, "safety_violence").values(), "scores"
        )
    for id, source in sources(client, index).items():
        assert source["safety"]["images"] == before[id]["safety"]["images"]
        assert source["safety"]["model"] == identity


def test_a_category_that_nobody_named_is_refused(environment: Environment) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "saferank.cli", "backfill", "any", "--category", "gore"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no category 'gore'" in done.stderr
    assert "nudity, violence" in done.stderr
