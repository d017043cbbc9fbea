"""Bringing decisions to copies: what was decided about a document, or is in a list of pictures."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from elasticsearch import Elasticsearch

from saferank.indexer.bulk.pages import pages
from saferank.indexer.documents import Json
from saferank.indexer.keys import DocumentKey
from saferank.indexer.known_pictures import hashes_at
from saferank.indexer.storage.store import DocumentStore
from saferank.mappings.fields import SafetyFields
from saferank.mappings.known import DECISIONS, KnownPicture, turned
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.overrides import OverrideRecord
from saferank.mappings.record import ImageRecord, Override, reference_name
from saferank.settings import Settings

log = logging.getLogger(__name__)

_PAGE = 1000
_TRIES = 3
"""Documents with a picture that it is fetched from, one after the other."""
_SOONEST = timedelta(hours=1)
"""Until a picture that could not be had is fetched again."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Keeps documents at what known pictures say of them.

    Attributes:
        client: connected.
        known: the known pictures.
        store: reads and writes documents.
        fields: names of the safety fields.
        settings: limits of fetching and decoding.
    """

    client: Elasticsearch
    known: KnownIndex
    store: DocumentStore
    fields: SafetyFields
    settings: Settings

    @classmethod
    def of(cls, client: Elasticsearch, settings: Settings) -> Copies | None:
        """As the settings say; None where decisions are not to reach copies."""
        known = KnownIndex.of(client, settings)
        if known is None:
            return None
        store = DocumentStore.of(client, settings)
        return cls(client, known, store, SafetyFields.of(settings), settings)

    def decide(
        self,
        index: str,
        name: str,
        record: OverrideRecord | None,
        alone: ImageRecord | None = None,
    ) -> int:
        """Have copies obey a decision about a document, now and when they come later.

        May be done again at any time: what is as it must be is left alone.

        Args:
            index: index or alias whose documents follow at once; those of others when they are
                scored the next time, or by ``match_all``.
            name: of the document, the same whenever something is decided about it.
            record: what holds for it, with the digests of its images; None for nothing.
            alone: what is stored of the image that it was decided about, if the document has no
                other; by its PDQ hash altered copies are found, and once it was looked at
                (``look_closer``) those that are cropped, too.

        Returns:
            How many documents were changed.
        """
        digests = self.remember(name, record, alone)
        return self.match(index, self.sharing(digests)) if digests else 0

    def remember(
        self, name: str, record: OverrideRecord | None, alone: ImageRecord | None = None
    ) -> set[str]:
        """Note a decision for copies that come later; the arguments are those of ``decide``.

        Returns:
            The digests about which something was, or is, decided.
        """
        self.known.install()
        id = f"{DECISIONS}:{name}"
        before = self.known.get([id])
        digests = {digest for one in before for digest in one.digests}
        if record is None or not record.digests:
            self.known.remove([id] if before else [])
            return digests
        picture = KnownPicture(
            id, record.override, record.digests, by=record.by, at=record.at, reason=record.reason
        )
        if record.override is Override.BLOCK:
            picture = _with_looks(picture, before, alone)
        if [one.to_document() for one in before] != [picture.to_document()]:
            self.known.put([picture])
        return digests.union(record.digests)

    def look_closer(self, index: str, name: str | None = None) -> int:
        """Have blocks reach cropped copies, too, for which their pictures have to be fetched.

        Whoever decides does this right afterwards, and a sweep for all that was left then, because
        a process ended or a picture could not be had. Such a picture waits for an hour, and then
        each time for as long as it has waited so far.

        Args:
            index: index or alias whose documents have the pictures.
            name: of a decision, see ``decide``; unless given, all whose time has come, as many as
                there is time for in a task.

        Returns:
            How many pictures were looked at.
        """
        started, looked = time.monotonic(), 0
        found = (
            self.known.waiting(datetime.now(UTC))
            if name is None
            else self.known.get([f"{DECISIONS}:{name}"])
        )
        for picture in found:
            if time.monotonic() - started > self.settings.seconds_to_start:
                break
            if picture.look_after is not None:
                looked += self._look(index, picture)
        return looked

    def has_to_look(self, name: str) -> bool:
        """Whether a decision waits for its picture to be looked at."""
        return any(one.look_after is not None for one in self.known.get([f"{DECISIONS}:{name}"]))

    def _look(self, index: str, picture: KnownPicture) -> bool:
        """Look at a picture, and note what was seen, or when to look again."""
        (digest,) = picture.digests
        references = self._references(index, digest)
        if not references:
            return False  # The documents of another index have it.
        looks = (hashes_at(one, digest, self.settings) for one in references)
        hashes = next((one for one in looks if one is not None), None)
        now = datetime.now(UTC)
        later = now + max(_SOONEST, now - picture.at) if hashes is None else None

        def seen(stored: KnownPicture) -> KnownPicture | None:
            if stored.digests != picture.digests or stored.look_after is None:
                return None  # Something else was decided, or another process has looked.
            known = stored.hashes if hashes is None else hashes
            return replace(stored, hashes=known, look_after=later)

        self.known.change(picture.id, seen)
        return hashes is not None

    def _references(self, index: str, digest: str) -> list[str]:
        """What names the image with these bytes in some of the documents that have it."""
        hits = self.client.search(
            index=index,
            query=self.sharing([digest]),
            source=False,
            size=_TRIES,
            track_total_hits=False,
        )["hits"]["hits"]
        keys = [DocumentKey(hit["_id"], hit.get("_routing")) for hit in hits]
        documents, _ = self.store.read(index, keys)
        return [
            reference
            for document in documents
            for names in [{one.reference for one in document.record.images if one.sha256 == digest}]
            for reference in document.references
            if isinstance(reference, str) and reference_name(reference) in names
        ]

    def sharing(self, digests: Iterable[str]) -> Json:
        """A query for the documents that have an image with one of these digests."""
        return {"terms": {self.fields.digests: sorted(digests)}}

    def match(self, index: str, query: Json) -> int:
        """Write anew what known pictures say of documents that were scored, without a model.

        Args:
            index: index or alias.
            query: for the documents.

        Returns:
            How many documents were changed.
        """
        self.client.indices.refresh(index=index)
        return sum(
            self.store.match_again(index, [found.key for found in page])
            for page in pages(self.client, index, query, size=_PAGE)
        )

    def match_all(self, index: str) -> int:
        """The same for all documents that were scored, also by versions that kept no digests."""
        return self.match(index, {"exists": {"field": self.fields.status}})


def _with_looks(
    picture: KnownPicture, before: list[KnownPicture], alone: ImageRecord | None
) -> KnownPicture:
    """A picture to block, with the hashes that are known of it so far."""
    own = turned(alone.pdq) if alone is not None and alone.pdq else ()
    if before and before[0].digests == picture.digests and before[0].hashes:
        hashes = tuple(dict.fromkeys((*before[0].hashes, *own)))
        return replace(picture, hashes=hashes, look_after=before[0].look_after)
    # An empty hash says that there is too little in it for a closer look.
    worth_it = alone is not None and alone.pdq != ""
    return replace(picture, hashes=own, look_after=picture.at if worth_it else None)
