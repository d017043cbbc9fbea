"""What known pictures say of the images that are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from saferank.errors import MappingError, ServiceUnavailable
from saferank.indexer.documents import Document, Json, Scored
from saferank.mappings.fields import SafetyFields
from saferank.mappings.known import Near, match_of
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.paths import put_at
from saferank.mappings.record import ImageRecord, Match, Override, copies_fields


class Matches:
    """Looks images up among the known pictures.

    Args:
        known: where these are.
        fields: names of the safety fields, for each category.
        decided_in: the object that holds people's decisions. An allow says nothing about
            categories with another one; a block is about the document.
    """

    def __init__(self, known: KnownIndex, fields: Sequence[SafetyFields], decided_in: str) -> None:
        self._known = known
        self._first = fields[0].root
        self._allowing = {each.root for each in fields if each.override_object == decided_in}
        self._has = (True, True)
        self._as_of: int | None = None

    def changes(self) -> int:
        """The number of changes of the known pictures so far.

        Raises:
            ServiceUnavailable: there is no such index; the documents wait until it is back.
        """
        try:
            return self._known.changes()
        except MappingError as error:
            raise ServiceUnavailable(str(error)) from error

    def of(self, documents: Sequence[Sequence[ImageRecord]], changes: int) -> list[Match | None]:
        """What known pictures say of each document.

        Args:
            documents: the images of each.
            changes: as they were counted right before; what has no picture is not asked again
                before it changes.
        """
        if self._as_of != changes:
            self._has, self._as_of = self._known.has(), changes
        has_digests, has_hashes = self._has
        images = [image for document in documents for image in document]
        digests = [image.sha256 for image in images if image.sha256] if has_digests else []
        hashes = [image.pdq for image in images if image.pdq] if has_hashes else []
        known = self._known.with_digests(digests)
        near = self._known.near(hashes)
        return [
            match_of(
                [image.sha256 for image in document],
                known,
                _near_any([near.get(image.pdq or "", []) for image in document]),
            )
            for document in documents
        ]

    def matched(self, records: Sequence[Scored], changes: int) -> list[Scored]:
        """Records of documents with what known pictures say of them, see ``of``."""
        said = self.of([scored.record.images for scored in records], changes)
        return [
            replace(
                scored,
                record=replace(scored.record, match=self._about(self._first, match)),
                others={
                    root: replace(record, match=self._about(root, match))
                    for root, record in scored.others.items()
                },
            )
            for scored, match in zip(records, said, strict=True)
        ]

    def to_write(self, documents: Sequence[Document]) -> list[Json | None]:
        """What each document has to say otherwise of copies, in each category; mostly None.

        Args:
            documents: as they were read.
        """
        said = self.of([images_of(document) for document in documents], self.changes())
        return [
            self._to_write_in(document, match) or None
            for document, match in zip(documents, said, strict=True)
        ]

    def _to_write_in(self, document: Document, match: Match | None) -> Json:
        content: dict[str, Any] = {}
        records = {self._first: document.record, **document.other_records}
        for root, record in records.items():
            wanted = copies_fields(record.images, self._about(root, match))
            if record.images and any(record.values.get(key) != wanted[key] for key in wanted):
                put_at(content, root, wanted)
        return content

    def _about(self, root: str, match: Match | None) -> Match | None:
        """What of a match is about a category: an allow only where its people's decisions are."""
        allows = match is not None and match.decision is Override.ALLOW
        return None if allows and root not in self._allowing else match


def images_of(document: Document) -> tuple[ImageRecord, ...]:
    """What is stored of a document's images for any category that has looked at them."""
    records = [document.record, *document.other_records.values()]
    return next((one.images for one in records if one.images), ())


def _near_any(found: Sequence[Sequence[Near]]) -> list[Near]:
    return [one for near in found for one in near]
