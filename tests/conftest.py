"""Real services for the tests, started once per run and only when a test asks for them.

``SAFERANK_TEST_ELASTICSEARCH_URL`` and ``SAFERANK_TEST_BROKER_URL`` name running ones instead.
With ``SAFERANK_ENGINE=opensearch`` the engine is an OpenSearch, and ``SAFERANK_TEST_VERSION`` names
another version of either; ``make test-engines`` runs some of the tests on each.
A service that cannot be started fails the tests that need it; nothing is skipped.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from engines import left_out, start_node, use_engine
from hypothesis import settings

from saferank.local.folders import temporary_folder
from saferank.local.valkey import start_broker

# What one test scored must not spare another the work that it counts.
os.environ.setdefault("SAFERANK_INDEXER__DIGESTS", "0")

# A busy machine is no wrong answer.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")

use_engine()

_INTEGRATION_TESTS = Path(__file__).parent / "integration"
_LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_INTEGRATION_TESTS):
            item.add_marker(pytest.mark.integration)
    reasons = {item: left_out(item.nodeid) for item in items}
    if apart := [item for item, reason in reasons.items() if reason]:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item, reason in reasons.items() if not reason]
        config.stash[_LEFT_OUT] = Counter(reason for reason in reasons.values() if reason)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    counts = config.stash.get(_LEFT_OUT, Counter())
    return [f"left out: {count}, since {reason}" for reason, count in counts.items()]


@pytest.fixture(scope="session")
def elasticsearch_url() -> Iterator[str]:
    """Address of a real node of the engine under test, without security."""
    if url := os.environ.get("SAFERANK_TEST_ELASTICSEARCH_URL"):
        yield url
        return
    with temporary_folder() as folder:
        node = start_node(folder)
        try:
            yield node.url
        finally:
            node.stop()


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """Address of a real Valkey server, as Celery takes it."""
    if url := os.environ.get("SAFERANK_TEST_BROKER_URL"):
        yield url
        return
    with temporary_folder() as folder:
        broker = start_broker(folder / "valkey")
        try:
            yield broker.url
        finally:
            broker.stop()


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as connected:
        yield connected


@pytest.fixture
def index_name(client: Elasticsearch) -> Iterator[str]:
    """A name that no other test uses; the index, if one was made, is deleted after the test."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    client.indices.delete(index=name, ignore_unavailable=True)
