"""Real workers on a real broker, scoring with the real model."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from brightness import data_uri, png
from elasticsearch import Elasticsearch, helpers
from workers import running_worker, wait_until

from saferank.errors import ServiceUnavailable
from saferank.indexer.jobs.ledger import ChunkOfJob, Ledger
from saferank.indexer.jobs.records import Job, Jobs, Pace
from saferank.indexer.jobs.recovery import held_tasks
from saferank.indexer.jobs.selection import Selection
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import SCORE_TASK, queue_documents
from saferank.indexer.worker.app import create_app
from saferank.local.folders import temporary_folder
from saferank.local.valkey import start_broker
from saferank.mappings import SafetyFields, add_to_index
from saferank.mappings.float32 import as_probability
from saferank.settings import Settings

FIELDS = SafetyFields()


def fill(client: Elasticsearch, index: str, count: int) -> list[DocumentKey]:
    client.indices.create(
        index=index,
        settings={"number_of_shards": 1, "number_of_replicas": 0},
        mappings={
            "properties": {"image": {"type": "keyword", "index": False, "doc_values": False}}
        },
    )
    add_to_index(client, index)
    documents = (
        {"_index": index, "_id": str(n), "image": data_uri(png(n, (64 + n // 256, 64)))}
        for n in range(count)
    )
    helpers.bulk(client, documents, refresh=True)
    return [DocumentKey(str(n)) for n in range(count)]


def scored(client: Elasticsearch, index: str) -> int:
    client.indices.refresh(index=index)
    count: int = client.count(index=index, query={"term": {FIELDS.status: "scored"}})["count"]
    return count


def test_a_killed_worker_loses_nothing_and_nothing_is_stored_twice(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    keys = fill(client, index_name, 200)
    queue_documents(index_name, keys, app=create_app(indexer_settings), settings=indexer_settings)
    with running_worker(indexer_environment, tmp_path / "first.log") as first:
        wait_until(lambda: scored(client, index_name) >= 20, "the first scores")
        first.kill()
    before = scored(client, index_name)
    assert before < 200
    with running_worker(indexer_environment, tmp_path / "second.log"):
        wait_until(lambda: scored(client, index_name) == 200, "all scores")
    hits = client.search(index=index_name, size=200, version=True)["hits"]["hits"]
    assert {hit["_version"] for hit in hits} == {2}  # created, scored


def test_a_stopped_broker_is_said_within_seconds(indexer_settings: Settings) -> None:
    stopped = indexer_settings.model_copy(update={"broker_url": "redis://127.0.0.1:9/0"})
    with pytest.raises(ServiceUnavailable, match="cannot be reached"):
        queue_documents("any", [DocumentKey("1")], app=create_app(stopped))


def test_a_worker_that_cannot_go_on_exits_with_one(
    indexer_environment: dict[str, str], tmp_path: Path
) -> None:
    with temporary_folder() as folder:
        broker = start_broker(folder / "valkey")
        try:
            with redis.Redis.from_url(broker.url) as admin:
                admin.config_set("maxmemory-policy", "noeviction")
                admin.config_set("maxmemory", "1")
            environment = {**indexer_environment, "SAFERANK_BROKER_URL": broker.url}
            log = tmp_path / "worker.log"
            with running_worker(environment, log) as worker:
                assert worker.process.wait(60) == 1
        finally:
            broker.stop()
    assert "Unrecoverable error" in log.read_text()
    assert len(log.read_text().splitlines()) < 100


def test_a_task_that_a_full_broker_does_not_take_back_is_not_lost(
    indexer_settings: Settings, indexer_environment: dict[str, str], tmp_path: Path
) -> None:
    """The cluster goes away while the task is at work, and the broker is full then."""
    log = tmp_path / "worker.log"
    with temporary_folder() as folder, socket.create_server(("127.0.0.1", 0)) as cluster:
        broker = start_broker(folder / "valkey")
        settings = indexer_settings.model_copy(update={"broker_url": broker.url})
        environment = {
            **indexer_environment,
            "SAFERANK_BROKER_URL": broker.url,
            "SAFERANK_ELASTICSEARCH_URL": f"http://127.0.0.1:{cluster.getsockname()[1]}",
        }
        try:
            with redis.Redis.from_url(broker.url) as admin:
                queue_documents("any", "1", app=create_app(settings), settings=settings)
                with running_worker(environment, log, fast=True):
                    cluster.settimeout(60)
                    asked, _ = cluster.accept()
                    admin.config_set("maxmemory", "1")
                    asked.close()
                    cluster.close()
                    wait_until(lambda: "goes back to the broker" in log.read_text(), "the reject")
                admin.config_set("maxmemory", "0")
                left = admin.llen(settings.indexer.fresh_queue) + admin.hlen("unacked")
        finally:
            broker.stop()
    assert left == 1


def test_asking_the_workers_leaves_no_reply_for_children_to_wait_for(
    indexer_settings: Settings,
) -> None:
    """A child closes the connections that it inherits, and waits for a reply in the making."""
    app = create_app(indexer_settings)
    assert held_tasks(app).tasks == ()
    pooled = [one for one in app.pool._resource.queue if getattr(one, "connected", False)]
    channels = [channel for one in pooled for channel in one.connection.channels]
    assert channels
    assert not [channel for channel in channels if channel._in_poll]
    assert not app.pool._dirty


def test_a_worker_with_another_image_field_leaves_the_documents_alone(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """It would find no image, and store that in the place of good scores."""
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    good = {"status": "scored", "probability": 0.5, "model": "m"}
    document = {"media": {"url": data_uri(png(51))}, "safety": good}
    client.index(index=index_name, id="a", document=document, refresh=True)
    sender = indexer_settings.model_copy(update={"image_field": "media.url"})
    queue_documents(index_name, "a", app=create_app(sender), settings=sender)
    log = tmp_path / "wrong.log"
    with running_worker(indexer_environment, log, fast=True):
        wait_until(lambda: "image_field 'media.url' and not 'image'" in log.read_text(), "the log")
        job = {**indexer_environment, "SAFERANK_IMAGE_FIELD": "media.url", "COLUMNS": "500"}
        command = [sys.executable, "-m", "saferank.cli", "backfill", index_name, "--only", "all"]
        done = subprocess.run(
            command, env={**os.environ, **job}, text=True, capture_output=True, check=False
        )
    assert done.returncode == 1
    assert "the job wants image_field 'media.url' and not 'image'" in done.stdout
    assert client.get(index=index_name, id="a")["_source"] == document
    right = {**indexer_environment, "SAFERANK_IMAGE_FIELD": "media.url"}
    with running_worker(right, tmp_path / "right.log", fast=True):
        wait_until(lambda: client.get(index=index_name, id="a")["_version"] == 2, "the score")
    safety = client.get(index=index_name, id="a")["_source"]["safety"]
    assert (safety["status"], safety["probability"]) == ("scored", as_probability(0.2))


@pytest.mark.parametrize(
    "newer",
    [
        {"categories": ["violence"]},
        {"job": {"job": "j", "since": "2026-01-01", "chunk": "c", "field": "safety", "model": "m"}},
    ],
)
def test_a_message_of_a_newer_version_waits_for_a_worker_that_understands_it(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
    newer: dict[str, Any],
) -> None:
    fill(client, index_name, 1)
    app = create_app(indexer_settings)
    if "job" in newer:
        chunk = ChunkOfJob(**newer["job"])
        jobs = Jobs(client, indexer_settings.indexer.jobs_index)
        pace, selection = Pace(10, 1), Selection()
        record = Job(index=index_name, field="safety", model="m", selection=selection, pace=pace)
        client.index(index=jobs.index, id=chunk.job, document=record.to_document())
        Ledger(client, jobs.index).open([(chunk, 1)])
        newer = {"job": {**newer["job"], "categories": "violence"}}
    queue = indexer_settings.indexer.fresh_queue
    app.send_task(SCORE_TASK, args=(index_name, ["0"]), kwargs=newer, queue=queue)
    log = tmp_path / "worker.log"
    with running_worker(indexer_environment, log, fast=True):
        wait_until(lambda: "the message says categories" in log.read_text(), "the log")
    assert scored(client, index_name) == 0
    with app.connection_for_read() as connection:
        waiting = connection.SimpleQueue(queue).get(timeout=30)
        kwargs = waiting.payload[1]
        waiting.ack()
    assert {name: kwargs[name] for name in newer} == newer


def test_a_field_that_no_document_can_have_is_said(
    elasticsearch_url: str, client: Elasticsearch, index_name: str
) -> None:
    client.indices.create(index=index_name, mappings={"properties": {"media": {"type": "keyword"}}})
    add_to_index(client, index_name)
    environment = {**os.environ, "SAFERANK_ELASTICSEARCH_URL": elasticsearch_url}
    command = [sys.executable, "-m", "saferank.cli", "mapping", "check", index_name]

    def warnings() -> str:
        done = subprocess.run(command, env=environment, text=True, capture_output=True, check=True)
        return done.stderr

    assert warnings() == ""  # without any document
    client.index(index=index_name, document={"media": "m"}, refresh=True)
    assert f"the mapping of index '{index_name}' has no field 'image'" in warnings()
    client.index(index=index_name, document={"image": "i"}, refresh=True)
    assert warnings() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, Celery sees the peak alone")
def test_one_large_picture_is_not_the_end_of_the_child_that_opened_it(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    client.indices.create(index=index_name, mappings={"properties": {"image": {"enabled": False}}})
    add_to_index(client, index_name)
    app, log = create_app(indexer_settings), tmp_path / "log"
    (tmp_path / "large.png").write_bytes(png(51, (7000, 7000)))
    environment = {
        **indexer_environment,
        "SAFERANK_FETCH__FILE_ROOTS": str(tmp_path),
        "SAFERANK_INDEXER__CHILD_MEMORY_MB": "300",
    }
    with running_worker(environment, log, fast=True) as worker:
        wait_until(lambda: "ready" in log.read_text(), "the worker")
        before = [child.pid for child in worker.children()]
        for id, image in (("large", str(tmp_path / "large.png")), ("next", data_uri(png(51)))):
            client.index(index=index_name, id=id, document={"image": image}, refresh=True)
            queue_documents(index_name, id, app=app, settings=indexer_settings)
        wait_until(lambda: scored(client, index_name) == 2, "the scores")
        assert [child.pid for child in worker.children()] == before
