"""A broker behind Redis Sentinel, as Valkey has it, too."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from brightness import data_uri, png
from elasticsearch import Elasticsearch
from workers import running_worker, wait_until

from saferank.indexer.brokers import check_broker, queue_length
from saferank.indexer.presence import present_workers
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.local.folders import temporary_folder
from saferank.local.processes import Service, base_environment, free_port
from saferank.local.valkey import server_program, start_broker
from saferank.mappings import add_to_index
from saferank.settings import Settings


def start_sentinel(folder: Path, master: str) -> Service:
    """Start a sentinel that watches one server under the name ``main``."""
    port, watched = free_port(), urlsplit(master).port
    file = folder / "sentinel.conf"
    lines = (
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor main 127.0.0.1 {watched} 1",
    )
    file.write_text("\n".join(lines) + "\n")

    def url() -> str | None:
        try:
            with redis.Redis(port=port, socket_timeout=2) as client:
                client.ping()
        except redis.RedisError:
            return None
        return f"sentinel://127.0.0.1:{port}"

    return Service.start(
        "Sentinel",
        [server_program(), file, "--sentinel"],
        folder=folder,
        environment=base_environment(),
        find_url=url,
        timeout=30,
    )


@pytest.fixture
def sentinel_url() -> Iterator[str]:
    with temporary_folder() as folder:
        broker = start_broker(folder / "valkey")
        try:
            sentinel = start_sentinel(folder, broker.url)
            try:
                yield sentinel.url
            finally:
                sentinel.stop()
        finally:
            broker.stop()


def test_documents_are_queued_and_scored_through_a_sentinel(
    client: Elasticsearch,
    index_name: str,
    sentinel_url: str,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    client.index(index=index_name, id="1", document={"image": data_uri(png(51))})
    broker = {"broker_url": sentinel_url, "broker_options": {"master_name": "main"}}
    settings = indexer_settings.model_copy(update=broker)
    app = create_app(settings)
    check_broker(app)
    queue_documents(index_name, "1", app=app, settings=settings)
    assert queue_length(app, settings.indexer.fresh_queue) == 1
    environment = {
        **indexer_environment,
        "SAFERANK_BROKER_URL": sentinel_url,
        "SAFERANK_BROKER_OPTIONS": '{"master_name": "main"}',
    }
    with running_worker(environment, tmp_path / "log", fast=True):
        wait_until(lambda: client.get(index=index_name, id="1")["_version"] == 2, "the score")
        wait_until(lambda: len(present_workers(app)) == 1, "its beat")
