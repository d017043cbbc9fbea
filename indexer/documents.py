"""A document as the indexer reads it, what scoring it gave, and what became of storing that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from saferank.indexer.keys import DocumentKey
from saferank.mappings.record import SafetyRecord, StoredRecord, reference_name

Json = Mapping[str, Any]
"""A JSON object that is only read: a query, a hit, a mapping. What is built is ``dict``."""


@dataclass(frozen=True)
class Document:
    """A document as read from an index.

    Attributes:
        key: id and routing.
        references: the images it refers to; anything but text is kept as it is, to be refused.
        stored: the indexer's own fields as they are stored; empty when it was never scored. Of
            several categories, those of the first.
        override: people's fields as they are stored, of the same category.
        seq_no: the version that was read; a write is conditional on it.
        primary_term: as ``seq_no``.
        index: the concrete index that it was read from.
        uuid: of that index, which tells it from a later one of the same name.
        list_at: where it has a list on the way to the object for the score, if it has one; it
            is not to be written then, since that would replace the list.
        others: the indexer's own fields of further categories, by their object field.
    """

    key: DocumentKey
    references: tuple[object, ...]
    stored: Json = field(default_factory=dict)
    override: Json = field(default_factory=dict)
    seq_no: int = 0
    primary_term: int = 1
    index: str = ""
    uuid: str = ""
    list_at: str | None = None
    others: Mapping[str, Json] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, DocumentKey]:
        """What tells it from all others, also from one of the same id in another index."""
        return self.index, self.key

    @property
    def reference_names(self) -> list[str]:
        """Its references in the form in which they are stored."""
        return [reference_name(reference) for reference in self.references]

    @cached_property
    def record(self) -> StoredRecord:
        """What is stored, to be read by name; read once, since it is asked often."""
        return StoredRecord(self.stored)

    @cached_property
    def other_records(self) -> Mapping[str, StoredRecord]:
        """What is stored for further categories, by their object field."""
        return {name: StoredRecord(stored) for name, stored in self.others.items()}


@dataclass(frozen=True, slots=True)
class Scored:
    """The outcome for one document.

    Attributes:
        document: as it was read.
        record: what to store; of several categories, for the first.
        inferred: number of its images that went through a model now.
        transient: whether trying again may help; the record then holds what is known so far.
        retry_after: seconds that a server asked to wait, if one did.
        others: what to store for further categories, by their object field.
    """

    document: Document
    record: SafetyRecord
    inferred: int = 0
    transient: bool = False
    retry_after: float | None = None
    others: Mapping[str, SafetyRecord] = field(default_factory=dict)

    @property
    def records(self) -> tuple[SafetyRecord, ...]:
        """What to store, for each category."""
        return self.record, *self.others.values()

    @property
    def is_stored(self) -> bool:
        """Whether the document says already what is to be stored, but for the time."""
        there = self.document.other_records
        return self.document.record.says(self.record) and all(
            name in there and there[name].says(record) for name, record in self.others.items()
        )


class Written(Enum):
    """What became of a write."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    """The same was stored already."""
    CHANGED = "changed"
    """The document is another version by now, or in another index; read it again."""
    DELETED = "deleted"
    REJECTED = "rejected"
    """Elasticsearch will not take it, whatever the score."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The outcome for one document, with Elasticsearch's reason when it was rejected."""

    written: Written
    reason: str | None = None
