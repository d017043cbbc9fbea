"""What an operator sees of real workers: health, figures, log lines."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from brightness import data_uri, png
from elasticsearch import Elasticsearch
from prometheus_client import REGISTRY
from typer.testing import CliRunner
from workers import running_worker, wait_until

from saferank.cli import app as command
from saferank.indexer.keys import DocumentKey
from saferank.indexer.operate.health import Health, live, ready
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.fitness import fitness
from saferank.indexer.worker.resources import model_identity
from saferank.indexer.worker.sweep import SWEEP_TASK
from saferank.local.processes import free_port
from saferank.mappings import add_to_index
from saferank.settings import Settings, get_settings


def states(health: Health) -> dict[str, bool]:
    return {check.name: check.ok for check in health.checks}


def test_figures_health_and_log_lines_of_a_worker(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    client.indices.create(
        index=index_name,
        settings={"number_of_replicas": 0},
        mappings={"properties": {"image": {"type": "keyword", "index": False}}},
    )
    add_to_index(client, index_name)
    for n in range(12):
        client.index(index=index_name, id=str(n), document={"image": data_uri(png(n))})
    client.index(index=index_name, id="bad", document={"image": "data:image/png;base64,AAAA"})
    keys = [DocumentKey(id) for id in [*map(str, range(12)), "bad"]]
    port = free_port()
    figures = f"http://127.0.0.1:{port}/metrics"
    log = tmp_path / "worker.log"
    environment = {**indexer_environment, "SAFERANK_LOG_FORMAT": "json"}
    app = create_app(indexer_settings)

    assert states(ready(client, app, indexer_settings, [index_name, "test-absent"])) == {
        "elasticsearch": True,
        f"mapping of {index_name}": True,
        f"writes to {index_name}": True,
        "mapping of test-absent": False,
        "writes to test-absent": False,
        "broker": True,
        f"queue {indexer_settings.indexer.fresh_queue}": False,
        f"queue {indexer_settings.indexer.backfill_queue}": False,
    }
    arguments = ["--metrics-port", str(port), "--queues", "fresh"]
    with running_worker(environment, log, *arguments) as worker:
        wait_until(lambda: "ready" in log.read_text(), "the worker")
        queue_documents(index_name, keys, app=app, settings=indexer_settings)

        def handled() -> int:
            found = re.findall(
                r'^saferank_documents_total\{outcome="(?:scored|failed)"\} ([0-9.]+)$',
                httpx.get(figures).text,
                re.M,
            )
            return sum(int(float(value)) for value in found)

        wait_until(lambda: handled() == 13, "all documents")
        text = httpx.get(figures).text
        assert "saferank_images_scored_total 12.0" in text
        assert 'saferank_failures_total{code="not_an_image"} 1.0' in text
        # 13 documents in chunks of 10 are two tasks.
        queue = indexer_settings.indexer.fresh_queue
        assert 'saferank_queue_seconds_count{queue="fresh"} 2.0' in text
        assert 'saferank_stage_seconds_count{stage="decode"} 13.0' in text
        assert "saferank_tasks_in_flight 0.0" in text

        assert states(ready(client, app, indexer_settings, [])) == {
            "elasticsearch": True,
            "broker": True,
            f"queue {queue}": True,
            f"queue {indexer_settings.indexer.backfill_queue}": False,
            f"worker saferank-{worker.process.pid}@{socket.gethostname()}": True,
        }
        assert live(app).ok
        (child,) = [one for one in worker.children() if "worker" in one.cmdline()]
        child.kill()
        wait_until(lambda: "signal 9" in log.read_text(), "the child's end")
    assert not live(app).ok
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    chunks = [line for line in lines if line["message"] == f"scored a chunk of {index_name}"]
    whole, failed = sorted(chunks, key=lambda line: "failures" in line)
    assert (whole["level"], whole["counts"]["scored"]) == ("info", 10)
    assert (failed["level"], failed["counts"]["failed"]) == ("warning", 1)
    assert failed["failures"] == {"not_an_image": 1}
    (example,) = failed["examples"]
    assert (example["document"], example["code"]) == ("bad", "not_an_image")
    assert example["reference"] == "data:image/png;base64,AAAA"
    assert example["cause"]
    assert whole["task"] != failed["task"]
    assert {line["index"] for line in chunks} == {index_name}
    assert not [line for line in lines if re.search("received|succeeded", line["message"])]
    assert [line["message"] for line in lines if line["message"].startswith("stop")] == [
        "stopping: a warm shutdown, after SIGTERM",
        "stopped",
    ]


def test_a_sweep_tells_what_it_found_and_when(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.indices.create(index=index_name, mappings={"properties": {"image": {"type": "keyword"}}})
    add_to_index(client, index_name)
    for id, safety in {"old": {"probability": 0.1, "status": "scored"}, "a": {}, "b": {}}.items():
        client.index(index=index_name, id=id, document={"image": "x", "safety": safety})
    client.indices.refresh(index=index_name)
    for name, value in indexer_environment.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    began = time.time()
    app = create_app(indexer_settings)
    app.loader.import_default_modules()
    app.tasks[SWEEP_TASK].apply(args=(index_name,), throw=True)
    get_settings.cache_clear()

    def figure(name: str) -> float | None:
        return REGISTRY.get_sample_value(f"saferank_{name}", {"index": index_name})

    assert figure("unscored_documents") == 2
    swept = figure("swept_timestamp_seconds")
    assert swept is not None
    assert began < swept < time.time()


def test_a_sweep_without_elasticsearch_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", "http://127.0.0.1:9")
    get_settings.cache_clear()
    app = create_app(get_settings())
    app.loader.import_default_modules()
    app.tasks[SWEEP_TASK].apply(args=("photos",), throw=True)
    get_settings.cache_clear()
    (line,) = [one for one in caplog.records if one.name == "saferank.indexer.worker.sweep"]
    assert line.levelname == "WARNING"
    assert line.exc_info is None
    assert "no sweep of photos this time" in line.getMessage()
    assert "http://127.0.0.1:9 cannot be reached" in line.getMessage()


@pytest.mark.parametrize("block", ["read_only_allow_delete", "write", "read_only"])
def test_an_index_that_refuses_writes_is_not_ready(
    client: Elasticsearch, index_name: str, indexer_settings: Settings, block: str
) -> None:
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    client.indices.put_settings(index=index_name, settings={f"index.blocks.{block}": True})
    app = create_app(indexer_settings)
    (check,) = [
        check
        for check in ready(client, app, indexer_settings, [index_name]).checks
        if check.name == f"writes to {index_name}"
    ]
    client.indices.put_settings(index=index_name, settings={f"index.blocks.{block}": None})
    assert not check.ok
    assert f"{index_name} has index.blocks.{block}" in check.detail


def test_services_that_are_away_are_named_and_are_no_reason_to_restart_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        port = unused.getsockname()[1]
        monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("SAFERANK_BROKER_URL", f"redis://127.0.0.1:{port}/0")
        get_settings.cache_clear()
        try:
            result = CliRunner().invoke(command, ["health", "--json"])
            alive = CliRunner().invoke(command, ["health", "--live", "--json"])
        finally:
            get_settings.cache_clear()
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {check["name"]: check["ok"] for check in found["checks"]} == {
        "elasticsearch": False,
        "broker": False,
    }
    assert alive.exit_code == 0
    assert "cannot be asked" in json.loads(alive.stdout)["checks"][0]["detail"]


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        ("SAFERANK_IMAGE_FIELD", "picture", "image_field 'picture' and not 'image'"),
        ("SAFERANK_FIELD", "other", "field 'other' and not 'safety'"),
        ("SAFERANK_KNOWN", "known", "known 'known' and not 'none'"),
        ("SAFERANK_LOG_FORMAT", "json", None),
    ],
)
def test_health_says_what_keeps_a_worker_from_scoring(
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
    variable: str,
    value: str,
    fault: str | None,
) -> None:
    log = tmp_path / "log"
    with running_worker({**indexer_environment, variable: value}, log):
        wait_until(lambda: "ready" in log.read_text(), "the worker")
        environment = {**os.environ, **indexer_environment}
        done = subprocess.run(
            [sys.executable, "-m", "saferank.cli", "health", "--json"],
            env=environment,
            text=True,
            capture_output=True,
            check=False,
        )
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    (worker,) = [check for name, check in checks.items() if name.startswith("worker saferank-")]
    assert (done.returncode, worker["ok"]) == ((1, False) if fault else (0, True))
    assert (fault or f"scores with {model_identity('open_nsfw')}") in worker["detail"]


def test_a_full_temporary_folder_and_a_missing_model_are_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = fitness(Settings())
    assert (right["model"], right["faults"]) == (model_identity("open_nsfw"), [])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    wrong = fitness(Settings(model=str(tmp_path / "model.toml")))
    assert wrong["model"] is None
    assert [fault.partition(":")[0] for fault in wrong["faults"]] == [
        str(tmp_path / "model.toml"),
        "its temporary folder takes no file",
    ]
