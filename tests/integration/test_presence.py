"""Silence of a worker is not its death: it keeps what it holds, and health says that it lives."""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from elasticsearch import Elasticsearch
from workers import running_worker, wait_until

from saferank.indexer.brokers import queue_length
from saferank.indexer.jobs.recovery import held_tasks, recover_lost_tasks
from saferank.indexer.keys import DocumentKey
from saferank.indexer.operate.health import live, ready
from saferank.indexer.presence import Presence, Present, present_children, present_workers
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.local.folders import temporary_folder
from saferank.local.valkey import start_broker
from saferank.settings import Settings


@pytest.fixture(scope="module")
def broker_url() -> Iterator[str]:
    """A broker of its own: workers that other tests killed a moment ago still count as present."""
    with temporary_folder() as folder:
        broker = start_broker(folder / "valkey")
        try:
            yield broker.url
        finally:
            broker.stop()


@pytest.fixture(params=["", "prefix-"])
def settings(indexer_settings: Settings, request: pytest.FixtureRequest) -> Settings:
    options = {"global_keyprefix": request.param} if request.param else {}
    return indexer_settings.model_copy(update={"broker_options": options})


@pytest.fixture
def app(settings: Settings) -> Celery:
    return create_app(settings)


@contextmanager
def taken(app: Celery, settings: Settings) -> Iterator[None]:
    """A task that a worker has taken from its queue and not finished."""
    queue_documents("any", DocumentKey("1"), app=app, settings=settings)
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.basic_get(settings.indexer.fresh_queue)
        yield
        # What is still in the hands of a channel goes back when it is closed.
        channel.qos._delivered.clear()


@contextmanager
def present(app: Celery, *, mute: bool) -> Iterator[str]:
    name = f"w-{uuid.uuid4().hex[:8]}@{socket.gethostname()}"
    presence = Presence(app, Present(name, mute))
    presence.start()
    try:
        wait_until(lambda: Present(name, mute) in present_workers(app), "the beat")
        yield name
    finally:
        presence.stop()
    wait_until(lambda: name not in {one.name for one in present_workers(app)}, "its end")


def test_nothing_is_taken_from_a_worker_that_is_present_and_silent(
    app: Celery, settings: Settings
) -> None:
    queue = settings.indexer.fresh_queue
    with taken(app, settings):
        with present(app, mute=True) as name:
            returned, silent = recover_lost_tasks(app)
            assert (returned, name in silent) == (0, True)
            assert held_tasks(app).silent == silent
            assert queue_length(app, queue) == 0
        returned, silent = recover_lost_tasks(app)
        assert (returned >= 1, silent) == (True, frozenset())
        assert queue_length(app, queue) == 1


def test_what_was_done_while_the_workers_were_asked_is_no_loss(
    app: Celery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken(app, settings), app.connection_for_write() as connection:
        channel: Any = connection.default_channel

        def finish(*_: Any, **__: Any) -> None:
            key = f"{channel.global_keyprefix}{channel.unacked_key}"
            for tag in channel.client.hgetall(key):
                channel.qos._remove_from_indices(tag.decode()).execute()

        monkeypatch.setattr(app.control, "inspect", lambda **_: Asked(finish))
        assert recover_lost_tasks(app) == (0, frozenset())


class Asked:
    """Workers that hold nothing more when they are asked."""

    def __init__(self, action: Any) -> None:
        self.scheduled = self.reserved = self.active = action


def test_health_takes_no_silence_for_death_where_a_worker_need_not_answer(
    client: Elasticsearch, app: Celery, settings: Settings
) -> None:
    def states() -> dict[str, bool]:
        return {check.name: check.ok for check in ready(client, app, settings, ()).checks}

    queue = f"queue {settings.indexer.fresh_queue}"
    with present(app, mute=True) as name:
        assert states()[queue]
        (check,) = live(app).checks
        assert (check.ok, f"{name} (at work)" in check.detail) == (True, True)
    # The main process of others has nothing else to do: it hangs.
    with present(app, mute=False):
        assert not states()[queue]
        assert not live(app).ok


@pytest.mark.parametrize(("pool", "mute"), [("solo", True), ("prefork", False)])
def test_a_worker_keeps_a_beat_until_it_ends(
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
    pool: str,
    mute: bool,
) -> None:
    app = create_app(indexer_settings)
    before, children = present_workers(app), present_children(app)
    with running_worker(indexer_environment, tmp_path / "log", "--pool", pool, fast=True) as worker:
        wait_until(lambda: bool(present_workers(app) - before), "the beat")
        (own,) = present_workers(app) - before
        assert own.mute is mute
        assert own.name.startswith("test-")
        assert present_children(app) == children + 1
        worker.stop()
        wait_until(lambda: own not in present_workers(app), "its end")
        assert present_children(app) == children
