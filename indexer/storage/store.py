"""Documents in Elasticsearch: reading them by their keys, and storing their scores.

What is stored of one document goes into it in one partial update: every category's record, what
known pictures say of its images, and its copy of a person's override where that was lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from elasticsearch import Elasticsearch

from saferank.indexer.documents import Document, Json, Scored, WriteResult, Written
from saferank.indexer.keys import DocumentKey
from saferank.indexer.operate import metrics
from saferank.indexer.storage.indices import Indices
from saferank.indexer.storage.matches import Matches, images_of
from saferank.indexer.storage.overrides import KeptOverrides
from saferank.indexer.storage.patience import Patience
from saferank.indexer.storage.reader import Reader
from saferank.indexer.storage.writer import Writer
from saferank.mappings.fields import SafetyFields
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.paths import nested, put_at
from saferank.settings import Settings

log = logging.getLogger(__name__)


class DocumentStore:
    """Documents of any index, their images and their scores.

    Args:
        client: connected.
        fields: names of the safety fields; of several categories, the first one's.
        image_field: source field with the image references.
        patience: seconds to keep trying while Elasticsearch is busy or away.
        overrides: those kept outside of the documents, whose copies are brought back; None when
            documents alone have them.
        others: names of the fields of further categories.
        matches: what known pictures say of images; None when decisions do not reach copies.
    """

    def __init__(
        self,
        client: Elasticsearch,
        fields: SafetyFields,
        image_field: str,
        *,
        patience: float = 60.0,
        overrides: KeptOverrides | None = None,
        others: Sequence[SafetyFields] = (),
        matches: Matches | None = None,
    ) -> None:
        every = (fields, *others)
        self._fields = fields
        self._patience = Patience(patience)
        self._overrides = overrides
        self._matches = matches
        self._indices = Indices(client, every, image_field)
        self._reader = Reader(client, self._indices, image_field, every)
        self._writer = Writer(client, self._indices, self._patience)

    @classmethod
    def of(
        cls, client: Elasticsearch, settings: Settings, fields: Iterable[str] | None = None
    ) -> DocumentStore:
        """What reads and writes documents as the settings say.

        Args:
            client: connected.
            settings: names of the fields.
            fields: the object fields of some categories, when not all of them are meant.
        """
        names = tuple(settings.model_by_field if fields is None else fields)
        every = [SafetyFields(name, settings.override_field) for name in names]
        first, *others = every
        # People decide about the first category, where the overrides that are kept are copied to.
        decided_in = SafetyFields.of(settings).override_object
        kept = None
        if first.override_object == decided_in and settings.overrides is not None:
            kept = KeptOverrides(client, settings.overrides)
        known = KnownIndex.of(client, settings)
        return cls(
            client,
            first,
            settings.image_field,
            patience=settings.indexer.store_patience,
            overrides=kept,
            others=others,
            matches=None if known is None else Matches(known, every, decided_in),
        )

    def read(
        self, index: str, keys: Sequence[DocumentKey]
    ) -> tuple[list[Document], list[DocumentKey]]:
        """Read the newest version of documents, also of those not yet searchable.

        Args:
            index: index, alias or data stream; it may lead to several indices.
            keys: the documents. One that several documents have, in several indices or under
                several routings, means all of them.

        Returns:
            The documents that exist, and the keys of those that do not.

        Raises:
            MappingError: there is no such index, or it cannot be read.
            IndexBlocked: the index refused writes before, and still does.
            ServiceUnavailable: Elasticsearch stayed busy or away for longer than ``patience``.
        """
        if not keys:
            return [], []
        with metrics.stage("read"):
            found = self._patience.call(index, lambda: self._reader.read(index, keys))
        documents, missing = found
        self._writer.check_accept(documents)
        return documents, missing

    def unready(self, index: str, documents: Iterable[Document]) -> dict[str, str]:
        """The concrete indices of documents that cannot take scores, each with the reason.

        Args:
            index: as the documents were read through.
            documents: as they were read.

        Raises:
            MappingError: one of them is gone.
            ServiceUnavailable: Elasticsearch stayed busy or away for longer than ``patience``.
        """
        places = {document.index: document.uuid for document in documents}
        reasons = {
            name: self._patience.call(index, partial(self._indices.why_not_ready, name, uuid))
            for name, uuid in places.items()
        }
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def write(
        self,
        index: str,
        records: Sequence[Scored],
        *,
        restamp: bool = False,
    ) -> list[WriteResult]:
        """Store records, in the order given.

        Args:
            index: as the documents were read through.
            records: the documents that were read, with what to store.
            restamp: write a new ``scored_at`` even if nothing else is new.

        Raises:
            IndexBlocked: the index refused writes for longer than ``patience``.
            ServiceUnavailable: Elasticsearch stayed busy or away for longer than ``patience``.
        """
        if not records:
            return []
        copies = self._patience.call(index, lambda: self._override_copies(records))
        changes, matched = self._patience.call(index, lambda: self._matched(records))
        documents = [scored.document for scored in matched]
        contents = [
            self._content(scored, copy) if restamp or copy or not scored.is_stored else None
            for scored, copy in zip(matched, copies, strict=True)
        ]
        written = self._writer.write(index, documents, contents)
        if (
            self._matches is not None
            and self._patience.call(index, self._matches.changes) != changes
        ):
            # Something was decided in between, maybe after its copies were looked for.
            self.match_again(index, [document.key for document in documents])
        return written

    def match_again(self, index: str, keys: Sequence[DocumentKey]) -> int:
        """Write anew what known pictures say of documents that were scored; nothing else changes.

        Args:
            index: index, alias or data stream.
            keys: the documents.

        Returns:
            How many had something else before.

        Raises:
            MappingError: there is no such index.
            IndexBlocked, ServiceUnavailable: as ``write``.
        """
        changed, pending = 0, list(keys)
        while self._matches is not None and pending:
            found, _ = self.read(index, pending)
            documents = [one for one in found if one.list_at is None and images_of(one)]
            contents = self._patience.call(index, partial(self._matches.to_write, documents))
            written = self._writer.write(index, documents, contents)
            changed += sum(one.written is Written.STORED for one in written)
            pending = []
            for document, one in zip(documents, written, strict=True):
                if one.written is Written.CHANGED:
                    pending.append(document.key)
                elif one.written is Written.REJECTED:
                    log.error("document %s is not matched: %s", document.key.id, one.reason)
        return changed

    def _override_copies(self, records: Sequence[Scored]) -> list[Json]:
        """What has to change in each document's copy of a person's override; mostly nothing."""
        return [{}] * len(records) if self._overrides is None else self._overrides.copies(records)

    def _matched(self, records: Sequence[Scored]) -> tuple[int, Sequence[Scored]]:
        """The changes of known pictures so far, and the records with what these say."""
        if self._matches is None:
            return 0, records
        changes = self._matches.changes()
        return changes, self._matches.matched(records, changes)

    def _content(self, scored: Scored, copy: Json) -> Json:
        """What to write of one document: every category in the same partial update."""
        stored: dict[str, Any] = nested(self._fields.root, scored.record.to_document())
        for root, record in scored.others.items():
            put_at(stored, root, record.to_document())
        if copy:
            put_at(stored, self._fields.override_object, copy)
        return stored
