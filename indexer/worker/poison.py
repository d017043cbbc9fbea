"""Images that crash the process that looks at them.

A task that comes back had its worker crash. Its documents then go alone, and each image is
noted in Elasticsearch before it is looked at. A message that comes back again and finds its own
note has crashed a second process: the image is given up and never decoded again. Notes go by
the image's digest, for a task's id stays the same or changes for reasons of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, ConflictError, Elasticsearch

from saferank.errors import ErrorCode, ImageError, ServiceUnavailable
from saferank.indexer.jobs.jobs_index import Kind, ensure_jobs_index
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.interfaces import Guard

log = logging.getLogger(__name__)

# No task lives so long; a note of this age was left by a document that is gone.
_FORGOTTEN = timedelta(hours=1)
_WAIT = 5.0


def alone_guard(
    client: Elasticsearch, notes: str, index: str, key: DocumentKey, message: float
) -> Guard:
    """Make a guard for the images of one document.

    Args:
        client: connected.
        notes: index of the notes; made when missing.
        index: the document's index.
        key: the document.
        message: when the task's message was sent. A process that lives on, but cannot take its
            note back, sends a new message; so its old note tells nothing.

    Returns:
        A guard that raises ImageError: ``worker_lost`` for an image that crashed two processes;
        a transient one while another document's task looks at the same image.
    """
    ensure_jobs_index(client, notes)
    document = f"{index}/{key.id}/{key.routing or ''}"

    @contextmanager
    def guard(digest: str) -> Iterator[None]:
        about = {
            "kind": Kind.IMAGE.value,
            "document": document,
            "sha256": digest,
            "message": message,
            "at": datetime.now(UTC).isoformat(),
        }
        with _noted_or_unavailable():
            _take_note(client, notes, digest, about)
        try:
            yield
        finally:
            with _noted_or_unavailable():
                client.options(ignore_status=404).delete(index=notes, id=f"alone.{digest}")

    return guard


@contextmanager
def _noted_or_unavailable() -> Iterator[None]:
    """Tell that no note can be taken from that something is wrong with the image."""
    try:
        yield
    except (ApiError, TransportError) as error:
        raise ServiceUnavailable(
            f"Elasticsearch does not take a note of an image that is looked at alone: {error}"
        ) from error


def _take_note(client: Elasticsearch, notes: str, digest: str, about: Mapping[str, Any]) -> None:
    """Note that this process looks at an image, unless it has crashed two before.

    Raises:
        ImageError: it has, or another document's task looks at it.
    """
    note, lost = f"alone.{digest}", f"lost.{digest}"
    if client.exists(index=notes, id=lost):
        raise _worker_lost(digest)
    try:
        client.create(index=notes, id=note, document=about)
    except ConflictError:
        if _crashed(client.get(index=notes, id=note)["_source"], about):
            log.error("image %s of %s crashed two workers", digest, about["document"])
            client.index(index=notes, id=lost, document=about)
            client.options(ignore_status=404).delete(index=notes, id=note)
            raise _worker_lost(digest) from None
        client.index(index=notes, id=note, document=about)


def _crashed(note: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether a note was left by this very message; False for one that no longer matters.

    Raises:
        ImageError: another document's task may be looking at the image.
    """
    if note["document"] == about["document"]:
        return bool(note.get("message") == about["message"])
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
        f"image {digest} crashed its worker twice; look at it, then score the document again",
    )
