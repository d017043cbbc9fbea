"""Copying a live index into a new one and moving its alias, with real workers and writers."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AuthorizationException, Elasticsearch, helpers
from workers import running_worker, wait_until
from writer import Writer, picture

from saferank.indexer.app import create_app
from saferank.indexer.jobs import Job, Jobs, JobState, Pace
from saferank.indexer.reindex.flow import (
    Reindex,
    start_copy,
    start_return,
)
from saferank.indexer.resources import model_identity
from saferank.indexer.select import Selection
from saferank.settings import Settings

MAPPINGS: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {
        "image": {"type": "keyword", "index": False, "doc_values": False},
        "title": {"type": "text"},
        "safety": {"properties": {"override": {"type": "keyword"}}},
    },
}


@pytest.fixture
def names(client: Elasticsearch) -> Iterator[tuple[str, str, str]]:
    """An old index, a new one, and an alias."""
    unique = f"test-{uuid.uuid4().hex[:8]}"
    yield f"{unique}-1", f"{unique}-2", f"{unique}-alias"
    for name in (f"{unique}-1", f"{unique}-2"):
        client.indices.delete(index=name, ignore_unavailable=True)


@pytest.fixture
def jobs(client: Elasticsearch, indexer_settings: Settings) -> Jobs:
    return Jobs(client, indexer_settings.indexer.jobs_index)


def fill(client: Elasticsearch, index: str, alias: str, count: int) -> dict[str, dict[str, Any]]:
    client.indices.create(
        index=index,
        settings={"number_of_shards": 2, "number_of_replicas": 0},
        mappings=MAPPINGS,
        aliases={alias: {"filter": {"exists": {"field": "_seq_no"}}}},
    )
    documents = {f"d{n}": {"image": picture(n), "title": f"title {n}"} for n in range(count)}
    helpers.bulk(
        client,
        ({"_index": index, "_id": id, **document} for id, document in documents.items()),
        refresh=True,
    )
    return documents


def copy_job(settings: Settings, index: str, into: str) -> Job:
    return Job(
        index=index,
        field=settings.field,
        model=model_identity(settings.model),
        selection=Selection(),
        pace=Pace(chunk_size=50, slices=2),
        into=into,
    )


def stored(client: Elasticsearch, index: str) -> dict[str, dict[str, Any]]:
    client.indices.refresh(index=index)
    return {
        hit["_id"]: hit["_source"]
        for hit in helpers.scan(client, index=index, preserve_order=False)
    }


def without_score(document: dict[str, Any]) -> dict[str, Any]:
    """The document as the application knows it."""
    safety = document.get("safety", {})
    kept = {name: document[name] for name in document if name != "safety"}
    return kept | ({"safety": {"override": safety["override"]}} if "override" in safety else {})


def test_no_write_is_lost_while_an_index_is_copied_and_replaced_and_on_the_way_back(
    client: Elasticsearch,
    jobs: Jobs,
    names: tuple[str, str, str],
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    old, new, alias = names
    expected = fill(client, old, alias, 300)
    app = create_app(indexer_settings)
    with (
        running_worker(indexer_environment, tmp_path / "worker.log", fast=True),
        Writer(indexer_settings.elasticsearch_url, alias, expected, rate=100, seed=1) as writer,
    ):
        job = start_copy(client, jobs, copy_job(indexer_settings, alias, new), names=[])
        assert job.id == f"{old}.into.{new}"
        done = Reindex(client, app, indexer_settings, jobs, job).run()
        assert done.state is JobState.DONE
        after_move = writer.acknowledged
        wait_until(lambda: writer.acknowledged > after_move + 20, "writes to the new index")
    assert writer.errors == []
    assert list(client.indices.get_alias(name=alias)) == [new]
    assert "filter" in client.indices.get_alias(name=alias)[new]["aliases"][alias]
    copied = stored(client, new)
    assert {id: without_score(document) for id, document in copied.items()} == expected
    assert all("probability" in copied[id]["safety"] for id in expected if id.startswith("d"))
    with pytest.raises(AuthorizationException):  # nobody writes to the old index unseen
        client.index(index=old, document={"title": "unseen"})

    back = start_return(client, jobs, copy_job(indexer_settings, alias, ""))
    with Writer(indexer_settings.elasticsearch_url, alias, expected, rate=100, seed=2) as writer:
        returned = Reindex(client, app, indexer_settings, jobs, back).run()
    assert returned.state is JobState.DONE
    assert writer.errors == []
    assert list(client.indices.get_alias(name=alias)) == [old]
    assert {id: without_score(document) for id, document in stored(client, old).items()} == expected
