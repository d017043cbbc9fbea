"""Hosts of images that are silent, slow or away: workers live on, and no other host waits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brightness import data_uri, png
from elasticsearch import Elasticsearch, helpers
from pictures import PictureServer, running_pictures
from pydantic import ValidationError
from workers import running_worker, wait_until

from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.mappings import add_to_index
from saferank.settings import DecodeSettings, FetchSettings, IndexerSettings, Settings

SILENT, FAST = "127.0.0.1", "localhost"


@pytest.fixture
def pictures() -> Iterator[PictureServer]:
    with running_pictures() as server:
        yield server


@pytest.fixture
def environment(indexer_environment: dict[str, str]) -> dict[str, str]:
    return {
        **indexer_environment,
        "SAFERANK_FETCH__ALLOW_PRIVATE_ADDRESSES": "true",
        "SAFERANK_FETCH__TIMEOUT": "2",
        "SAFERANK_DECODE__TIMEOUT": "2",
        "SAFERANK_INDEXER__TIME_LIMIT": "20",
        "SAFERANK_INDEXER__CHUNK_SIZE": "64",
        "SAFERANK_INDEXER__RETRY_DELAY": "1",
        "SAFERANK_INDEXER__ATTEMPTS": "2",
    }


def fill(client: Elasticsearch, index: str, documents: dict[str, Any]) -> None:
    client.indices.create(
        index=index,
        settings={"number_of_replicas": 0},
        mappings={"properties": {"image": {"type": "keyword", "index": False}}},
    )
    add_to_index(client, index)
    helpers.bulk(
        client,
        ({"_index": index, "_id": id, "image": image} for id, image in documents.items()),
        refresh=True,
    )


def outcomes(client: Elasticsearch, index: str) -> dict[str, str]:
    client.indices.refresh(index=index)
    hits = client.search(index=index, size=500)["hits"]["hits"]
    safety = {hit["_id"]: hit["_source"].get("safety", {}) for hit in hits}
    return {id: one["error"] or one["status"] for id, one in safety.items() if one}


def test_an_uploader_with_many_silent_images_stops_no_worker(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    environment: dict[str, str],
    pictures: PictureServer,
    tmp_path: Path,
) -> None:
    """One after another, these would take eight times as long as a task may."""
    pictures.silent.add(SILENT)
    documents: dict[str, Any] = {
        "many": [pictures.url(SILENT, n) for n in range(300)],
        **{f"one{n}": pictures.url(SILENT, 1000 + n) for n in range(20)},
        **{f"data{n}": data_uri(png(n)) for n in range(20)},
        **{f"fast{n}": pictures.url(FAST, n) for n in range(20)},
    }
    fill(client, index_name, documents)
    app = create_app(indexer_settings)
    log = tmp_path / "log"
    with running_worker(environment, log, fast=True):
        queue_documents(index_name, documents, app=app, settings=indexer_settings)
        wait_until(lambda: len(outcomes(client, index_name)) == 61, "an outcome for each", 90)
    found = outcomes(client, index_name)
    assert {found[f"data{n}"] for n in range(20)} == {"scored"}
    assert {found[f"fast{n}"] for n in range(20)} == {"scored"}
    assert {found[id] for id in found if id.startswith(("one", "many"))} == {"timeout"}
    assert pictures.requests[SILENT] < 60
    assert "time limit" not in log.read_text()


@pytest.mark.parametrize(
    ("fetch", "decode", "limit", "refused"),
    [(20, 20, 300, False), (2, 20, 30, False), (20, 20, 44, True), (300, 1, 300, True)],
)
def test_limits_that_contradict_each_other_are_refused(
    fetch: float, decode: float, limit: int, refused: bool
) -> None:
    values = {
        "fetch": FetchSettings(timeout=fetch),
        "decode": DecodeSettings(timeout=decode),
        "indexer": IndexerSettings(time_limit=limit),
    }
    if refused:
        with pytest.raises(ValidationError, match="is too short for one image"):
            Settings(**values)
    else:
        assert 0 < Settings(**values).seconds_to_start < limit
