"""What an operator finds in a worker's log, and what nobody may find there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from brightness import data_uri, png
from elasticsearch import Elasticsearch
from workers import running_worker, wait_until

from saferank.indexer.brokers import queue_length
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.mappings import add_to_index
from saferank.settings import Settings

PLANTED = "planted-secret"


@pytest.fixture
def secrets(
    indexer_environment: dict[str, str], elasticsearch_url: str, broker_url: str
) -> Iterator[dict[str, str]]:
    """Settings with a secret in each place that may have one."""
    with redis.Redis.from_url(broker_url) as admin:
        admin.execute_command(
            *("ACL", "SETUSER", "operator", "on", f">{PLANTED}", "~*", "&*", "+@all")
        )
        yield {
            **indexer_environment,
            "SAFERANK_ELASTICSEARCH_URL": elasticsearch_url.replace(
                "://", f"://operator:{PLANTED}@"
            ),
            "SAFERANK_BROKER_URL": broker_url.replace("://", f"://operator:{PLANTED}@"),
            "SAFERANK_FETCH__PROXY": f"http://operator:{PLANTED}@127.0.0.1:9",
        }
        admin.execute_command("ACL", "DELUSER", "operator")


def test_a_failed_image_is_one_line_with_its_cause_and_the_setting(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    secrets: dict[str, str],
    tmp_path: Path,
) -> None:
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    images = [data_uri(png(1)), "/etc/hostname", "http://127.0.0.1:9/a.png", 3]
    client.index(index=index_name, id="a", document={"image": images})
    settings = indexer_settings
    queue_documents(index_name, "a", app=create_app(settings), settings=settings)

    def stored() -> list[dict[str, object]]:
        safety = client.get(index=index_name, id="a")["_source"].get("safety", {})
        return list(safety.get("images", ()))

    log = tmp_path / "worker.log"
    with running_worker(
        {**secrets, "SAFERANK_INDEXER__ATTEMPTS": "1"}, log, "--log-level", "debug", fast=False
    ):
        wait_until(lambda: bool(stored()), "the score")
    assert [image.get("cause", "")[:28] for image in stored()] == [
        "",
        "'/etc/hostname' is not an ht",
        stored()[2]["cause"][:28],
        "a reference must be text and",
    ]
    text = log.read_text()
    line = next(line for line in text.splitlines() if "document a: unsupported_ref" in line)
    assert "/etc/hostname" in line
    assert "fetch.file_roots" in line
    assert text.count("document a: ") == 3
    assert text.count("scored a chunk") == 1
    assert PLANTED not in text


def test_no_secret_in_the_log_of_a_worker_whose_model_is_missing(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    secrets: dict[str, str],
    tmp_path: Path,
) -> None:
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    client.index(index=index_name, id="a", document={"image": data_uri(png(1))})
    settings = indexer_settings
    queue_documents(index_name, "a", app=create_app(settings), settings=settings)
    secrets["SAFERANK_ELASTICSEARCH_URL"] = settings.elasticsearch_url
    secrets["SAFERANK_ELASTICSEARCH_API_KEY"] = PLANTED
    secrets["SAFERANK_MODEL"] = str(tmp_path / "model.toml")
    log = tmp_path / "worker.log"
    with running_worker(secrets, log):
        wait_until(lambda: "model.toml" in log.read_text(), "what is missing")
    text = log.read_text()
    assert PLANTED not in text
    assert len(text.splitlines()) < 100
    # It has taken nothing: the document waits for a worker that can score it.
    assert queue_length(create_app(settings), settings.indexer.fresh_queue) == 1


def test_what_keeps_a_worker_from_starting_is_a_line_of_its_log(
    indexer_environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    environment = {
        **indexer_environment,
        "SAFERANK_LOG_FORMAT": "json",
        "SAFERANK_MODEL": str(tmp_path / "model.toml"),
    }
    with running_worker(environment, log) as worker:
        assert worker.process.wait(60) == 1
    (line,) = map(json.loads, log.read_text().splitlines())
    assert line["level"] == "critical"
    assert "model.toml" in line["message"]
