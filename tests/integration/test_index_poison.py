"""When an image counts as one that ended its workers, and when it does not."""

import pytest
from elasticsearch import Elasticsearch

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.documents import DocumentKey
from saferank.indexer.poison import alone_guard
from saferank.settings import Settings

KEY, OTHER = DocumentKey("1"), DocumentKey("2")
_LOOKING: list[object] = []


@pytest.fixture
def notes(indexer_settings: Settings, indexer_environment: dict[str, str]) -> str:
    return indexer_settings.indexer.jobs_index


def ended(client: Elasticsearch, notes: str, key: DocumentKey, message: float) -> None:
    """A process that ends while it looks at the image: its note stays."""
    looking = alone_guard(client, notes, "i", key, message)("digest")
    looking.__enter__()
    _LOOKING.append(looking)  # collected, it would take its note back


def test_a_process_that_lives_on_leaves_nothing(client: Elasticsearch, notes: str) -> None:
    guard = alone_guard(client, notes, "i", KEY, 1.0)
    for _ in range(3):
        with guard("digest"):
            pass
    with pytest.raises(ZeroDivisionError), guard("digest"):
        _ = 1 / 0
    with guard("digest"):
        pass


def test_a_message_that_comes_back_gives_the_image_up_for_all(
    client: Elasticsearch, notes: str
) -> None:
    ended(client, notes, KEY, 1.0)
    for key, message in ((KEY, 1.0), (KEY, 2.0), (OTHER, 3.0)):
        with (
            pytest.raises(ImageError) as caught,
            alone_guard(client, notes, "i", key, message)("digest"),
        ):
            pytest.fail("looked at")
        assert caught.value.code is ErrorCode.WORKER_LOST
    with alone_guard(client, notes, "i", KEY, 1.0)("another digest"):
        pass


def test_a_new_message_of_a_process_that_lived_on_does_not(
    client: Elasticsearch, notes: str
) -> None:
    """Its note could not be taken back because Elasticsearch was away."""
    ended(client, notes, KEY, 1.0)
    with alone_guard(client, notes, "i", KEY, 2.0)("digest"):
        pass


def test_another_document_waits_for_the_first(client: Elasticsearch, notes: str) -> None:
    ended(client, notes, KEY, 1.0)
    with pytest.raises(ImageError) as caught, alone_guard(client, notes, "i", OTHER, 2.0)("digest"):
        pytest.fail("looked at")
    assert caught.value.code.transient
    assert caught.value.retry_after
