"""From documents to records: fetch, decode, batch through the model. Stores nothing.

What does the fetching, decoding and classifying is passed in, so this knows no network,
no Elasticsearch and no Celery.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import MappingProxyType

from PIL import Image

from saferank.errors import ErrorCode
from saferank.indexer.documents import Document, Scored
from saferank.indexer.score.category_results import CategoryResults, FoundImage
from saferank.indexer.score.crew import Crew
from saferank.indexer.score.fetching import Fetching
from saferank.indexer.score.image_scorer import ImageScorer
from saferank.indexer.score.interfaces import (
    CategoryModel,
    Classifier,
    DecodedImage,
    FetchedImage,
    FirstPass,
    Guard,
    Known,
    KnownImages,
)
from saferank.mappings.record import ImageRecord, SafetyRecord, reference_name
from saferank.models.frames import HIGHEST


class Pipeline:
    """Scores documents.

    Args:
        model: gives the probabilities.
        fetch: reference → bytes; raises ImageError.
        decode: bytes → frames; raises ImageError.
        fetch_again: reference and what is known of the image → bytes, or None when it has not
            changed; None to fetch everything again.
        batch_size: frames in one call of the model.
        fetch_threads: images fetched at once.
        lane: what a reference shares with others that are slow or away with it: its host; None
            for one that has the bytes in itself, which no thread need wait for.
        lane_width: images fetched at once in one lane.
        max_images: of one document; those beyond fail.
        time_of_image: seconds that fetching one takes at most.
        first: a cheap look at every image; None to look at all exactly.
        frames: how the frames of an image make one probability, see ``models.frames``.
        digests: what is known of images by their bytes; None to keep nothing.
        others: the models of further categories, by their object field. An image is fetched once
            and decoded once for all of them.
        pdq_of: upright picture → PDQ hash, empty for one with too little in it; None to make none.
        threads: that decode images and run nets at once; with one, the thread that asks does it.
    """

    def __init__(
        self,
        model: Classifier,
        fetch: Callable[[str], FetchedImage],
        decode: Callable[[bytes], DecodedImage],
        *,
        fetch_again: Callable[[str, ImageRecord], FetchedImage | None] | None = None,
        batch_size: int = 16,
        fetch_threads: int = 8,
        lane: Callable[[str], str | None] = lambda reference: "",
        lane_width: int = 8,
        max_images: int = 256,
        time_of_image: float = 20.0,
        first: FirstPass | None = None,
        frames: str = HIGHEST,
        digests: KnownImages | None = None,
        others: Mapping[str, CategoryModel] | None = None,
        pdq_of: Callable[[Image.Image], str] | None = None,
        threads: int = 1,
    ) -> None:
        self.model = model
        self._models = (CategoryModel(model, first, frames), *(others or {}).values())
        self._other_fields = tuple(others or {})
        self._fetching = Fetching(
            fetch,
            fetch_again,
            lane,
            threads=fetch_threads,
            lane_width=lane_width,
            time_of_image=time_of_image,
        )
        self._decode = decode
        self._batch_size = batch_size
        self._max_images = max_images
        self._digests = digests
        self._pdq_of = pdq_of
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "score") if threads > 1 else None

    @property
    def identity(self) -> str:
        """Of the model; of several, the first."""
        return self.model.identity

    @property
    def other_identities(self) -> Mapping[str, str]:
        """Of the models of further categories, by their object field."""
        others = zip(self._other_fields, self._models[1:], strict=True)
        return {name: other.model.identity for name, other in others}

    def score(
        self,
        documents: Sequence[Document],
        *,
        known: Known = MappingProxyType({}),
        guard: Guard | None = None,
        force: bool = False,
    ) -> list[Scored]:
        """Score documents; a bad image fails its own document and no other.

        Images whose bytes are known already, from the documents or from ``known``, do not go
        through the model again.

        Args:
            documents: as they were read.
            known: further records of images that were scored, by the identity of the model.
            guard: if given, each image is decoded and scored alone inside it.
            force: forget what the documents say about their images.
        """
        groups = self.stream(documents, known=known, guard=guard, force=force)
        scored = {place: one for group in groups for place, one in group.items()}
        return [scored[place] for place in range(len(documents))]

    def stream(
        self,
        documents: Sequence[Document],
        *,
        known: Known = MappingProxyType({}),
        guard: Guard | None = None,
        force: bool = False,
        until: float = math.inf,
        not_before: datetime | None = None,
    ) -> Iterator[dict[int, Scored]]:
        """Score documents as ``score`` does, and give them as they are done.

        With a time in ``until``, not all may come: no image is fetched any more after it, nor when
        one lane is left of several and is slow. At least one document comes; its images that were
        not fetched fail as ``timeout`` then.

        Args:
            documents: as they were read.
            known: further records of images that were scored, by the identity of the model.
            guard: if given, each image is fetched, decoded and scored alone inside it.
            force: forget what the documents say about their images.
            until: on the monotonic clock.
            not_before: the earliest time to give as that of scoring, whatever the clock says.

        Yields:
            The outcomes by the documents' places.
        """
        now = datetime.now(UTC)
        scored_at = now if not_before is None else max(now, not_before)
        images = {} if force else _lost(documents)
        scorer = self._scorer(known, images, guard, force=force)
        earlier: list[ImageRecord] = []
        if not force:
            for document in documents:
                stored = (document.record, *map(document.other_records.get, self._other_fields))
                pairs = zip(scorer.categories, stored, strict=True)
                first, *_ = [each.reusable(one) for each, one in pairs]
                earlier += first
        unchanging = [
            one for one in earlier if all(one.sha256 in each.known for each in scorer.categories)
        ]
        waiting = dict(enumerate(documents))

        def finished(places: Iterable[int]) -> dict[int, Scored]:
            scorer.flush()
            done = {
                place: self._assemble(waiting.pop(place), images, scorer.categories, scored_at)
                for place in places
            }
            self._keep(done.values(), scorer.categories)
            return done

        def complete() -> list[int]:
            return [
                place
                for place, document in waiting.items()
                if self._wanted([document]).keys() <= images.keys()
            ]

        wanted = {name: None for name in self._wanted(documents) if name not in images}
        for fetched in self._fetching.arrivals(
            wanted, unchanging, lambda: len(waiting), guard=guard, until=until
        ):
            if fetched is not None:
                scorer.take(*fetched)
                continue
            scorer.settle()
            if places := complete():
                yield finished(places)
        scorer.flush()
        places = complete()
        if not places and len(waiting) == len(documents):
            places = list(waiting)[:1]
        if places:
            yield finished(places)

    def _scorer(
        self, known: Known, images: dict[str, FoundImage], guard: Guard | None, *, force: bool
    ) -> ImageScorer:
        # Inside a guard all is done by the thread that entered it.
        pool = None if guard is not None else self._pool
        return ImageScorer(
            self._models,
            known,
            images,
            size=self._batch_size,
            crew=Crew(pool, 2 * self._threads),
            decode=self._decode,
            pdq_of=self._pdq_of,
            kept=None if force else self._digests,
            guard=guard,
        )

    def _keep(self, scored: Iterable[Scored], categories: Sequence[CategoryResults]) -> None:
        """Keep what was learned of images by their digests."""
        if self._digests is None:
            return
        for nth, each in enumerate(categories):
            records = (image for one in scored for image in one.records[nth].images)
            new = {one.sha256: one for one in records if one.sha256 in each.digests}
            self._digests.keep(each.identity, new.values())

    def _wanted(self, documents: Iterable[Document]) -> dict[str, None]:
        """All that may name an image, each once, in order."""
        return dict.fromkeys(
            reference
            for document in documents
            for reference in document.references[: self._max_images]
            if isinstance(reference, str)
        )

    def _assemble(
        self,
        document: Document,
        images: Mapping[str, FoundImage],
        categories: Sequence[CategoryResults],
        scored_at: datetime,
    ) -> Scored:
        own = [
            self._own(images, place, reference)
            for place, reference in enumerate(document.references)
        ]
        records = [
            SafetyRecord(each.identity, scored_at, tuple(map(each.record_of, own)))
            for each in categories
        ]
        asked = [
            image.retry_after
            for record in records
            for image, found in zip(own, record.images, strict=True)
            if found.error is not None and found.error.transient
        ]
        through = {
            image.sha256
            for each, record in zip(categories, records, strict=True)
            for image in record.images
            if image.sha256 in each.digests
        }
        first, *others = records
        return Scored(
            document,
            first,
            inferred=len(through),
            transient=bool(asked),
            retry_after=max((wait for wait in asked if wait is not None), default=None),
            others=dict(zip(self._other_fields, others, strict=True)),
        )

    def _own(self, images: Mapping[str, FoundImage], place: int, reference: object) -> FoundImage:
        """What became of one of a document's references."""
        name = reference_name(reference)
        if place >= self._max_images:
            return FoundImage(
                name,
                error=ErrorCode.TOO_MANY_IMAGES,
                cause=f"only {self._max_images} images of a document are looked at; see "
                "indexer.max_images",
            )
        if not isinstance(reference, str):
            # A value that is no text names no image, and must not pass for "no image".
            return FoundImage(
                name,
                error=ErrorCode.UNSUPPORTED_REFERENCE,
                cause=f"a reference must be text and is {type(reference).__name__}",
            )
        return images.get(reference) or FoundImage(
            name,
            error=ErrorCode.TIMEOUT,
            cause="its task had no time left to fetch it; see indexer.time_limit",
        )


def _lost(documents: Iterable[Document]) -> dict[str, FoundImage]:
    """Images that crashed workers when they were fetched, so that nobody knows their bytes."""
    lost = {
        image.reference: image.cause
        for document in documents
        for stored in (document.record, *document.other_records.values())
        for image in stored.images
        if image.error is ErrorCode.WORKER_LOST and image.sha256 is None
    }
    references = (one for document in documents for one in document.references)
    return {
        one: FoundImage(name, error=ErrorCode.WORKER_LOST, cause=lost[name])
        for one in references
        if isinstance(one, str) and (name := reference_name(one)) in lost
    }
