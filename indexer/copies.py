"""Bringing decisions to copies: what was decided about a document, or is in a list of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from elasticsearch import Elasticsearch

from saferank.indexer.documents import Json
from saferank.indexer.keys import DocumentKey
from saferank.indexer.known_pictures import hashes_at
from saferank.indexer.score.select import pages
from saferank.indexer.score.store import DocumentStore
from saferank.mappings.fields import SafetyFields
from saferank.mappings.known import DECISIONS, KnownPicture
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.overrides import OverrideRecord
from saferank.mappings.record import ImageRecord, Override, reference_name
from saferank.settings import Settings

_PAGE = 1000


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
        hashes: Sequence[str] = (),
    ) -> int:
        """Have copies obey a decision about a document, now and when they come later.

        May be done again at any time: what is as it must be is left alone.

        Args:
            index: index or alias whose documents follow at once; those of others when they are
                scored the next time, or by ``match_all``.
            name: of the document, the same whenever something is decided about it.
            record: what holds for it, with the digests of its images; None for nothing.
            hashes: PDQ hashes by which copies are found, if the document has one image alone;
                those that were noted for the same image before are kept.

        Returns:
            How many documents were changed.
        """
        digests = self.remember(name, record, hashes)
        return self.match(index, self.sharing(digests)) if digests else 0

    def remember(
        self, name: str, record: OverrideRecord | None, hashes: Sequence[str] = ()
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
        blocks = record.override is Override.BLOCK
        kept = _noted(before, record)
        picture = KnownPicture(
            id,
            record.override,
            record.digests,
            tuple(dict.fromkeys((*kept, *hashes))) if blocks else (),
            by=record.by,
            at=record.at,
            reason=record.reason,
        )
        if [one.to_document() for one in before] != [picture.to_document()]:
            self.known.put([picture])
        return digests.union(record.digests)

    def noted(self, name: str, record: OverrideRecord) -> tuple[str, ...]:
        """The hashes that were noted for a decision about the same images; see ``decide``."""
        return _noted(self.known.get([f"{DECISIONS}:{name}"]), record)

    def look(self, index: str, key: DocumentKey, image: ImageRecord) -> tuple[str, ...]:
        """The hashes by which altered copies of a document's image are found; see ``hashes_at``.

        Args:
            index: index or alias of the document.
            key: of the document.
            image: what is stored of it.
        """
        documents, _ = self.store.read(index, [key])
        references = (one for document in documents for one in document.references)
        for reference in references:
            if isinstance(reference, str) and reference_name(reference) == image.reference:
                return hashes_at(reference, image.sha256 or "", self.settings)
        return ()

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


def _noted(found: Sequence[KnownPicture], record: OverrideRecord) -> tuple[str, ...]:
    return found[0].hashes if found and found[0].digests == record.digests else ()
