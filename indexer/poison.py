"""Images that end the process that looks at them.

A task that comes back had its worker end under it. Its documents then go alone, and each image is
noted in Elasticsearch before it is looked at. A document that finds its own note again has ended
a process a second time: the image is given up and never decoded again. Notes go by the image's
digest, for a task's id changes as work is split and sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from elasticsearch import ConflictError, Elasticsearch

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.documents import DocumentKey
from saferank.indexer.pipeline import Guard
from saferank.indexer.state import ensure_state_index

log = logging.getLogger(__name__)

# No task lives so long; a note of this age was left by a document that is gone.
_FORGOTTEN = timedelta(hours=1)
_WAIT = 5.0


def alone_guard(client: Elasticsearch, notes: str, index: str, key: DocumentKey) -> Guard:
    """Make a guard for the images of one document.

    Args:
        client: connected.
        notes: index of the notes; made when missing.
        index: the document's index.
        key: the document.

    Returns:
        A guard that raises ImageError: ``worker_lost`` for an image that ended two processes;
        one that may pass while another document's task looks at the same image.
    """
    ensure_state_index(client, notes)
    document = f"{index}/{key.id}/{key.routing or ''}"

    @contextmanager
    def guard(digest: str) -> Iterator[None]:
        note, lost = f"alone.{digest}", f"lost.{digest}"
        if client.exists(index=notes, id=lost):
            raise _worker_lost(digest)
        about = {
            "kind": "image",
            "document": document,
            "sha256": digest,
            "at": datetime.now(UTC).isoformat(),
        }
        try:
            client.create(index=notes, id=note, document=about)
        except ConflictError:
            if _is_own(client.get(index=notes, id=note)["_source"], document):
                log.error("image %s of %s ended two workers", digest, document)
                client.index(index=notes, id=lost, document=about)
                client.options(ignore_status=404).delete(index=notes, id=note)
                raise _worker_lost(digest) from None
            client.index(index=notes, id=note, document=about)
        try:
            yield
        finally:
            client.options(ignore_status=404).delete(index=notes, id=note)

    return guard


def _is_own(note: Mapping[str, Any], document: str) -> bool:
    """Whether a note is of this document; False for another's that is too old to matter.

    Raises:
        ImageError: another document's task may be looking at the image.
    """
    if note["document"] == document:
        return True
    if datetime.now(UTC) - datetime.fromisoformat(note["at"]) > _FORGOTTEN:
        return False
    raise ImageError(
        ErrorCode.INTERNAL,
        f"the image is being looked at for {note['document']}; this document waits",
        retry_after=_WAIT,
    )


def _worker_lost(digest: str) -> ImageError:
    return ImageError(
        ErrorCode.WORKER_LOST,
        f"image {digest} ended its worker twice; look at it, then score the document again",
    )
