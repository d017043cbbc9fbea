"""Elasticsearch does not take a write, or not now: nothing is lost, and no try is endless."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from brightness import Brightness, brightness_pipeline, data_uri, png
from elasticsearch import Elasticsearch
from proxy import renamed_items, running_proxy
from workers import running_worker, wait_until

from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import queue_documents
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.patience import IndexBlocked
from saferank.indexer.storage.store import DocumentStore
from saferank.indexer.worker.app import create_app
from saferank.mappings import SafetyFields, add_to_index
from saferank.settings import Settings

Fill = Callable[..., list[DocumentKey]]
FULL_DISK = "index.blocks.read_only_allow_delete"
MAINTENANCE = "index.blocks.read_only"
REINDEX = "index.blocks.write"


@pytest.fixture
def fill(client: Elasticsearch, index_name: str) -> Fill:
    def documents(count: int, **rest: Any) -> list[DocumentKey]:
        client.indices.create(
            index=index_name,
            mappings={"properties": {"image": {"type": "keyword", "ignore_above": 100}}},
            settings={"number_of_replicas": 0},
        )
        add_to_index(client, index_name)
        for number in range(count):
            document = {"image": data_uri(png(number)), **rest}
            client.index(index=index_name, id=str(number), document=document)
        return [DocumentKey(str(number)) for number in range(count)]

    return documents


def store_of(client: Elasticsearch, patience: float = 20) -> DocumentStore:
    return DocumentStore(client, SafetyFields(), "image", patience=patience)


def block(client: Elasticsearch, index: str, setting: str, value: bool | None = True) -> None:
    client.indices.put_settings(index=index, settings={setting: value})


@pytest.mark.parametrize("setting", [FULL_DISK, MAINTENANCE, REINDEX])
def test_documents_wait_for_a_block_to_be_lifted_and_are_not_scored_meanwhile(
    client: Elasticsearch, index_name: str, fill: Fill, setting: str
) -> None:
    keys = fill(3)
    store, model = store_of(client, patience=1), Brightness()
    try:
        for _ in range(3):
            # Each time: a node that sees room on its disk lifts the first of them by itself.
            block(client, index_name, setting)
            with pytest.raises(IndexBlocked, match="refuse"):
                score_documents(brightness_pipeline(model), store, index_name, keys)
        assert model.frames == 3  # once, not at each try
    finally:
        block(client, index_name, setting, None)
    report = score_documents(brightness_pipeline(), store, index_name, keys)
    assert report.counts["scored"] == 3


def test_a_block_of_a_second_costs_nothing(
    client: Elasticsearch, index_name: str, fill: Fill
) -> None:
    keys = fill(3)
    block(client, index_name, REINDEX)
    lift = threading.Timer(1, block, args=(client, index_name, REINDEX, None))
    lift.start()
    report = score_documents(brightness_pipeline(), store_of(client), index_name, keys)
    lift.join()
    assert report.counts["scored"] == 3


def test_a_score_follows_the_alias_that_moved_while_the_old_index_was_blocked(
    client: Elasticsearch, index_name: str, fill: Fill
) -> None:
    keys = fill(2)
    new, alias = f"{index_name}-new", f"{index_name}-alias"
    client.indices.put_alias(index=index_name, name=alias)
    client.indices.create(index=new)
    add_to_index(client, new)
    try:
        for key in keys:
            source = client.get(index=index_name, id=key.id)["_source"]
            client.index(index=new, id=key.id, document=source)
        block(client, index_name, REINDEX)

        def move() -> None:
            time.sleep(1)
            actions = [
                {"remove": {"index": index_name, "alias": alias}},
                {"add": {"index": new, "alias": alias}},
            ]
            client.indices.update_aliases(actions=actions)

        moving = threading.Thread(target=move)
        moving.start()
        report = score_documents(brightness_pipeline(), store_of(client), alias, keys)
        moving.join()
        assert report.counts["scored"] == 2
        assert client.get(index=new, id="1")["_source"]["safety"]["status"] == "scored"
    finally:
        client.indices.delete(index=new)


def test_items_that_are_turned_away_under_another_name_are_understood(
    elasticsearch_url: str, client: Elasticsearch, index_name: str, fill: Fill
) -> None:
    keys = fill(6)
    with (
        running_proxy(elasticsearch_url, rewrite=renamed_items) as (url, _),
        Elasticsearch(url) as proxied,
    ):
        report = score_documents(brightness_pipeline(), store_of(proxied), index_name, keys)
    assert report.counts["scored"] == 6
    assert client.get(index=index_name, id="5")["_source"]["safety"]["status"] == "scored"


def test_a_bulk_that_a_proxy_refuses_is_halved(
    elasticsearch_url: str, index_name: str, fill: Fill
) -> None:
    keys = fill(16)
    model = Brightness()
    with (
        running_proxy(elasticsearch_url, most_bytes=3000) as (url, refused),
        Elasticsearch(url) as proxied,
    ):
        report = score_documents(brightness_pipeline(model), store_of(proxied), index_name, keys)
    assert refused
    assert (report.counts["scored"], model.frames) == (16, 16)


def test_a_record_that_no_server_takes_is_rejected_and_no_other(
    elasticsearch_url: str, client: Elasticsearch, index_name: str, fill: Fill
) -> None:
    keys = fill(4)
    many = [data_uri(png(level, (9, 9))) for level in range(40)]
    client.index(index=index_name, id="many", document={"image": many})
    keys.append(DocumentKey("many"))
    with (
        running_proxy(elasticsearch_url, most_bytes=3000) as (url, _),
        Elasticsearch(url) as proxied,
    ):
        report = score_documents(brightness_pipeline(), store_of(proxied), index_name, keys)
    assert report.counts["scored"] == 4
    assert [key.id for key in report.rejected] == ["many"]
    assert "413" in report.rejected[DocumentKey("many")]


def test_an_answer_that_nobody_expected_rejects_no_chunk(
    elasticsearch_url: str,
    client: Elasticsearch,
    index_name: str,
    fill: Fill,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    keys = fill(8)
    broken = [True]

    def cut(path: str, body: bytes) -> bytes:
        if "_bulk" not in path or not broken:
            return body
        broken.pop()
        answer = json.loads(body)
        return json.dumps({**answer, "items": answer["items"][1:]}).encode()

    def scored() -> int:
        client.indices.refresh(index=index_name)
        query = {"term": {"safety.status": "scored"}}
        count: int = client.count(index=index_name, query=query)["count"]
        return count

    with running_proxy(elasticsearch_url, rewrite=cut) as (url, _):
        environment = {
            **indexer_environment,
            "SAFERANK_ELASTICSEARCH_URL": url,
            "TEST_INFERENCES": str(tmp_path / "inferences"),
        }
        app = create_app(indexer_settings)
        queue_documents(index_name, keys, app=app, settings=indexer_settings)
        log = tmp_path / "log"
        with running_worker(environment, log, fast=True):
            wait_until(lambda: scored() == 8 and not broken, "all scores")
            # Each was looked at again by itself.
            wait_until(lambda: log.read_text().count("'scored': 1") == 8, "eight reports of one")
    assert "are not scored" not in log.read_text()
