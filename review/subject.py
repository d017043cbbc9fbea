"""A document as reviewers see it, without an engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saferank.mappings.fields import SafetyFields
from saferank.mappings.overrides import OverrideRecord, override_in
from saferank.mappings.paths import values_at
from saferank.mappings.record import ImageRecord, StoredRecord, reference_name
from saferank.review.entries import Item

_LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a document.

    Attributes:
        place: among the document's images, from 0.
        reference: how the document names it.
        record: what is stored about it, if anything is.
    """

    place: int
    reference: object
    record: ImageRecord | None = None

    @property
    def name(self) -> str:
        """The reference as it can be shown."""
        return reference_name(self.reference)[:_LONGEST_TEXT]

    @property
    def title(self) -> str:
        """The same in short, for people: of a data URI its beginning alone."""
        name = self.name
        return f"{name[:60].partition(',')[0]},…" if name.startswith("data:") else name

    @property
    def frames(self) -> int:
        """How many frames there are to look at, at least one."""
        known = None if self.record is None else self.record.frames
        return known if isinstance(known, int) and known > 0 else 1


@dataclass(frozen=True, slots=True)
class Subject:
    """What there is to see and to know of an item.

    Attributes:
        item: the item.
        pictures: its images, in the document's order.
        probability: as stored, or None.
        model: what it came from, or None.
        status: of the score, or None.
        error: why there is no probability, or None.
        fields: name and text of what else reviewers are shown.
        override: in the document, whoever made it.
    """

    item: Item
    pictures: tuple[Picture, ...]
    probability: float | None = None
    model: str | None = None
    status: str | None = None
    error: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    override: OverrideRecord | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of the images that it was scored by."""
        records = (picture.record for picture in self.pictures)
        return tuple(sorted({one.sha256 for one in records if one is not None and one.sha256}))

    @property
    def version(self) -> str:
        """Another one when there are other images to see."""
        seen = [[picture.name for picture in self.pictures], self.digests]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    @classmethod
    def of(
        cls,
        item: Item,
        source: Mapping[str, Any],
        fields: SafetyFields,
        image_field: str,
        show_fields: Sequence[str] = (),
    ) -> Subject:
        """Read a document.

        Args:
            item: which it is.
            source: its source; whatever stands there, nothing is raised.
            fields: names of the safety fields.
            image_field: source field with the image references.
            show_fields: source fields that reviewers are shown.
        """
        stored: object = next(values_at(source, fields.root), {})
        values = stored if isinstance(stored, Mapping) else {}
        records = {record.reference: record for record in StoredRecord(values).images}
        references = list(values_at(source, image_field))
        shown = {name: list(values_at(source, name)) for name in show_fields}
        return cls(
            item,
            tuple(
                Picture(place, reference, records.get(reference_name(reference)))
                for place, reference in enumerate(references)
            ),
            probability=_number(values.get("probability")),
            model=_text(values.get("model")),
            status=_text(values.get("status")),
            error=_text(values.get("error")),
            fields={
                name: ", ".join(map(str, found))[:_LONGEST_TEXT]
                for name, found in shown.items()
                if found
            },
            override=override_in(source, fields.override_object),
        )


def _number(value: object) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain else None  # type: ignore[arg-type]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
