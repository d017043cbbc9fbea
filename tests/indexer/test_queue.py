"""What an application sends, and with which Celery app."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterable
from typing import Any

import pytest
from celery import Celery

from saferank.errors import ConfigurationError, ServiceUnavailable
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import queue_documents, stated_settings
from saferank.settings import IndexerSettings, Settings

NOBODY = "redis://127.0.0.1:9"


def queued(documents: str | DocumentKey | Iterable[str | DocumentKey]) -> list[Any]:
    """The keys in each task that is sent, in chunks of two."""
    app = Celery(broker="memory://", set_as_current=False)
    indexer = IndexerSettings(chunk_size=2, fresh_queue=f"fresh-{uuid.uuid4().hex[:8]}")
    sent = queue_documents("images", documents, app=app, settings=Settings(indexer=indexer))
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(indexer.fresh_queue)
        return [queue.get(timeout=1).payload[0][1] for _ in range(sent)]


@pytest.mark.parametrize(
    ("documents", "tasks"),
    [
        ("42", [["42"]]),
        (DocumentKey("42", "de"), [[["42", "de"]]]),
        (["1", DocumentKey("2"), DocumentKey("3", "de")], [["1", "2"], [["3", "de"]]]),
        (iter("1213"), [["1", "2"], ["3"]]),
        ([], []),
    ],
)
def test_ids_and_keys_go_in_chunks_and_each_once(documents: Any, tasks: list[Any]) -> None:
    assert queued(documents) == tasks


@pytest.mark.parametrize("documents", [42, ["41", 42], None])
def test_an_id_that_is_no_text_is_refused_before_anything_is_sent(documents: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"named by its id, which is a text.* is neither"):
        queue_documents("images", documents, settings=Settings(broker_url=f"{NOBODY}/2"))


def test_the_application_s_own_celery_app_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Celery(broker=f"{NOBODY}/1", set_as_current=False)
    monkeypatch.setattr("celery._state._tls.current_app", theirs)
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:9/1 "):
        queue_documents("images", "42", settings=Settings(broker_url=f"{NOBODY}/2"))


def test_without_one_the_broker_of_the_settings_is_used() -> None:
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:9/2 "):
        queue_documents("images", "42", settings=Settings(broker_url=f"{NOBODY}/2"))


def test_importing_it_loads_nothing_that_only_a_worker_needs() -> None:
    """Packaging is tested in an environment without them; this names who imports one again."""
    heavy = [
        *("PIL", "numpy", "onnx", "onnxruntime", "httpx", "httpcore"),
        *("prometheus_client", "structlog", "stamina", "elasticsearch"),
    ]
    program = "import json, sys, saferank.indexer.queue; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert set(heavy) & set(json.loads(done.stdout)) == set()


def test_only_what_the_sender_was_told_goes_along() -> None:
    """An application need not know the settings of its workers; what it does know must agree."""
    assert stated_settings(Settings()) == {}
    told = Settings(field="safety", image_field="media.url", model="open_nsfw")
    assert stated_settings(told) == {
        "field": "safety",
        "image_field": "media.url",
        "model": "open_nsfw",
    }
    assert stated_settings(Settings(model="/models/own/model.toml")) == {}


def test_of_several_categories_all_go_along_but_for_paths() -> None:
    several = {
        "nudity": {"field": "safety", "model": "open_nsfw"},
        "violence": {"field": "safety_violence", "model": "/models/own/model.toml#violence"},
    }
    stated = stated_settings(Settings(categories=several))
    assert [*stated] == ["categories"]
    assert json.loads(stated["categories"]) == {
        "nudity": {"field": "safety", "model": "open_nsfw"},
        "violence": {"field": "safety_violence", "model": ""},
    }
