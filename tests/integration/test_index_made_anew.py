"""An index that is deleted, or deleted and made again under its name, while it is being scored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from brightness import Brightness, brightness_pipeline, data_uri, png
from elasticsearch import Elasticsearch
from proxy import running_proxy
from workers import running_worker, wait_until

from saferank.errors import MappingError
from saferank.indexer.decode import Decoded, decode
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import queue_documents
from saferank.indexer.score.pipeline import Pipeline
from saferank.indexer.score.report import Report
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.store import DocumentStore
from saferank.indexer.worker.app import create_app
from saferank.mappings import SafetyFields, add_to_index
from saferank.mappings.float32 import as_probability
from saferank.settings import DecodeSettings, Settings

KEY = DocumentKey("1")


def make(client: Elasticsearch, index: str, level: int, *, ready: bool) -> None:
    """An index with one document, whose first write has the same number in each such index."""
    client.indices.delete(index=index, ignore_unavailable=True)
    client.indices.create(
        index=index, mappings={"properties": {"image": {"type": "keyword", "ignore_above": 100}}}
    )
    if ready:
        add_to_index(client, index)
    client.index(index=index, id="1", document={"image": data_uri(png(level))})


def interrupted(action: Callable[[], None]) -> Pipeline:
    """A pipeline during whose first decoding something happens to the index."""
    left = [action]

    def decode_late(data: bytes) -> Decoded:
        if left:
            left.pop()()
        return decode(data, DecodeSettings())

    return brightness_pipeline(Brightness(), decoder=decode_late)


def score(client: Elasticsearch, index: str, action: Callable[[], None]) -> Report:
    store = DocumentStore(client, SafetyFields(), "image", patience=5)
    return score_documents(interrupted(action), store, index, [KEY])


def properties(client: Elasticsearch, index: str) -> dict[str, Any]:
    mapping: dict[str, Any] = client.indices.get_mapping(index=index)[index]["mappings"]
    return mapping["properties"]


def test_the_new_index_gets_no_score_of_another_ones_document(
    client: Elasticsearch, index_name: str
) -> None:
    make(client, index_name, 51, ready=True)
    report = score(client, index_name, lambda: make(client, index_name, 204, ready=True))
    assert (report.counts["scored"], report.counts["conflicts"]) == (1, 1)
    stored = client.get(index=index_name, id="1")["_source"]["safety"]["probability"]
    assert stored == as_probability(204 / 255)


def test_the_new_index_gets_no_guessed_mapping(client: Elasticsearch, index_name: str) -> None:
    make(client, index_name, 51, ready=True)
    report = score(client, index_name, lambda: make(client, index_name, 51, ready=False))
    assert "run 'saferank mapping install" in report.rejected[KEY]
    assert "safety" not in properties(client, index_name)
    add_to_index(client, index_name)  # still possible


def test_an_index_made_anew_between_two_chunks_gets_the_scores_of_its_own_documents(
    client: Elasticsearch, index_name: str
) -> None:
    store = DocumentStore(client, SafetyFields(), "image", patience=5)
    conflicts = []
    for level in (51, 204):
        make(client, index_name, level, ready=True)
        report = score_documents(brightness_pipeline(), store, index_name, [KEY])
        conflicts.append(report.counts["conflicts"])
        stored = client.get(index=index_name, id="1")["_source"]["safety"]["probability"]
        assert stored == as_probability(level / 255)
    assert conflicts == [0, 1]  # what was read of the new index passed for the old one's


def test_a_chunk_of_an_index_that_is_known_takes_three_requests(
    elasticsearch_url: str, client: Elasticsearch, index_name: str
) -> None:
    asked: list[str] = []

    def note(path: str, body: bytes) -> bytes:
        asked.append(path.partition("?")[0])
        return body

    make(client, index_name, 51, ready=True)
    with (
        running_proxy(elasticsearch_url, rewrite=note) as (url, _),
        Elasticsearch(url) as behind,
    ):
        store = DocumentStore(behind, SafetyFields(), "image", patience=5)
        score_documents(brightness_pipeline(), store, index_name, [KEY])
        client.index(index=index_name, id="1", document={"image": data_uri(png(52))})
        asked.clear()
        score_documents(brightness_pipeline(), store, index_name, [KEY])
    # The last look comes right before the write, which must not go to another index of that name.
    assert asked == ["/_mget", f"/{index_name}/_settings/index.uuid", "/_bulk"]


def test_an_index_that_was_deleted_is_not_made_by_a_score(
    client: Elasticsearch, index_name: str
) -> None:
    make(client, index_name, 51, ready=True)
    with pytest.raises(MappingError, match="there is no index"):
        score(client, index_name, lambda: client.indices.delete(index=index_name) and None)
    assert not client.indices.exists(index=index_name)


def test_an_index_that_a_write_made_all_the_same_is_named(
    elasticsearch_url: str,
    client: Elasticsearch,
    index_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was deleted after the last look, and Elasticsearch makes what a bulk writes to."""
    armed: list[bool] = []

    def delete_after_the_look(path: str, body: bytes) -> bytes:
        if armed and "index.uuid" in path:
            armed.clear()
            client.indices.delete(index=index_name)
        return body

    make(client, index_name, 51, ready=True)
    with (
        running_proxy(elasticsearch_url, rewrite=delete_after_the_look) as (url, _),
        Elasticsearch(url) as behind,
    ):
        report = score(behind, index_name, lambda: armed.append(True))
    assert report.missing == [KEY]
    assert f"index '{index_name}' was deleted while its documents were scored" in caplog.text
    assert client.indices.exists(index=index_name)  # else the message is not needed any more
    assert "mappings" not in client.indices.get(index=index_name, filter_path="*.mappings.*")


def test_a_worker_that_knew_the_old_index_looks_at_the_new_one(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    make(client, index_name, 51, ready=True)
    app, log = create_app(indexer_settings), tmp_path / "log"

    def version() -> int:
        number: int = client.get(index=index_name, id="1")["_version"]
        return number

    with running_worker(indexer_environment, log, fast=True):
        queue_documents(index_name, "1", app=app, settings=indexer_settings)
        wait_until(lambda: version() == 2, "the score")
        make(client, index_name, 51, ready=False)
        queue_documents(index_name, "1", app=app, settings=indexer_settings)
        wait_until(lambda: "is not ready for safety scores" in log.read_text(), "the refusal")
    assert version() == 1
    assert "safety" not in properties(client, index_name)


def test_one_index_of_an_alias_that_is_not_ready_does_not_keep_the_others_from_their_scores(
    client: Elasticsearch, index_name: str
) -> None:
    alias, bad = f"{index_name}-alias", f"{index_name}-bad"
    try:
        make(client, index_name, 51, ready=True)
        client.indices.create(index=bad, mappings={"dynamic": True})
        client.index(index=bad, id="2", document={"image": data_uri(png(5))})
        for name in (index_name, bad):
            client.indices.put_alias(index=name, name=alias)
        store = DocumentStore(client, SafetyFields(), "image", patience=5)
        keys = [KEY, DocumentKey("2")]
        report = score_documents(brightness_pipeline(), store, alias, keys)
        assert report.counts["scored"] == 1
        assert f"index '{bad}' is not ready" in report.rejected[DocumentKey("2")]
        assert "safety" not in properties(client, bad)
    finally:
        client.indices.delete(index=bad, ignore_unavailable=True)
