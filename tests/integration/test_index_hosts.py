"""Hosts of images that are silent, slow or away: workers live on, and no other host waits."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brightness import data_uri, png
from elasticsearch import Elasticsearch, helpers
from pictures import PictureServer, running_pictures
from pydantic import ValidationError
from workers import running_worker, sweep, wait_until

from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.records import Job, Jobs, Pace
from saferank.indexer.jobs.selection import Selection
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import model_identity
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


def test_a_backfill_outlives_a_host_that_was_away_and_keeps_its_pauses(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    environment: dict[str, str],
    pictures: PictureServer,
    tmp_path: Path,
) -> None:
    pictures.status[SILENT] = 503
    fill(client, index_name, {f"away{n}": pictures.url(SILENT, n) for n in range(100)})
    helpers.bulk(
        client,
        (
            {"_index": index_name, "_id": f"fast{n}", "image": pictures.url(FAST, n)}
            for n in range(20)
        ),
        refresh=True,
    )
    jobs = Jobs(client, indexer_settings.indexer.jobs_index)
    app = create_app(indexer_settings)
    job = Job(index_name, "safety", model_identity("open_nsfw"), Selection(), Pace(64, 4))
    with running_worker(environment, tmp_path / "log", fast=True):
        back = threading.Timer(20, pictures.status.clear)
        back.start()
        done = Backfill(client, app, indexer_settings, jobs, jobs.acquire(job)).run()
    assert done.complete
    assert set(outcomes(client, index_name).values()) == {"scored"}
    assert len(outcomes(client, index_name)) == 120
    assert pictures.requests[SILENT] < 100 + 30


def test_a_backfill_ends_with_what_is_left_when_a_host_stays_away(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    environment: dict[str, str],
    pictures: PictureServer,
    tmp_path: Path,
) -> None:
    pictures.status[SILENT] = 429
    pictures.retry_after = "3600"
    fill(client, index_name, {f"away{n}": pictures.url(SILENT, n) for n in range(100)})
    indexer = indexer_settings.indexer.model_copy(update={"host_patience": 5.0})
    settings = indexer_settings.model_copy(update={"indexer": indexer})
    jobs = Jobs(client, indexer.jobs_index)
    job = Job(index_name, "safety", model_identity("open_nsfw"), Selection(), Pace(64, 4))
    with running_worker(environment, tmp_path / "log", fast=True):
        done = Backfill(client, create_app(settings), settings, jobs, jobs.acquire(job)).run()
    assert (done.left, done.failures, done.complete) == (100, {"rate_limited": 100}, False)
    assert "images of 100 documents could not be fetched" in done.note
    assert pictures.requests[SILENT] <= 4  # those that were under way at once


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


def test_an_address_that_was_renewed_after_a_refusal_is_taken_up_again(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    environment: dict[str, str],
    pictures: PictureServer,
    tmp_path: Path,
) -> None:
    """As the application does with signed addresses, which its store refuses when they expired."""
    expired, renewed = f"{pictures.url(FAST, 7)}?signed=1", f"{pictures.url(FAST, 7)}?signed=2"
    fill(client, index_name, {"a": expired, "other": data_uri(png(1))})
    pictures.status[FAST] = 403
    app = create_app(indexer_settings)

    def swept() -> bool:
        sweep(app, indexer_settings, index_name)
        return outcomes(client, index_name)["a"] == "scored"

    with running_worker(environment, tmp_path / "log", fast=True):
        queue_documents(index_name, ["a", "other"], app=app, settings=indexer_settings)
        wait_until(lambda: len(outcomes(client, index_name)) == 2, "the refusal")
        assert outcomes(client, index_name) == {"a": "refused", "other": "scored"}
        pictures.status.clear()
        client.update(index=index_name, id="a", doc={"image": renewed})
        wait_until(swept, "the sweep")
    assert client.get(index=index_name, id="other")["_version"] == 2
