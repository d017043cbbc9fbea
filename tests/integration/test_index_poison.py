"""When an image counts as one that crashed its workers, and when it does not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from elasticsearch import Elasticsearch

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.keys import DocumentKey
from saferank.indexer.worker.poison import alone_guard
from saferank.settings import Settings

End = Callable[[DocumentKey, float], None]
KEY, OTHER = DocumentKey("1"), DocumentKey("2")


@pytest.fixture
def notes(indexer_settings: Settings, indexer_environment: dict[str, str]) -> str:
    return indexer_settings.indexer.jobs_index


@pytest.fixture
def end(client: Elasticsearch, notes: str) -> Iterator[End]:
    """Ends a process while it looks at the image: its note stays."""
    with ExitStack() as looking:

        def end_process(key: DocumentKey, message: float) -> None:
            looking.enter_context(alone_guard(client, notes, "i", key, message)("digest"))

        yield end_process


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
    client: Elasticsearch, notes: str, end: End
) -> None:
    end(KEY, 1.0)
    for key, message in ((KEY, 1.0), (KEY, 2.0), (OTHER, 3.0)):
        with (
            pytest.raises(ImageError) as caught,
            alone_guard(client, notes, "i", key, message)("digest"),
        ):
            pytest.fail("looked at")
        assert caught.value.code is ErrorCode.WORKER_LOST
    with alone_guard(client, notes, "i", KEY, 1.0)("another digest"):
        pass


def test_a_new_message_after_a_process_that_lived_on_does_not_give_it_up(
    client: Elasticsearch, notes: str, end: End
) -> None:
    """Its note could not be taken back because Elasticsearch was away."""
    end(KEY, 1.0)
    with alone_guard(client, notes, "i", KEY, 2.0)("digest"):
        pass


def test_another_document_waits_for_the_first(client: Elasticsearch, notes: str, end: End) -> None:
    end(KEY, 1.0)
    with pytest.raises(ImageError) as caught, alone_guard(client, notes, "i", OTHER, 2.0)("digest"):
        pytest.fail("looked at")
    assert caught.value.code.transient
    assert caught.value.retry_after
