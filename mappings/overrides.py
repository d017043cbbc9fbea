"""People's overrides, kept where no write of an application reaches them.

``safety.override`` in a document is a copy: whoever writes the whole document anew drops it. What
holds is one document of an index of its own, with every override in it. Searches leave out what
it blocks, whether or not a document still says so, and the indexer brings the copy back when it
scores the document. ``override_index`` reads and changes it.

One document, because a search must know all of it, and because reading one by its id shows the
newest version at once. It is meant for thousands of overrides rather than millions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from saferank.errors import MappingError
from saferank.mappings.paths import values_at
from saferank.mappings.record import Override

HOLDS = 1.0
"""Seconds for which a reader may go by what it has read; then an override is in force."""
DOCUMENT = "overrides"
"""Id of the document that has them all."""
MOST = 10_000
"""Most overrides that one index may have: each search carries the blocked ids."""


@dataclass(frozen=True, slots=True)
class OverrideRecord:
    """What a person decided about a document.

    Attributes:
        override: ``allow`` or ``block``.
        by: who decided.
        at: when, with a time zone.
        reason: why, if it was said.
        digests: SHA-256 of the images that the person saw; an ``allow`` holds for no others.
    """

    override: Override
    by: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    reason: str | None = None
    digests: tuple[str, ...] = ()

    def holds_for(self, digests: Sequence[str | None]) -> bool:
        """Whether it holds for a document with these images; None is one that nobody has seen."""
        return self.override is Override.BLOCK or set(digests) <= set(self.digests)

    def bound_to(self, digests: Sequence[str]) -> OverrideRecord:
        """The same for a document with these images."""
        return replace(self, digests=tuple(digests))

    def to_fields(self) -> dict[str, Any]:
        """The copy in the document, by the names of its fields."""
        return {
            "override": self.override.value,
            "override_by": self.by,
            "override_at": self.at.isoformat(timespec="milliseconds"),
            "override_reason": self.reason,
        }

    def to_document(self) -> dict[str, Any]:
        """The JSON object to store."""
        return {**self.to_fields(), "digests": list(self.digests)}

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> OverrideRecord:
        """Read a stored object back; what is no ``allow`` is a block."""
        allowed = values["override"] == Override.ALLOW
        return cls(
            override=Override.ALLOW if allowed else Override.BLOCK,
            by=values["override_by"],
            at=datetime.fromisoformat(values["override_at"]),
            reason=values["override_reason"],
            digests=tuple(values["digests"]),
        )


def override_in(source: Mapping[str, Any], override_object: str) -> OverrideRecord | None:
    """The override that a document has, whoever wrote it; what is no ``allow`` is a block.

    Args:
        source: of the document.
        override_object: path of the object that holds people's decisions.
    """
    values = {name: list(values_at(source, f"{override_object}.{name}")) for name in NO_FIELDS}
    if not values["override"]:
        return None
    allowed = set(map(str, values["override"])) == {Override.ALLOW.value}
    by, reason = (next(iter(values[name]), None) for name in ("override_by", "override_reason"))
    return OverrideRecord(
        Override.ALLOW if allowed else Override.BLOCK,
        "unknown" if by is None else str(by),
        _time(next(iter(values["override_at"]), None)),
        None if reason is None else str(reason),
    )


def _time(value: object) -> datetime:
    """A stored time; without a zone it is in UTC, and what nobody can read is long ago."""
    try:
        time = datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return datetime(1970, 1, 1, tzinfo=UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


NO_FIELDS: dict[str, Any] = dict.fromkeys(
    ("override", "override_by", "override_at", "override_reason")
)
"""The copy in a document of an override that is no more, or does not hold for its images."""


@dataclass(frozen=True)
class Overrides:
    """All overrides, as they were read.

    Attributes:
        of: name of an index or alias -> id of a document -> what was decided.
    """

    of: Mapping[str, Mapping[str, OverrideRecord]] = field(default_factory=dict)

    @classmethod
    def from_document(cls, source: Mapping[str, Any]) -> Overrides:
        """Read the stored document back."""
        return cls(
            {
                name: {id: OverrideRecord.from_document(one) for id, one in documents.items()}
                for name, documents in source["of"].items()
            }
        )

    def to_document(self) -> dict[str, Any]:
        """The document to store."""
        return {
            "of": {
                name: {id: one.to_document() for id, one in documents.items()}
                for name, documents in self.of.items()
                if documents
            }
        }

    def __len__(self) -> int:
        return sum(map(len, self.of.values()))

    @cached_property
    def blocked(self) -> dict[str, list[str]]:
        """By name of an index or alias, the ids of the documents that are blocked, in order."""
        found = {
            name: sorted(id for id, one in documents.items() if one.override is Override.BLOCK)
            for name, documents in self.of.items()
        }
        return {name: ids for name, ids in found.items() if ids}

    def find(self, names: Sequence[str], id: str) -> OverrideRecord | None:
        """The override of a document, under any of the names of its index; a block comes first."""
        found = [self.of[name][id] for name in names if id in self.of.get(name, ())]
        return min(found, key=lambda one: one.override is not Override.BLOCK, default=None)


def changed_document(
    source: Mapping[str, Any], name: str, id: str, record: OverrideRecord | None
) -> dict[str, Any]:
    """The stored document of all overrides with another one of a document, or without it.

    The others stay as they stand: a newer version of saferank may have made them.

    Args:
        source: the stored document.
        name: of an index or alias.
        id: of the document that the override is of.
        record: what was decided; None takes it back.
    """
    documents = {one: values for one, values in source["of"].get(name, {}).items() if one != id}
    if record is not None:
        documents[id] = record.to_document()
    of = {**source["of"], name: documents}
    return {**source, "of": {index: found for index, found in of.items() if found}}


def no_overrides(index: str) -> MappingError:
    """The error where there is no index of overrides, and so nothing is known of them."""
    return MappingError(
        f"there are no overrides in index {index!r}, so what people blocked is not known; make it "
        "with 'saferank override install', or restore it"
    )
