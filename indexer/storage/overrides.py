"""What people decided about the documents that are scored, from the index of overrides."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from elasticsearch import Elasticsearch

from saferank.errors import MappingError, ServiceUnavailable
from saferank.indexer.documents import Json, Scored
from saferank.mappings.override_index import read_overrides
from saferank.mappings.overrides import HOLDS, NO_FIELDS, Overrides

log = logging.getLogger(__name__)


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

    def copies(self, records: Sequence[Scored]) -> list[Json]:
        """What has to change in each document's own fields of people; mostly nothing.

        Args:
            records: the documents as they were read, with their images as they are now.

        Raises:
            ServiceUnavailable: there is no index of overrides; the documents wait for it.
        """
        self._renew()
        return [self._copy(scored) for scored in records]

    def _copy(self, scored: Scored) -> Json:
        document = scored.document
        wanted = self._wanted(scored)
        if all(document.override.get(name) == value for name, value in wanted.items()):
            return {}
        log.warning(
            "document %s gets its override back: %s",
            document.key.id,
            wanted["override"] or "none, since it allowed other images",
            extra={"document": document.key.id},
        )
        return wanted

    def _wanted(self, scored: Scored) -> Json:
        """What the document's fields of people must say; empty when that is left to people."""
        document = scored.document
        if not len(self._overrides):
            return {}
        found = self._overrides.find(self._names(document.index), document.key.id)
        if found is None:
            return {}
        holds = found.holds_for([image.sha256 for image in scored.record.images])
        return found.to_fields() if holds else NO_FIELDS

    def _renew(self) -> None:
        """Read the overrides, unless that was done a moment ago."""
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < HOLDS:
            return
        try:
            self._overrides = read_overrides(self._client, self._index)
        except MappingError as error:
            raise ServiceUnavailable(str(error)) from error
        self._aliases.clear()
        self._read_at = now

    def _names(self, index: str) -> Sequence[str]:
        """All names that an index is known by."""
        if index not in self._aliases:
            entries = self._client.indices.get_alias(index=index, ignore_unavailable=True).body
            self._aliases[index] = [index, *entries.get(index, {}).get("aliases", ())]
        return self._aliases[index]
