"""Tasks of saferank in an application's own Celery app, which works as before."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from brightness import data_uri, png
from elasticsearch import Elasticsearch
from workers import wait_until

from saferank.mappings import add_to_index

APP = """
import os
from celery import Celery
from saferank.indexer.worker.app import configure

class Config:
    broker_url = os.environ["SAFERANK_BROKER_URL"]
    broker_transport_options = {{"global_keyprefix": os.environ["PREFIX"]}}
    {config}

app = Celery("shop")
{lines}

@app.task
def note(value):
    from redis import Redis
    Redis.from_url(Config.broker_url).rpush(os.environ["PREFIX"] + "done", value)
"""
AFTER = "app.config_from_object(Config)\nconfigure(app)"
BEFORE = "configure(app)\napp.config_from_object(Config)"
READ_BETWEEN = "configure(app)\napp.conf.timezone\napp.config_from_object(Config)"
QUEUES = "task_queues = {'celery': {'exchange': 'celery', 'routing_key': 'celery'}}"


@pytest.fixture
def environment(indexer_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return {
        **os.environ,
        **indexer_environment,
        "PYTHONPATH": path,
        "PREFIX": f"{uuid.uuid4().hex}:",
    }


def run(code: str, environment: dict[str, str]) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout


@contextmanager
def worker(environment: dict[str, str], log: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "--concurrency", "1"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def status(client: Elasticsearch, index: str) -> str | None:
    found: str | None = client.get(index=index, id="a")["_source"].get("safety", {}).get("status")
    return found


@pytest.mark.parametrize(
    ("lines", "config"),
    [(AFTER, ""), (BEFORE, ""), (READ_BETWEEN, ""), (AFTER, QUEUES), (BEFORE, QUEUES)],
    ids=["after", "before", "read between", "own queues", "own queues, before"],
)
def test_its_own_tasks_run_and_ours_do(
    client: Elasticsearch,
    index_name: str,
    environment: dict[str, str],
    broker_url: str,
    tmp_path: Path,
    lines: str,
    config: str,
) -> None:
    (tmp_path / "shop.py").write_text(APP.format(lines=lines, config=config))
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    client.index(index=index_name, id="a", document={"image": data_uri(png(1))})
    queue = "from saferank import queue_documents\nimport shop\nshop.note.delay('own')\n"
    run(f"{queue}queue_documents({index_name!r}, 'a', app=shop.app)", environment)
    with worker(environment, tmp_path / "log"), redis.Redis.from_url(broker_url) as broker:
        done = f"{environment['PREFIX']}done"
        wait_until(lambda: broker.lrange(done, 0, -1) == [b"own"], "its own task", 120)
        wait_until(lambda: status(client, index_name) == "scored", "ours", 120)


def test_an_eager_app_scores_at_once(
    client: Elasticsearch, index_name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    text = APP.format(lines=AFTER, config="task_always_eager = True")
    (tmp_path / "shop.py").write_text(text)
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    client.index(index=index_name, id="a", document={"image": data_uri(png(1))})
    queue = "from saferank import queue_documents\nimport shop\n"
    run(f"{queue}queue_documents({index_name!r}, 'a', app=shop.app)", environment)
    assert status(client, index_name) == "scored"
    away = {**environment, "SAFERANK_ELASTICSEARCH_URL": "http://127.0.0.1:9"}
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(f"{queue}queue_documents({index_name!r}, 'a', app=shop.app)", away)
    assert "cannot be reached" in failed.value.stderr.splitlines()[-1]


def test_an_eager_app_that_is_the_current_one_needs_no_broker(
    client: Elasticsearch, index_name: str, environment: dict[str, str]
) -> None:
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    client.index(index=index_name, id="a", document={"image": data_uri(png(1))})
    code = (
        "from celery import Celery\nfrom saferank import queue_documents\n"
        "from saferank.indexer.worker.app import configure\n"
        "app = Celery('tests')\napp.conf.task_always_eager = True\nconfigure(app)\n"
        f"queue_documents({index_name!r}, 'a')"
    )
    run(code, {**environment, "SAFERANK_BROKER_URL": "redis://127.0.0.1:9/0"})
    assert status(client, index_name) == "scored"


def test_an_eager_app_without_the_task_is_refused(
    environment: dict[str, str], tmp_path: Path
) -> None:
    text = APP.format(lines="app.config_from_object(Config)", config="task_always_eager = True")
    (tmp_path / "shop.py").write_text(text)
    code = (
        "from saferank import queue_documents\nimport shop\nqueue_documents('i', 'a', app=shop.app)"
    )
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(code, environment)
    assert "configure(app)" in failed.value.stderr.splitlines()[-1]
