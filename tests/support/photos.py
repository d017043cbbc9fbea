"""The index of the web examples, filled; and a worker's part, done here for what they queued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brightness import Brightness, png
from celery import Celery
from elasticsearch import Elasticsearch, helpers

from saferank.indexer.decode import decode
from saferank.indexer.fetch import Fetcher
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.pipeline import Pipeline
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.store import DocumentStore
from saferank.mappings import SafetyFields, add_to_index
from saferank.settings import DecodeSettings, FetchSettings, Settings

SAFETY: dict[str, dict[str, Any] | None] = {
    "plain": {"probability": 0.01, "status": "scored"},
    "low": {"probability": 0.3, "status": "scored"},
    "medium": {"probability": 0.5, "status": "scored"},
    "high": {"probability": 0.9, "status": "scored"},
    "waiting": None,
}
"""By kind; the kind is a photo's tag, and a word of its title."""
EACH = 6
SHOWN = {
    "off": {"plain", "low", "medium", "high", "waiting"},
    "moderate": {"plain", "low", "medium", "waiting"},
    "strict": {"plain"},
}
"""Kinds that ``examples/policy.yaml`` shows at a level; it blurs ``medium`` at moderate."""


def photo(kind: str, number: int, folder: Path) -> dict[str, Any]:
    name = f"{kind}{number}"
    path = folder / f"{name}.png"
    path.write_bytes(png(number))
    document = {"id": name, "title": f"cat {kind} {name}", "tag": kind}
    document |= {"file": path.name, "image": path.as_uri()}
    if safety := SAFETY[kind]:
        document["safety"] = {**safety, "images": [{"reference": path.as_uri()}]}
    return document


def fill(client: Elasticsearch, mappings: dict[str, Any], folder: Path) -> None:
    """Make the index ``photos``, with ``EACH`` photos of every kind."""
    client.indices.delete(index="photos", ignore_unavailable=True)
    client.indices.create(index="photos", mappings=mappings)
    add_to_index(client, "photos")
    documents = [photo(kind, number, folder) for kind in SAFETY for number in range(EACH)]
    actions = [{"_index": "photos", "_id": one["id"], "_source": one} for one in documents]
    helpers.bulk(client, actions, refresh=True)


def score_queued(client: Elasticsearch, settings: Settings, folder: Path) -> list[str]:
    """Take one task off the queue and score its documents; returns their ids."""
    app = Celery(broker=settings.broker_url, set_as_current=False)
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(settings.indexer.fresh_queue)
        message = queue.get(timeout=5)
        message.ack()
        queue.close()
    assert message.headers["task"] == "saferank.score"
    index, ids = message.payload[0]
    pipeline = Pipeline(
        Brightness(),
        Fetcher(FetchSettings(file_roots=(folder,))).fetch,
        lambda data: decode(data, DecodeSettings()),
        batch_size=4,
        max_images=4,
    )
    store = DocumentStore(client, SafetyFields(), "image", patience=20)
    report = score_documents(pipeline, store, index, [DocumentKey(id) for id in ids])
    assert report.counts["scored"] == len(ids)
    client.indices.refresh(index=index)
    return list(ids)
