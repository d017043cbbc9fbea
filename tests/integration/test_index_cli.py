"""What an operator reads when something is not as it should be."""

import os
import subprocess
import sys

import pytest
from brightness import data_uri, png
from elasticsearch import Elasticsearch

from saferank.mappings import add_to_index

AWAY = "127.0.0.1:9"


def saferank(elasticsearch_url: str, *arguments: str, **settings: str) -> tuple[int, str]:
    environment = {**os.environ, "SAFERANK_ELASTICSEARCH_URL": elasticsearch_url, **settings}
    command = [sys.executable, "-m", "saferank.cli", *arguments]
    done = subprocess.run(
        command, env=environment, text=True, capture_output=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_scores_documents_and_names_the_missing(
    elasticsearch_url: str, client: Elasticsearch, index_name: str
) -> None:
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    for name, reference in {"a": data_uri(png(9)), "b": data_uri(png(9)[:40])}.items():
        client.index(index=index_name, id=name, document={"image": reference}, refresh=True)
    code, output = saferank(elasticsearch_url, "index", index_name, "a")
    assert (code, "no such document" in output) == (0, False)
    code, output = saferank(elasticsearch_url, "index", index_name, "a", "nix")
    assert code == 1
    assert "no such document: nix" in output
    code, output = saferank(elasticsearch_url, "index", index_name)  # those never scored
    assert code == 1
    assert "truncated" in output
    assert client.get(index=index_name, id="b")["_source"]["safety"]["status"] == "failed"


def test_an_index_without_the_fields(
    elasticsearch_url: str, client: Elasticsearch, index_name: str
) -> None:
    client.indices.create(index=index_name)
    code, output = saferank(elasticsearch_url, "index", index_name, "a")
    assert code == 1
    assert f"run 'saferank mapping install {index_name}'" in output.replace("\n", " ")
    code, output = saferank(elasticsearch_url, "mapping", "install", "--index", index_name)
    assert code == 0
    assert saferank(elasticsearch_url, "mapping", "check", index_name)[0] == 0


@pytest.mark.parametrize(
    "command",
    ["mapping install", "mapping check", "health", "index", "index --queue", "backfill"],
)
def test_an_index_that_would_lose_a_field_is_left_alone(
    elasticsearch_url: str, broker_url: str, client: Elasticsearch, index_name: str, command: str
) -> None:
    client.indices.create(
        index=index_name,
        mappings={"_source": {"excludes": ["body"]}, "properties": {"body": {"type": "text"}}},
    )
    document = {"image": data_uri(png(9)), "body": "needle"}
    client.index(index=index_name, id="a", document=document, refresh=True)
    settings = {"SAFERANK_BROKER_URL": broker_url, "COLUMNS": "500"}
    code, output = saferank(elasticsearch_url, *command.split(), index_name, **settings)
    assert code == 1
    assert "leaves 'body' out of its documents' source" in output.replace("\n", " ")
    assert client.count(index=index_name, query={"match": {"body": "needle"}})["count"] == 1
    assert client.get(index=index_name, id="a")["_version"] == 1


def test_what_is_not_read_is_counted_apart_and_no_fault(
    elasticsearch_url: str, client: Elasticsearch, index_name: str
) -> None:
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    drawing = data_uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    client.index(index=index_name, id="drawn", document={"image": drawing}, refresh=True)
    code, output = saferank(elasticsearch_url, "index", index_name)
    assert (code, "not_read" in output, "failed" in output) == (0, True, False)
    safety = client.get(index=index_name, id="drawn")["_source"]["safety"]
    assert (safety["status"], safety["error"]) == ("not_read", "kind_not_read")
    data = {"image": [drawing, data_uri(png(9)[:40])]}
    client.index(index=index_name, id="both", document=data, refresh=True)
    code, output = saferank(elasticsearch_url, "index", index_name)
    assert (code, "failed" in output, "truncated" in output) == (1, True, True)
    safety = client.get(index=index_name, id="both")["_source"]["safety"]
    assert (safety["status"], safety["error"]) == (["failed", "not_read"], "truncated")


def test_a_stopped_elasticsearch() -> None:
    code, output = saferank(f"http://{AWAY}", "index", "any", "a")
    assert code == 1
    assert "cannot be reached (" in output.replace("\n", " ")


@pytest.mark.parametrize("command", [["worker"], ["index", "{index}", "a", "--queue"]])
def test_a_stopped_broker(
    elasticsearch_url: str, client: Elasticsearch, index_name: str, command: list[str]
) -> None:
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    arguments = [part.format(index=index_name) for part in command]
    code, output = saferank(elasticsearch_url, *arguments, SAFERANK_BROKER_URL=f"redis://{AWAY}/0")
    assert code == 1
    assert "the broker at" in output


def test_usage_errors_exit_with_two(elasticsearch_url: str) -> None:
    assert saferank(elasticsearch_url, "index", "any", "--query", "{")[0] == 2
    assert saferank(elasticsearch_url, "index", "any", "a", "--query", "{}")[0] == 2
    assert saferank(elasticsearch_url, "worker", "--queues", "slow")[0] == 2
