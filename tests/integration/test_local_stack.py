"""The local services, started for real."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest
from elasticsearch import Elasticsearch

from saferank.errors import ServiceUnavailable
from saferank.local.processes import Service, base_environment
from saferank.local.valkey import start_broker


def test_node_searches_what_was_indexed(client: Elasticsearch, index_name: str) -> None:
    client.index(index=index_name, id="1", document={"title": "red fox"}, refresh=True)
    found = client.search(index=index_name, query={"match": {"title": "fox"}})
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["1"]


def test_broker_stops_and_only_then_refuses(tmp_path: Path) -> None:
    broker = start_broker(tmp_path)
    port = int(broker.url.rsplit(":", 1)[1].split("/")[0])
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert broker.running
    broker.stop()
    assert not broker.running
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_reused_process_id_is_left_alone() -> None:
    """The same id with another start time is somebody else's process."""
    own = psutil.Process()
    impostor = Service("Valkey", "", own.pid, own.create_time() - 3600, "")
    assert not impostor.running
    impostor.stop(timeout=0.1)
    assert own.is_running()


def test_a_service_that_ends_at_once_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match=r"ended with code 3(?s:.*)no such option"):
        Service.start(
            "Broken",
            ["/bin/sh", "-c", "echo no such option; exit 3"],
            folder=tmp_path,
            environment=base_environment(),
            find_url=lambda: None,
            timeout=30,
        )


def test_a_service_that_never_answers_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="did not answer within 1 s"):
        Service.start(
            "Silent",
            ["/bin/sh", "-c", "echo $$ > pid; exec sleep 600"],
            folder=tmp_path,
            environment=base_environment(),
            find_url=lambda: None,
            timeout=1,
        )
    left = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
