"""From bytes that were fetched to what is known of the image: decode it, send it through nets."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from saferank.errors import ErrorCode, ImageError, ServiceUnavailable
from saferank.indexer.operate import metrics
from saferank.indexer.score.batches import Batches, Wanted, by_net
from saferank.indexer.score.category_results import (
    CategoryResults,
    FoundImage,
    ImageFacts,
    failed_image,
)
from saferank.indexer.score.crew import Crew
from saferank.indexer.score.interfaces import (
    Array,
    CategoryModel,
    DecodedImage,
    FetchedOrError,
    Guard,
    Known,
    KnownImages,
)
from saferank.mappings.record import ImageRecord, reference_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ready:
    """An image that was decoded, for the nets that want to know about it.

    Attributes:
        facts: what decoding says of it.
        smaller: whether that was decoded to smaller pictures, for a first pass.
        blobs: for each of those nets, what it takes, or why it cannot.
    """

    facts: ImageFacts
    smaller: bool
    blobs: Sequence[list[tuple[int, Array]] | Exception]


@dataclass(frozen=True, slots=True)
class _NewImage:
    """An image to look at.

    Attributes:
        reference: that led to it.
        found: what is known of it already.
        sha256: of its bytes.
        data: its bytes.
        nets: that look at it, each with the categories that want to know about it.
        unhashed: categories that know its probability and want only its PDQ hash.
    """

    reference: str
    found: FoundImage
    sha256: str
    data: bytes
    nets: Sequence[tuple[Batches, list[CategoryResults]]]
    unhashed: Sequence[CategoryResults]

    @property
    def categories(self) -> list[CategoryResults]:
        """All that wait for its probability."""
        return [each for _, categories in self.nets for each in categories]


class ImageScorer:
    """From what was fetched to what the nets say of it, in one call of ``Pipeline.stream``.

    Attributes:
        categories: what becomes of the images in each category.
        images: what each reference led to, as far as that is known.
    """

    def __init__(
        self,
        models: Sequence[CategoryModel],
        known: Known,
        images: dict[str, FoundImage],
        *,
        size: int,
        crew: Crew,
        decode: Callable[[bytes], DecodedImage],
        pdq_of: Callable[[Image.Image], str] | None,
        kept: KnownImages | None,
        guard: Guard | None,
    ) -> None:
        self.categories = [
            CategoryResults(one, known.get(one.model.identity, ())) for one in models
        ]
        self.images = images
        self._crew = crew
        self._decode = decode
        self._pdq_of = pdq_of
        self._kept = kept
        self._guard = guard
        self._nets = [
            Batches(
                models[places[0]], [self.categories[one] for one in places], size, crew, self._whole
            )
            for places in by_net(models)
        ]

    def take(self, reference: str, fetched: FetchedOrError) -> None:
        """Name the bytes that a reference led to, and look at them unless they are known.

        Raises:
            ServiceUnavailable: the guard cannot take notes.
        """
        name = reference_name(reference)
        if isinstance(fetched, Exception):
            self.images[reference] = failed_image(fetched, name)
            return
        if isinstance(fetched, ImageRecord):
            version = fetched.etag, fetched.last_modified
            self.images[reference] = FoundImage(name, fetched.sha256, *version)
            return
        sha256 = hashlib.sha256(fetched.data).hexdigest()
        found = FoundImage(name, sha256, fetched.etag, fetched.last_modified)
        nets = self._nets_without(sha256)
        unhashed = [each for each in self.categories if self._lacks_pdq(each.known.get(sha256))]
        if not nets and not unhashed:
            self.images[reference] = found
            return
        new = _NewImage(reference, found, sha256, fetched.data, nets, unhashed)
        for each in new.categories:
            each.take(sha256)
        self._crew.await_room()
        if self._guard is None:
            self._begin(new)
            return
        try:
            with self._guard(sha256):
                self._begin(new)
                self.flush()
        except ServiceUnavailable:
            raise
        except Exception as error:
            self._fail(new, error)

    def _nets_without(self, sha256: str) -> list[tuple[Batches, list[CategoryResults]]]:
        """The nets that are to look at an image, each with the categories that do not know it."""
        nets = [
            (net, [each for each in net.categories if not each.knows(sha256, self._kept)])
            for net in self._nets
        ]
        return [(net, categories) for net, categories in nets if categories]

    def _begin(self, new: _NewImage) -> None:
        """Have an image decoded, and then handed to its nets."""
        self._crew.do(lambda: self._prepare(new), lambda ready: self._add(new, ready))

    def _prepare(self, new: _NewImage) -> _Ready | Exception:
        """Decode an image for its nets, or say why that fails; in any thread."""
        try:
            return self._ready(new.data, [net for net, _ in new.nets])
        except Exception as error:
            return error

    def _add(self, new: _NewImage, ready: _Ready | Exception) -> None:
        """Hand what was decoded to the nets."""
        self.images[new.reference] = new.found
        if isinstance(ready, Exception):
            self._fail(new, ready)
            return
        for each in new.unhashed:
            each.known[new.sha256] = replace(each.known[new.sha256], pdq=ready.facts.pdq)
        for (net, categories), blobs in zip(new.nets, ready.blobs, strict=True):
            for each in categories:
                each.see(new.sha256, ready.facts)
                if isinstance(blobs, Exception):
                    each.fail(new.sha256, blobs)
            if not isinstance(blobs, Exception):
                net.add(Wanted(new.sha256, categories, blobs, new.data if ready.smaller else None))

    def settle(self) -> None:
        """Take note of what the crew has done."""
        self._crew.settle()

    def flush(self) -> None:
        """Look at everything that was taken, to the end."""
        self._crew.settle(wait=True)
        while [net for net in self._nets if net.flush()]:
            self._crew.settle(wait=True)

    def _fail(self, new: _NewImage, error: Exception) -> None:
        """Note why an image cannot be looked at; if only its hash was wanted, it goes without."""
        if not new.categories:  # its probability holds all the same
            self.images[new.reference] = new.found
            log.warning("image %s has no PDQ hash: %s", new.sha256, error)
            return
        self.images[new.reference] = failed_image(error, new.found.name, new.sha256)
        for each in new.categories:
            each.fail(new.sha256, error)

    def _ready(self, data: bytes, nets: Sequence[Batches]) -> _Ready:
        """Decode an image and make of it what the nets take; in any thread."""
        smaller = None
        if len(nets) == 1 and (first := nets[0].first) is not None:
            # Several nets share one decoding, which is that of the whole picture.
            with metrics.stage("decode"):
                smaller = first.decode(data)
        decoded = self._whole(data) if smaller is None else smaller
        facts = ImageFacts.of(decoded, self._pdq(decoded))
        blobs: list[list[tuple[int, Array]] | Exception] = []
        for net in nets:
            try:
                blobs.append(net.blobs(decoded))
            except Exception as error:  # what is wrong for one net may be right for others
                blobs.append(error)
        return _Ready(facts, smaller is not None, blobs)

    def _whole(self, data: bytes) -> DecodedImage:
        with metrics.stage("decode"):
            decoded = self._decode(data)
        if not decoded.frames:
            raise ImageError(ErrorCode.UNREADABLE, "the image has no frame")
        return decoded

    def _pdq(self, decoded: DecodedImage) -> str | None:
        """The hash of the first frame that has one; empty if none has, None if none is wanted."""
        if self._pdq_of is None:
            return None
        with metrics.stage("hash"):
            return next(filter(None, map(self._pdq_of, decoded.frames)), "")

    def _lacks_pdq(self, image: ImageRecord | None) -> bool:
        """Whether an image went through the model before hashes were wanted."""
        return (
            self._pdq_of is not None
            and image is not None
            and image.pdq is None
            and image.error is None
        )
