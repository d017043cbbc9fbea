"""Commands that end with documents that have no score say so by their exit code."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brightness import data_uri, png
from elasticsearch import Elasticsearch
from workers import running_worker

from saferank.indexer.jobs.records import Jobs, JobState
from saferank.mappings import SafetyFields, add_to_index
from saferank.settings import Settings

Run = Callable[..., tuple[int, str]]
# Storing a score would replace the list, so this document is rejected, whoever tries.
REJECTED = {"media": [{"url": data_uri(png(1))}, {"url": data_uri(png(2))}]}
GOOD = {"media": {"url": data_uri(png(3))}}


@pytest.fixture
def index(client: Elasticsearch) -> Iterator[str]:
    """An index behind an alias, with a document that can be scored and one that cannot."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    client.indices.create(
        index=f"{name}-1",
        settings={"number_of_replicas": 0},
        mappings={"properties": {"media": {"properties": {"url": {"type": "keyword"}}}}},
        aliases={name: {}},
    )
    add_to_index(client, name, SafetyFields("media.safety"))
    for id, document in (("bad", REJECTED), ("good", GOOD)):
        client.index(index=name, id=id, document=document, refresh=True)
    yield name
    for number in (1, 2):
        client.indices.delete(index=f"{name}-{number}", ignore_unavailable=True)


@pytest.fixture
def run(indexer_environment: dict[str, str], tmp_path: Path) -> Iterator[Run]:
    environment: dict[str, str] = {
        **indexer_environment,
        "SAFERANK_FIELD": "media.safety",
        "SAFERANK_IMAGE_FIELD": "media.url",
        "COLUMNS": "500",
    }

    def saferank(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "saferank.cli", *arguments]
        done = subprocess.run(
            command, env={**os.environ, **environment}, text=True, capture_output=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    with running_worker(environment, tmp_path / "log", fast=True):
        yield saferank


def status(client: Elasticsearch, index: str, id: str) -> Any:
    media = client.get(index=index, id=id)["_source"]["media"]
    return media.get("safety", {}).get("status") if isinstance(media, dict) else None


def test_a_rejected_document_makes_a_backfill_exit_with_one(
    client: Elasticsearch, index: str, run: Run
) -> None:
    code, output = run("backfill", index)
    assert (code, status(client, index, "good")) == (1, "scored")
    assert "bad: list_in_path" in output
    client.delete(index=index, id="bad", refresh=True)
    assert run("backfill", index)[0] == 0


def test_a_rejected_document_makes_a_reindex_exit_with_one(
    client: Elasticsearch, index: str, run: Run, indexer_settings: Settings
) -> None:
    code, output = run("reindex", index, "--into", f"{index}-2")
    assert (code, status(client, f"{index}-2", "good")) == (1, "scored")
    assert "1 documents" in output
    # So does one that another command brings to its end.
    jobs = Jobs(client, indexer_settings.indexer.jobs_index)
    (reindex,) = [job for job in jobs.all() if job.into is not None]
    jobs.beat(reindex, state=JobState.RUNNING)
    assert run("jobs", "resume", reindex.id)[0] == 1
