"""Names that lead to several indices, rollover aliases and data streams; unknown routings."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from brightness import Brightness, brightness_pipeline, data_uri, png
from elasticsearch import ApiError, Elasticsearch
from workers import running_worker, wait_until

from saferank.errors import MappingError
from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.records import Job, Jobs, JobState, Pace
from saferank.indexer.jobs.selection import Selection
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import queue_documents
from saferank.indexer.score.report import Report
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.store import DocumentStore
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import model_identity
from saferank.mappings import SafetyFields, add_to_index, component_template, install
from saferank.settings import Settings

Score = Callable[..., Report]


@pytest.fixture
def name(client: Elasticsearch) -> Iterator[str]:
    """The start of the names of this test's indices, all deleted at the end."""
    unique = f"test-{uuid.uuid4().hex[:8]}"
    yield unique
    for index in client.indices.get(index=f"{unique}*", expand_wildcards="all"):
        with suppress(ApiError):  # the local node cannot delete a data stream
            client.indices.delete(index=index)


@pytest.fixture
def score(client: Elasticsearch) -> Score:
    store = DocumentStore(client, SafetyFields(), "image", patience=5)

    def run(index: str, *keys: str | DocumentKey, model: Brightness | None = None) -> Report:
        wanted = [DocumentKey(key) if isinstance(key, str) else key for key in keys]
        return score_documents(brightness_pipeline(model), store, index, wanted)

    return run


def make(client: Elasticsearch, index: str, **rest: Any) -> None:
    client.indices.create(
        index=index,
        settings={"number_of_shards": 3, "number_of_replicas": 0},
        mappings={"properties": {"image": {"type": "keyword", "ignore_above": 100}}, **rest},
    )
    add_to_index(client, index)


def rollover_alias(client: Elasticsearch, name: str) -> str:
    for number in (1, 2):
        make(client, f"{name}-{number}")
    client.indices.update_aliases(
        actions=[
            {"add": {"index": f"{name}-1", "alias": name}},
            {"add": {"index": f"{name}-2", "alias": name, "is_write_index": True}},
        ]
    )
    return name


def status(client: Elasticsearch, index: str, id: str, **rest: Any) -> object:
    return client.get(index=index, id=id, **rest)["_source"].get("safety", {}).get("status")


def test_an_alias_over_several_indices(client: Elasticsearch, name: str, score: Score) -> None:
    alias = rollover_alias(client, name)
    client.index(index=f"{name}-1", id="old", document={"image": data_uri(png(1))})
    client.index(index=alias, id="new", document={"image": data_uri(png(2))})
    report = score(alias, "old", "new", "nix")
    assert (report.counts["scored"], report.missing) == (2, [DocumentKey("nix")])
    assert status(client, f"{name}-1", "old") == status(client, f"{name}-2", "new") == "scored"
    assert not client.exists(index=f"{name}-2", id="old")


def test_one_id_in_two_indices_is_two_documents(
    client: Elasticsearch, name: str, score: Score
) -> None:
    alias = rollover_alias(client, name)
    for number in (1, 2):
        client.index(index=f"{name}-{number}", id="1", document={"image": data_uri(png(number))})
    assert score(alias, "1").counts["scored"] == 2
    probabilities = [
        client.get(index=f"{name}-{number}", id="1")["_source"]["safety"]["probability"]
        for number in (1, 2)
    ]
    assert probabilities[0] != probabilities[1]


@pytest.mark.parametrize("required", [True, False])
def test_a_routing_that_the_caller_does_not_know(
    client: Elasticsearch, name: str, score: Score, required: bool
) -> None:
    make(client, f"{name}-1", _routing={"required": required})
    for routing in "abcdef":
        document = {"image": data_uri(png(ord(routing)))}
        client.index(index=f"{name}-1", id=routing, routing=routing, document=document)
    report = score(f"{name}-1", *"abc", DocumentKey("d", "d"), "nix")
    assert (report.counts["scored"], report.missing) == (4, [DocumentKey("nix")])
    assert status(client, f"{name}-1", "a", routing="a") == "scored"


@pytest.mark.parametrize("index", ["other:images", "{name}-1", "{name}-none"])
def test_what_cannot_be_read_is_refused_at_once(
    client: Elasticsearch, name: str, score: Score, index: str
) -> None:
    make(client, f"{name}-1")
    client.indices.close(index=f"{name}-1")
    reasons = {"other:images": "another cluster", "{name}-1": "is closed"}
    model = Brightness()
    with pytest.raises(MappingError, match=reasons.get(index, "there is no index")):
        score(index.format(name=name), "1", model=model)


def test_uploads_and_a_backfill_of_a_data_stream_that_rolls_over(
    client: Elasticsearch,
    name: str,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """The index template is composed of ours, as ``docs/how-to/integrate.md`` says."""
    install(client, name=f"{name}-safety")
    own = {"properties": {"image": {"type": "keyword", "ignore_above": 100}}}
    client.indices.put_index_template(
        name=name,
        index_patterns=[f"{name}-stream"],
        data_stream={},
        composed_of=[f"{name}-safety"],
        template={"mappings": own, "settings": {"number_of_replicas": 0}},
    )
    stream, app = f"{name}-stream", create_app(indexer_settings)

    def add(number: int) -> None:
        document = {"@timestamp": "2026-01-01", "image": data_uri(png(number))}
        client.create(index=stream, id=str(number), document=document)

    def scored() -> int:
        client.indices.refresh(index=stream)
        query = {"term": {"safety.status": "scored"}}
        count: int = client.count(index=stream, query=query)["count"]
        return count

    for number in range(20):
        add(number)
    with running_worker(indexer_environment, tmp_path / "log", fast=True):
        queue_documents(stream, ["0", "1"], app=app, settings=indexer_settings)
        wait_until(lambda: scored() == 2, "the uploads before the rollover")
        client.indices.rollover(alias=stream)
        for number in range(20, 40):
            add(number)
        queue_documents(stream, ["2", "20"], app=app, settings=indexer_settings)
        wait_until(lambda: scored() == 4, "the uploads after the rollover")
        jobs = Jobs(client, indexer_settings.indexer.jobs_index)
        job = Job(stream, "safety", model_identity("open_nsfw"), Selection(), Pace(10, 4))
        done = Backfill(client, app, indexer_settings, jobs, jobs.acquire(job)).run()
    assert (done.state, done.counts["scored"], scored()) == (JobState.DONE, 36, 40)
    fields = component_template()["template"]["mappings"]["properties"]["safety"]["properties"]
    for mapping in client.indices.get_mapping(index=stream).values():
        assert mapping["mappings"]["properties"]["safety"]["properties"].keys() == fields.keys()
