"""Images that end the process that looks at them.

A task that comes back had its worker end under it. Its documents then go alone, and each image is
noted in Elasticsearch before it is looked at. A note that is found again tells that the image
ended its process a second time: it is given up and never decoded again. Notes are kept per
document and digest, for a task's id changes as work is split and sent again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from elasticsearch import ConflictError, Elasticsearch

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.documents import DocumentKey
from saferank.indexer.pipeline import Guard
from saferank.indexer.state import ensure_state_index

log = logging.getLogger(__name__)


def alone_guard(client: Elasticsearch, notes: str, index: str, key: DocumentKey) -> Guard:
    """Make a guard for the images of one document.

    Args:
        client: connected.
        notes: index of the notes.
        index: the document's index.
        key: the document.

    Returns:
        A guard that raises ImageError (``worker_lost``) for an image that ended a process before.
    """
    ensure_state_index(client, notes)
    document = f"{index}\n{key.id}\n{key.routing or ''}"

    @contextmanager
    def guard(digest: str) -> Iterator[None]:
        lost = f"lost.{digest}"
        note = "alone." + hashlib.sha256(f"{document}\n{digest}".encode()).hexdigest()
        if client.exists(index=notes, id=lost):
            raise _worker_lost(digest)
        about = {
            "kind": "image",
            "index": index,
            "document": key.id,
            "sha256": digest,
            "at": datetime.now(UTC).isoformat(),
        }
        try:
            client.create(index=notes, id=note, document=about)
        except ConflictError:
            log.error("image %s of %s/%s ended two workers", digest, index, key.id)
            client.index(index=notes, id=lost, document=about)
            client.options(ignore_status=404).delete(index=notes, id=note)
            raise _worker_lost(digest) from None
        try:
            yield
        finally:
            client.options(ignore_status=404).delete(index=notes, id=note)

    return guard


def _worker_lost(digest: str) -> ImageError:
    return ImageError(
        ErrorCode.WORKER_LOST,
        f"image {digest} ended its worker twice; look at it, then score the document again",
    )
