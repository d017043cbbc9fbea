"""What known pictures say of the images that are scored."""

from __future__ import annotations

from collections.abc import Sequence

from saferank.errors import MappingError, ServiceUnavailable
from saferank.mappings.known import Near, match_of
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.record import ImageRecord, Match


class Matches:
    """Looks images up among the known pictures.

    Args:
        known: where these are.
    """

    def __init__(self, known: KnownIndex) -> None:
        self._known = known
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


def _near_any(found: Sequence[Sequence[Near]]) -> list[Near]:
    return [one for near in found for one in near]
