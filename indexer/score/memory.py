"""What is known of images, kept where no write of an application reaches it.

A document carries what is known of its images, and a whole-document write drops that. Here it
stays, by model and reference, so that such a document has its score again without the model: the
image is fetched, and its bytes are seen to be those that were scored.

It only spares work. Where it cannot be read or written, images go through the model.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from saferank.connection import index_exists, make_index
from saferank.mappings.record import ImageRecord, readable_images, to_bytes

log = logging.getLogger(__name__)

_MAPPING = {
    "dynamic": "strict",
    "_meta": {"saferank": {"version": 1, "own": True}},
    "properties": {
        "model": {"type": "keyword"},
        "at": {"type": "date"},
        "image": {"type": "object", "enabled": False},
    },
}


class Memory:
    """Images that went through a model.

    Args:
        client: connected.
        index: where they are kept; made when missing.
    """

    def __init__(self, client: Elasticsearch, index: str) -> None:
        self._client = client
        self._index = index
        self._made = False

    def recall(self, model: str, references: Iterable[str]) -> list[ImageRecord]:
        """What is known under a model of the images that references led to.

        Args:
            model: identity of the model.
            references: in the form in which they are stored.
        """
        ids = [_id(model, reference) for reference in dict.fromkeys(references)]
        if not ids:
            return []
        try:
            self._make()
            entries = self._client.mget(index=self._index, ids=ids)["docs"]
        except (ApiError, TransportError) as error:
            log.warning("what is known of images cannot be read: %s", error)
            return []
        found = (entry["_source"].get("image") for entry in entries if entry.get("found"))
        return list(readable_images(found))

    def remember(self, model: str, images: Sequence[ImageRecord]) -> None:
        """Keep what is known of images that have a probability."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        operations: list[dict[str, Any]] = []
        for image in images:
            if image.probability is not None:
                operations += [
                    {"index": {"_id": _id(model, image.reference)}},
                    {"model": model, "at": now, "image": image.to_document()},
                ]
        if not operations:
            return
        try:
            self._make()
            if self._client.bulk(index=self._index, operations=operations)["errors"]:
                log.warning("index %s does not take all that is known of images", self._index)
        except (ApiError, TransportError) as error:
            log.warning("what is known of images cannot be kept: %s", error)

    def _make(self) -> None:
        """Make the index unless it is there: else Elasticsearch would guess its mapping."""
        if self._made:
            return
        if not index_exists(self._client, self._index):
            make_index(self._client, self._index, _MAPPING)
        self._made = True


def _id(model: str, reference: str) -> str:
    return hashlib.sha256(to_bytes(f"{model}\0{reference}")).hexdigest()
