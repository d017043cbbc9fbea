"""People's decisions in an index, read as labels."""

import csv
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from brightness import brightness_pipeline, data_uri, png
from elasticsearch import Elasticsearch
from small_model import write_small_model

from saferank.errors import ConfigurationError, ErrorCode, ImageError
from saferank.indexer.keys import DocumentKey
from saferank.indexer.labels import Written, write_labels
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.store import DocumentStore
from saferank.mappings import SafetyFields, add_to_index
from saferank.mappings.decisions import DecidedDocument, decided_documents
from saferank.mappings.override_index import install_overrides, override
from saferank.mappings.overrides import OverrideRecord
from saferank.mappings.record import Override, StoredRecord


@pytest.fixture
def put(client: Elasticsearch, index_name: str) -> Any:
    client.indices.create(
        index=index_name, mappings={"properties": {"image": {"type": "keyword", "index": False}}}
    )
    add_to_index(client, index_name)

    def put(id: str, image: object, **safety: str) -> None:
        client.index(
            index=index_name, id=id, document={"image": image, "safety": safety}, refresh=True
        )

    return put


def test_decisions_are_read_from_documents_and_from_the_index_of_overrides(
    client: Elasticsearch, index_name: str, put: Any
) -> None:
    kept = f"{index_name}-overrides"
    fields = SafetyFields()
    install_overrides(client, kept)
    try:
        for id, level in (("a", 10), ("b", 20), ("c", 30), ("d", 40), ("e", 50)):
            put(id, data_uri(png(level)))
        put("f", data_uri(png(60)), override="block", override_by="ann")
        put("g", data_uri(png(70)), override="perhaps")
        store = DocumentStore(client, fields, "image", patience=20)
        ids = [DocumentKey(id) for id in "abcd"]
        score_documents(brightness_pipeline(), store, index_name, ids)
        override(client, kept, fields, index_name, "a", OverrideRecord(Override.ALLOW, "ann"))
        override(client, kept, fields, index_name, "b", OverrideRecord(Override.BLOCK, "ann"))
        override(client, kept, fields, index_name, "c", OverrideRecord(Override.ALLOW, "ann"))
        # Written anew by the application, without the copy of the decision.
        put("b", data_uri(png(20)))
        # Other images than the person saw: the decision holds no longer.
        put("c", data_uri(png(31)))
        score_documents(brightness_pipeline(), store, index_name, [DocumentKey("c")])
        client.indices.refresh(index=index_name)
        found = {
            one.id: one
            for one in decided_documents(client, index_name, fields, "image", overrides_index=kept)
        }
        assert {id: one.override.value for id, one in found.items()} == {
            "a": "allow",
            "b": "block",
            "f": "block",
        }
        assert found["a"].record.images[0].sha256 == hashlib.sha256(png(10)).hexdigest()
        assert found["b"].references == (data_uri(png(20)),)
    finally:
        client.indices.delete(index=kept)


def decided(id: str, override: str, *references: str, digests: tuple[str, ...] = ()) -> Any:
    images = [{"reference": "", "sha256": digest} for digest in digests]
    return DecidedDocument(
        "images", id, Override(override), references, StoredRecord({"images": images})
    )


def fetch(reference: str) -> bytes:
    if reference == "gone":
        raise ImageError(ErrorCode.NOT_FOUND, "there is no such file")
    return reference.encode()


def test_pictures_are_written_once_and_what_tells_nothing_is_left_out(tmp_path: Path) -> None:
    documents = [
        decided("1", "allow", "x", "y"),
        decided("2", "allow", "x"),
        decided("3", "block", "z"),
        decided("4", "block", "z", "y"),
        decided("5", "block", "gone"),
        decided("6", "block", "w", digests=("another",)),
    ]
    written = write_labels(tmp_path, documents, fetch, allowed="safe", blocked="nsfw")
    assert written == Written({"safe": 2, "nsfw": 1}, unclear=1, changed=1, unreadable=1)
    with (tmp_path / "labels.csv").open() as file:
        labels = {row["image"]: row["label"] for row in csv.DictReader(file)}
    assert {(tmp_path / image).read_text(): label for image, label in labels.items()} == {
        "x": "safe",
        "y": "safe",
        "z": "nsfw",
    }


def test_decisions_that_contradict_each_other_or_say_nothing_are_refused(tmp_path: Path) -> None:
    both = [decided("1", "allow", "x"), decided("2", "block", "x")]
    with pytest.raises(ConfigurationError, match="'2' was allowed in one document and blocked in"):
        write_labels(tmp_path, both, fetch, allowed="safe", blocked="nsfw")
    with pytest.raises(ConfigurationError, match="no document has an override from which"):
        write_labels(tmp_path, [], fetch, allowed="safe", blocked="nsfw")


def test_a_model_is_trained_by_what_people_decided(
    client: Elasticsearch, index_name: str, put: Any, elasticsearch_url: str, tmp_path: Path
) -> None:
    for number in range(8):
        said = "block" if number % 2 else "allow"
        put(str(number), data_uri(png(100 * (number % 2) + number, (40, 40))), override=said)
    source = write_small_model(tmp_path, ("safe", "nsfw"))
    options = ["--from", str(source), "--epochs", "1", "--batch", "2", "--alone"]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "saferank.cli", "finetune", "--from-index", index_name),
            *("--out", str(tmp_path / "out"), *options),
        ],
        env={**os.environ, "SAFERANK_ELASTICSEARCH_URL": elasticsearch_url, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert f"decisions in {index_name}: 4 safe, 4 nsfw; left out are 0 blocked" in run.stdout
    assert (tmp_path / "out" / "model.toml").exists()
