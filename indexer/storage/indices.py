"""Concrete indices: which one a name stands for now, and whether it can take scores.

An index may be deleted and made again under its name while its documents are being scored, in a
nightly rebuild say. A write into the new one would store scores of other documents, and where it
lacks the safety fields, Elasticsearch would guess their types, for good. Names do not tell the two
apart; their uuids do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from elasticsearch import ApiError, Elasticsearch, NotFoundError

from saferank.indexer.bulk.outages import BLOCK
from saferank.mappings import not_ready
from saferank.mappings.fields import SafetyFields


class Indices:
    """The concrete indices that documents are read from and written to.

    Args:
        client: connected.
        fields: names of the safety fields, for each category.
        image_field: source field with the image references.
    """

    def __init__(
        self, client: Elasticsearch, fields: Sequence[SafetyFields], image_field: str
    ) -> None:
        self._client = client
        self._fields = fields
        self._image_field = image_field
        self._ready: set[str] = set()
        self._seen: dict[str, str] = {}

    def seen(self, name: str) -> dict[str, str]:
        """The concrete indices that were seen so far, each with the uuid that it had last.

        What is read now is of an index with the uuid seen before if it has that uuid later, too:
        no two indices ever have the same. So this asks only where ``name`` is new.

        Raises:
            elasticsearch.ApiError: the name leads nowhere.
        """
        if name not in self._seen:
            self.uuids([name])
        return self._seen.copy()  # Other threads may see more before it is used.

    def uuids(self, names: Iterable[str]) -> dict[str, str]:
        """The concrete indices that names lead to now, each with its uuid.

        Raises:
            elasticsearch.ApiError: a name leads nowhere.
        """
        found = self._client.indices.get_settings(
            index=list(names), name="index.uuid", flat_settings=True
        )
        uuids = {name: entry["settings"]["index.uuid"] for name, entry in found.items()}
        self._seen |= uuids
        return uuids

    def uuids_of_those_there(self, names: Iterable[str]) -> dict[str, str]:
        """The uuids of concrete indices; those that are gone are not among them."""
        found: dict[str, str] = {}
        for name in set(names):
            with suppress(NotFoundError):
                found |= self.uuids([name])
        return found

    def leads_to(self, name: str, index: str) -> bool:
        """Whether a name leads to a concrete index now."""
        return name == index or index in self.blocks(name)

    def blocks(self, name: str) -> dict[str, list[str]]:
        """The concrete indices that a name leads to, each with its blocks."""
        try:
            found = self._client.indices.get_settings(
                index=name, name="index.blocks.*,index.uuid", flat_settings=True
            )
        except ApiError as error:
            return {name: [BLOCK]} if error.error == BLOCK else {}
        return {
            index: [
                setting
                for setting, value in entry["settings"].items()
                if setting.startswith("index.blocks.") and value == "true"
            ]
            for index, entry in found.items()
        }

    def why_not_ready(self, name: str, uuid: str) -> str | None:
        """Why an index cannot take scores; None when it can.

        A mapping that is right stays so: fields are added to it and never taken away.

        Raises:
            MappingError: it is gone.
        """
        if uuid in self._ready:
            return None
        for fields in self._fields:
            reasons = not_ready(self._client, name, fields, image_field=self._image_field)
            if reasons:
                return reasons.get(name)
        self._ready.add(uuid)
        return None
