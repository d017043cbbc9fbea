"""Settings that keep each test's queues and records to itself, and the same for its workers."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from saferank.settings import IndexerSettings, Settings, get_settings


@pytest.fixture
def indexer_settings(elasticsearch_url: str, broker_url: str) -> Settings:
    unique = uuid.uuid4().hex[:8]
    return Settings(
        elasticsearch_url=elasticsearch_url,
        broker_url=broker_url,
        indexer=IndexerSettings(
            chunk_size=10,
            fresh_queue=f"fresh-{unique}",
            backfill_queue=f"backfill-{unique}",
            jobs_index=f"test-jobs-{unique}",
        ),
    )


@pytest.fixture
def indexer_environment(
    indexer_settings: Settings, client: Elasticsearch
) -> Iterator[dict[str, str]]:
    settings = indexer_settings
    indexer = settings.indexer
    yield {
        "SAFERANK_ELASTICSEARCH_URL": settings.elasticsearch_url,
        "SAFERANK_BROKER_URL": settings.broker_url,
        "SAFERANK_INDEXER__CHUNK_SIZE": str(indexer.chunk_size),
        "SAFERANK_INDEXER__FRESH_QUEUE": indexer.fresh_queue,
        "SAFERANK_INDEXER__BACKFILL_QUEUE": indexer.backfill_queue,
        "SAFERANK_INDEXER__JOBS_INDEX": indexer.jobs_index,
    }
    client.indices.delete(index=indexer.jobs_index, ignore_unavailable=True)


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example applications keep pictures."""
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def photo_settings(
    elasticsearch_url: str, broker_url: str, photo_folder: Path
) -> Iterator[Settings]:
    """Settings that the example applications read from their environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
        patch.setenv("SAFERANK_BROKER_URL", broker_url)
        patch.setenv("SAFERANK_INDEXER__FRESH_QUEUE", f"fresh-{uuid.uuid4().hex[:8]}")
        patch.setenv("PHOTOS", str(photo_folder))
        get_settings.cache_clear()
        yield get_settings()
    get_settings.cache_clear()
