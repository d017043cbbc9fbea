"""What people decided about the documents that are scored, from the index of overrides."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from elasticsearch import Elasticsearch

from saferank.errors import MappingError, ServiceUnavailable
from saferank.indexer.documents import Document
from saferank.mappings.override_index import read_overrides
from saferank.mappings.overrides import HOLDS, NO_FIELDS, Overrides
from saferank.mappings.record import SafetyRecord


class KeptOverrides:
    """The overrides outside of the documents, read again when they may have changed.

    Args:
        client: connected.
        index: where they are kept.
    """

    def __init__(self, client: Elasticsearch, index: str) -> None:
        self._client = client
        self._index = index
        self._overrides = Overrides()
        self._aliases: dict[str, Sequence[str]] = {}
        self._read_at: float | None = None

    def renew(self) -> None:
        """Read them, unless that was done a moment ago.

        Raises:
            ServiceUnavailable: there is no such index; the documents wait until it is back.
        """
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < HOLDS:
            return
        try:
            self._overrides = read_overrides(self._client, self._index)
        except MappingError as error:
            raise ServiceUnavailable(str(error)) from error
        self._aliases.clear()
        self._read_at = now

    def copy_for(self, document: Document, record: SafetyRecord) -> dict[str, Any] | None:
        """What the document's own fields of people must say; None when that is left to people.

        Args:
            document: as it was read.
            record: its images as they are now.
        """
        if not len(self._overrides):
            return None
        found = self._overrides.find(self._names(document.index), document.key.id)
        if found is None:
            return None
        holds = found.holds_for([image.sha256 for image in record.images])
        return found.to_fields() if holds else NO_FIELDS

    def _names(self, index: str) -> Sequence[str]:
        """All names that an index is known by."""
        if index not in self._aliases:
            entries = self._client.indices.get_alias(index=index, ignore_unavailable=True).body
            self._aliases[index] = [index, *entries.get(index, {}).get("aliases", ())]
        return self._aliases[index]
