"""From documents to records: fetch, decode, batch through the model. Stores nothing.

What does the fetching, decoding and classifying is passed in, so this knows no network,
no Elasticsearch and no Celery.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saferank.errors import ErrorCode, ImageError, ServiceUnavailable
from saferank.indexer.documents import Document
from saferank.indexer.operate import metrics
from saferank.indexer.score.lanes import Lanes
from saferank.mappings.float32 import as_probability
from saferank.mappings.record import (
    ImageRecord,
    SafetyRecord,
    StoredRecord,
    reference_name,
    to_bytes,
)
from saferank.models.frames import HIGHEST, of_pictures

log = logging.getLogger(__name__)

# Seconds after which what is complete goes out, where there is nothing else to do.
_TICK = 0.5
# Seconds after which a lane that is behind all others counts as slow.
_SLOW = 1.5
_LONGEST_CAUSE = 500


class Classifier(Protocol):
    """The part of a model that scoring needs; ``saferank.models.Model`` has it."""

    @property
    def identity(self) -> str:
        """Name, weights and preprocessing."""

    def preprocess(self, image: Image.Image, /) -> NDArray[np.float32]:
        """Make a blob of shape (3, H, W) from an upright RGB image."""

    def probabilities(self, blobs: NDArray[np.float32], /) -> NDArray[np.float32]:
        """The probability in 0..1 of each of the blobs, shape (N, 3, H, W)."""


class FetchedImage(Protocol):
    """The bytes of an image."""

    @property
    def data(self) -> bytes:
        """The whole file."""

    @property
    def etag(self) -> str | None:
        """What the server calls this version, if it said."""

    @property
    def last_modified(self) -> str | None:
        """The server's date of this version, as sent."""


class DecodedImage(Protocol):
    """An image as a viewer would see it."""

    @property
    def frames(self) -> Sequence[Image.Image]:
        """The frames that browsers show, RGB."""

    @property
    def pictures(self) -> Sequence[Image.Image]:
        """The frames, what other viewers show in their place, and parts: all is looked at."""

    @property
    def places(self) -> Sequence[int]:
        """For each of the pictures, which frame it is or is a part of; further ones elsewhere."""

    @property
    def frame_count(self) -> int:
        """How many frames the file has."""

    @property
    def partial(self) -> bool:
        """Whether the file ends early and only a part of it could be decoded."""

    @property
    def width(self) -> int:
        """In pixels, upright."""

    @property
    def height(self) -> int:
        """In pixels, upright."""


@dataclass(frozen=True, slots=True)
class FirstPass:
    """A cheap look at every image, after which only some are looked at exactly.

    Attributes:
        margin: the lowest estimate after which the exact probability is wanted.
        estimate: blobs, shape (N, 3, H, W), → a probability of each, in 0..1, not exact.
        decode: bytes → frames of a smaller picture, or None when they are to be decoded whole.
    """

    margin: float
    estimate: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    decode: Callable[[bytes], DecodedImage | None]


@dataclass(frozen=True, slots=True)
class Look:
    """How images are looked at for one category.

    Attributes:
        model: gives the probabilities.
        first: a cheap look before it; None to look at all images exactly.
        frames: how the frames of an image make one probability, see ``models.frames``.
    """

    model: Classifier
    first: FirstPass | None = None
    frames: str = HIGHEST


class KnownImages(Protocol):
    """What is known of images by their bytes, beyond the documents at hand."""

    def recall(self, model: str, sha256: str, /) -> ImageRecord | None:
        """What is known of an image under a model."""

    def keep(self, model: str, images: Iterable[ImageRecord], /) -> None:
        """Keep what is known of images."""


Known = Mapping[str, Iterable[ImageRecord]]
"""Records of images, by the identity of the model that scored them."""

Guard = Callable[[str], AbstractContextManager[None]]
"""Entered with a digest, of a reference or of its bytes, around what may end the process.

May raise ImageError, for that image, and ServiceUnavailable.
"""


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
        others: how the same images are looked at for further categories, by their object field. An
            image is fetched once and decoded once for all of them.
        pdq_of: upright picture → PDQ hash, empty for one with too little in it; None to make none.
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
        others: Mapping[str, Look] | None = None,
        pdq_of: Callable[[Image.Image], str] | None = None,
    ) -> None:
        self.model = model
        self._looks = (Look(model, first, frames), *(others or {}).values())
        self._other_fields = tuple(others or {})
        self._fetch = fetch
        self._fetch_again = fetch_again
        self._decode = decode
        self._batch_size = batch_size
        self._fetch_threads = fetch_threads
        self._lane = lane
        self._lane_width = lane_width
        self._max_images = max_images
        self._time_of_image = time_of_image
        self._digests = digests
        self._pdq_of = pdq_of

    @property
    def identity(self) -> str:
        """Of the model; of several, the first."""
        return self.model.identity

    @property
    def other_identities(self) -> Mapping[str, str]:
        """Of the models of further categories, by their object field."""
        looks = zip(self._other_fields, self._looks[1:], strict=True)
        return {name: look.model.identity for name, look in looks}

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
        passes = [
            _Pass(look, self._batch_size, self._decoded, known.get(look.model.identity, ()))
            for look in self._looks
        ]
        earlier: list[ImageRecord] = []
        if not force:
            for document in documents:
                stored = (document.record, *map(document.other_records.get, self._other_fields))
                reusable = [each.reusable(one) for each, one in zip(passes, stored, strict=True)]
                earlier += reusable[0]
        unchanging = [one for one in earlier if all(one.sha256 in each.known for each in passes)]
        images = {} if force else _lost(documents)
        waiting = dict(enumerate(documents))

        def finished(places: Iterable[int]) -> dict[int, Scored]:
            for each in passes:
                each.flush()
            done = {
                place: self._assemble(waiting.pop(place), images, passes, scored_at)
                for place in places
            }
            if self._digests is not None:
                for nth, each in enumerate(passes):
                    records = (image for one in done.values() for image in one.records[nth].images)
                    new = {one.sha256: one for one in records if one.sha256 in each.digests}
                    self._digests.keep(each.identity, new.values())
            return done

        def complete() -> list[int]:
            return [
                place
                for place, document in waiting.items()
                if self._wanted([document]).keys() <= images.keys()
            ]

        wanted = {name: None for name in self._wanted(documents) if name not in images}
        for fetched in self._fetched(
            wanted, _versions(unchanging), guard, until, lambda: len(waiting)
        ):
            if fetched is not None:
                reference, found = fetched
                images[reference] = self._image(reference, found, passes, guard, ask=not force)
            elif places := complete():
                yield finished(places)
        places = complete()
        if not places and len(waiting) == len(documents):
            places = list(waiting)[:1]
        if places:
            yield finished(places)

    def _wanted(self, documents: Iterable[Document]) -> dict[str, None]:
        """All that may name an image, each once, in order."""
        return dict.fromkeys(
            reference
            for document in documents
            for reference in document.references[: self._max_images]
            if isinstance(reference, str)
        )

    def _fetched(
        self,
        references: Mapping[str, None],
        versions: Mapping[str, ImageRecord],
        guard: Guard | None,
        until: float,
        count_waiting: Callable[[], int],
    ) -> Iterator[tuple[str, _Fetched] | None]:
        """Fetch, and give what came as it comes; None when it is time to see what is complete."""

        def fetch(reference: str) -> _Fetched:
            try:
                with metrics.stage("fetch"):
                    version = versions.get(reference_name(reference))
                    if self._fetch_again is None or version is None:
                        return self._fetch(reference)
                    changed = self._fetch_again(reference, version)
                    return version if changed is None else changed
            except Exception as error:
                return error

        if guard is not None:
            yield from _one_by_one(fetch, references, guard, until)
            return
        lane_of = {reference: self._lane(reference) for reference in references}
        here = [reference for reference, lane in lane_of.items() if lane is None]
        lanes = Lanes(
            fetch,
            {reference: lane for reference, lane in lane_of.items() if lane is not None},
            threads=self._fetch_threads,
            width=self._lane_width,
        )
        began, at_first = time.monotonic(), count_waiting()
        with lanes.running():
            for reference in here:
                if time.monotonic() > until:
                    return
                yield reference, fetch(reference)
            for fetched in lanes.results(_TICK):
                yield fetched
                now = time.monotonic()
                slow = now - began > _SLOW and lanes.lanes_left < lanes.lanes_at_start
                if now > until or (slow and until < math.inf and count_waiting() < at_first):
                    lanes.stop()
                if now > until + self._time_of_image:
                    return  # what came has waited too long to be looked at

    def _image(
        self,
        reference: str,
        fetched: _Fetched,
        passes: Sequence[_Pass],
        guard: Guard | None,
        *,
        ask: bool,
    ) -> _Image:
        """Name the bytes that a reference led to, and look at them unless they are known.

        With ``ask``, what is kept by digest is asked, too, and added to what is known.
        """
        name, sha256 = reference_name(reference), None
        try:
            if isinstance(fetched, Exception):
                raise fetched
            if isinstance(fetched, ImageRecord):
                return _Image(name, fetched.sha256, fetched.etag, fetched.last_modified)
            sha256 = hashlib.sha256(fetched.data).hexdigest()
            kept_by = self._digests if ask else None
            if new := [each for each in passes if not each.knows(sha256, kept_by)]:
                self._look(sha256, fetched.data, new, guard)
            lacking = [each for each in passes if self._lacks_pdq(each.known.get(sha256))]
            if lacking and (pdq := self._hash_again(fetched.data, guard, sha256)) is not None:
                for each in lacking:
                    each.known[sha256] = replace(each.known[sha256], pdq=pdq)
            return _Image(name, sha256, fetched.etag, fetched.last_modified)
        except ServiceUnavailable:
            raise  # the guard cannot take notes
        except Exception as error:
            wait = getattr(error, "retry_after", None)
            code, cause = _failure(error, name)
            return _Image(name, sha256, error=code, cause=cause, retry_after=wait)

    def _look(self, digest: str, data: bytes, passes: Sequence[_Pass], guard: Guard | None) -> None:
        """Decode an image and hand its pictures to the models that do not know it."""
        with nullcontext() if guard is None else guard(digest):
            smaller = None
            if len(passes) == 1 and (first := passes[0].first) is not None:
                # Several models share one decoding, which is that of the whole picture.
                with metrics.stage("decode"):
                    smaller = first.decode(data)
            decoded = self._decoded(data) if smaller is None else smaller
            looked = _Looked.of(decoded, self._pdq(decoded))
            pictures = list(zip(decoded.places, decoded.pictures, strict=True))
            for each in passes:
                each.look(digest, pictures, looked, None if smaller is None else data)
            if guard is not None:
                for each in passes:
                    each.flush()

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

    def _hash_again(self, data: bytes, guard: Guard | None, digest: str) -> str | None:
        """The hash of an image that need not go through a model again; None if it has none."""
        try:
            with nullcontext() if guard is None else guard(digest):
                return self._pdq(self._decoded(data))
        except ImageError as error:  # its probability holds all the same
            log.warning("image %s has no PDQ hash: %s", digest, error)
            return None

    def _decoded(self, data: bytes) -> DecodedImage:
        with metrics.stage("decode"):
            decoded = self._decode(data)
        if not decoded.frames:
            raise ImageError(ErrorCode.UNREADABLE, "the image has no frame")
        return decoded

    def _assemble(
        self,
        document: Document,
        images: Mapping[str, _Image],
        passes: Sequence[_Pass],
        scored_at: datetime,
    ) -> Scored:
        own = [
            self._own(images, place, reference)
            for place, reference in enumerate(document.references)
        ]
        every = [tuple(each.record_of(image) for image in own) for each in passes]
        asked = [
            image.retry_after
            for records in every
            for image, record in zip(own, records, strict=True)
            if record.error is not None and record.error.transient
        ]
        first, *others = (
            SafetyRecord(each.identity, scored_at, records)
            for each, records in zip(passes, every, strict=True)
        )
        through = (
            {record.sha256 for record in records} & each.digests
            for each, records in zip(passes, every, strict=True)
        )
        return Scored(
            document,
            first,
            inferred=len(set[str | None]().union(*through)),
            transient=bool(asked),
            retry_after=max((wait for wait in asked if wait is not None), default=None),
            others=dict(zip(self._other_fields, others, strict=True)),
        )

    def _own(self, images: Mapping[str, _Image], place: int, reference: object) -> _Image:
        """What became of one of a document's references."""
        name = reference_name(reference)
        if place >= self._max_images:
            return _Image(
                name,
                error=ErrorCode.TOO_MANY_IMAGES,
                cause=f"only {self._max_images} images of a document are looked at; see "
                "indexer.max_images",
            )
        if not isinstance(reference, str):
            # A value that is no text names no image, and must not pass for "no image".
            return _Image(
                name,
                error=ErrorCode.UNSUPPORTED_REFERENCE,
                cause=f"a reference must be text and is {type(reference).__name__}",
            )
        return images.get(reference) or _Image(
            name,
            error=ErrorCode.TIMEOUT,
            cause="its task had no time left to fetch it; see indexer.time_limit",
        )


_Fetched = FetchedImage | ImageRecord | Exception
"""What fetching gave: an image, the record of one that has not changed since, or an error."""


@dataclass(frozen=True, slots=True)
class _Image:
    """What a reference led to: bytes, or an error.

    Its record is made from this when the model is done, see ``_record``.
    """

    name: str
    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    error: ErrorCode | None = None
    cause: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class _Looked:
    """How much of some bytes was looked at; under the names that ``ImageRecord`` has for it."""

    frames: int
    frame_count: int
    width: int
    height: int
    partial: bool
    pdq: str | None

    @classmethod
    def of(cls, decoded: DecodedImage, pdq: str | None) -> _Looked:
        return cls(
            len(decoded.frames),
            decoded.frame_count,
            decoded.width,
            decoded.height,
            decoded.partial,
            pdq,
        )


@dataclass(frozen=True, slots=True)
class _Glimpse:
    """An image on its way through the first pass.

    Attributes:
        digest: of its bytes.
        blobs: of its pictures, each with its place.
        data: its bytes, when the blobs are of smaller pictures; None when they are the exact ones.
    """

    digest: str
    blobs: Sequence[tuple[int, NDArray[np.float32]]]
    data: bytes | None


class _Pass:
    """One category's way through some documents: what its model knows of images, and learns.

    Collects pictures of several images and combines their probabilities to each image's.

    Attributes:
        identity: of the model.
        first: a cheap look before it, if there is one.
        known: by digest, what is stored about images and still holds under this model.
        digests: of the images of which any frame went to the model.
    """

    def __init__(
        self,
        look: Look,
        size: int,
        decode: Callable[[bytes], DecodedImage],
        known: Iterable[ImageRecord],
    ) -> None:
        self.identity = look.model.identity
        self.first = look.first
        self.known = {image.sha256: image for image in known if image.sha256}
        self.digests: set[str] = set()
        self._model = look.model
        self._size = size
        self._decode = decode
        self._rule = look.frames
        self._frames: list[tuple[str, int, NDArray[np.float32]]] = []
        self._glimpses: list[_Glimpse] = []
        self._values: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._failed: set[str] = set()
        self._looked: dict[str, _Looked] = {}
        self._errors: dict[str, Exception] = {}

    def reusable(self, stored: StoredRecord | None) -> list[ImageRecord]:
        """What a document says about its images and still holds; it is known from now on."""
        if stored is None:
            return []
        same_model = stored.model == self.identity
        found = []
        for image in stored.images:
            holds = same_model and image.probability is not None
            if image.sha256 is not None and (holds or image.error is ErrorCode.WORKER_LOST):
                self.known[image.sha256] = image
                found.append(image)
        return found

    def knows(self, digest: str, kept: KnownImages | None) -> bool:
        """Whether an image need not be looked at; what is kept by digest is asked, too."""
        if digest in self.known or digest in self._looked:
            return True
        found = None if kept is None else kept.recall(self.identity, digest)
        if found is not None:
            self.known[digest] = found
        return found is not None

    def look(
        self,
        digest: str,
        pictures: Sequence[tuple[int, Image.Image]],
        looked: _Looked,
        data: bytes | None,
    ) -> None:
        """Take the pictures of an image; what is wrong with them for this model is noted.

        Args:
            digest: of its bytes.
            pictures: to look at, each with its place.
            looked: how much of it they are.
            data: its bytes, when these are smaller pictures for the first pass.
        """
        self._looked[digest] = looked
        try:
            if self.first is None:
                for place, picture in pictures:
                    self._add(digest, place, self._blob(picture))
            else:
                blobs = [(place, self._blob(picture)) for place, picture in pictures]
                self._add_first(_Glimpse(digest, blobs, data))
        except Exception as error:
            self._errors[digest] = error

    def _blob(self, picture: Image.Image) -> NDArray[np.float32]:
        with metrics.stage("preprocess"):
            return self._model.preprocess(picture)

    def _add(self, digest: str, place: int, blob: NDArray[np.float32]) -> None:
        self.digests.add(digest)
        self._frames.append((digest, place, blob))
        if len(self._frames) >= self._size:
            self._flush_frames()

    def _add_first(self, glimpse: _Glimpse) -> None:
        self.digests.add(glimpse.digest)
        self._glimpses.append(glimpse)
        if sum(len(glimpse.blobs) for glimpse in self._glimpses) >= self._size:
            self._flush_glimpses()

    def flush(self) -> None:
        self._flush_glimpses()
        self._flush_frames()

    def _flush_glimpses(self) -> None:
        """Keep the estimates that are below the margin, and look at the other images exactly."""
        glimpses, self._glimpses = self._glimpses, []
        for glimpse, estimate in zip(glimpses, self._estimates(glimpses), strict=True):
            if estimate is not None:
                metrics.ESTIMATED.inc()
                self._values[glimpse.digest] = [(0, estimate)]
                continue
            try:
                if glimpse.data is None:
                    for place, blob in glimpse.blobs:
                        self._add(glimpse.digest, place, blob)
                else:
                    decoded = self._decode(glimpse.data)
                    for place, picture in zip(decoded.places, decoded.pictures, strict=True):
                        self._add(glimpse.digest, place, self._blob(picture))
            except Exception as error:
                self._errors[glimpse.digest] = error

    def _estimates(self, glimpses: Sequence[_Glimpse]) -> list[float | None]:
        """For each image its highest estimate, or None when the exact probability is wanted."""
        if self.first is None or not glimpses:
            return [None for _ in glimpses]
        blobs = [blob for glimpse in glimpses for _, blob in glimpse.blobs]
        values: list[float] = []
        try:
            with metrics.stage("estimate"):
                for start in range(0, len(blobs), self._size):
                    part = self.first.estimate(np.stack(blobs[start : start + self._size]))
                    values += [as_probability(float(value)) for value in part]
        except Exception:
            log.exception("the first pass failed; %d images are looked at exactly", len(glimpses))
            return [None for _ in glimpses]
        each = iter(values)
        highest = [max(islice(each, len(glimpse.blobs))) for glimpse in glimpses]
        return [value if value < self.first.margin else None for value in highest]

    def _flush_frames(self) -> None:
        frames, self._frames = self._frames, []
        if not frames:
            return
        metrics.IMAGES.inc(len({digest for digest, _, _ in frames}))
        try:
            self._classify(frames)
        except Exception:
            log.warning("the model failed on %d frames; now one by one", len(frames))
            for frame in frames:
                try:
                    self._classify([frame])
                except Exception:
                    log.exception("the model failed on image %s", frame[0])
                    self._failed.add(frame[0])

    def _classify(self, frames: list[tuple[str, int, NDArray[np.float32]]]) -> None:
        with metrics.stage("infer"):
            probabilities = self._model.probabilities(np.stack([blob for _, _, blob in frames]))
        values = [as_probability(float(probability)) for probability in probabilities]
        for (digest, place, _), value in zip(frames, values, strict=True):
            self._values[digest].append((place, value))

    def _probability(self, digest: str) -> float:
        places, values = zip(*self._values[digest], strict=True)
        frames = self._looked[digest].frames
        return as_probability(of_pictures(self._rule, values, places, frames))

    def record_of(self, image: _Image) -> ImageRecord:
        """What to store about an image, now that every frame went through the model."""
        digest = image.sha256
        if digest is not None and (there := self.known.get(digest)) is not None:
            version = (image.name, image.etag, image.last_modified)
            if version == (there.reference, there.etag, there.last_modified):
                return there
            name, etag, last_modified = version
            return replace(there, reference=name, etag=etag, last_modified=last_modified)
        if image.error is not None or digest is None:
            return ImageRecord(image.name, digest, error=image.error, cause=image.cause)
        if (error := self._errors.get(digest)) is not None:
            code, cause = _failure(error, image.name)
            return ImageRecord(image.name, digest, error=code, cause=cause)
        failed = digest in self._failed
        return ImageRecord(
            image.name,
            digest,
            None if failed else self._probability(digest),
            error=ErrorCode.INTERNAL if failed else None,
            cause="the model failed on the image; the log has the details" if failed else None,
            etag=image.etag,
            last_modified=image.last_modified,
            **asdict(self._looked[digest]),
        )


def _one_by_one(
    fetch: Callable[[str], _Fetched], references: Iterable[str], guard: Guard, until: float
) -> Iterator[tuple[str, _Fetched]]:
    """Fetch each inside the guard, under a digest of its reference: it may end the process too."""
    for reference in references:
        if time.monotonic() > until:
            return
        try:
            with guard(hashlib.sha256(to_bytes(reference)).hexdigest()):
                fetched = fetch(reference)
        except ImageError as error:
            fetched = error
        yield reference, fetched


def _lost(documents: Iterable[Document]) -> dict[str, _Image]:
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
        one: _Image(name, error=ErrorCode.WORKER_LOST, cause=lost[name])
        for one in references
        if isinstance(one, str) and (name := reference_name(one)) in lost
    }


def _versions(images: Iterable[ImageRecord]) -> dict[str, ImageRecord]:
    """By reference, the images that a server can be asked about: have they changed since?"""
    return {
        image.reference: image
        for image in images
        if image.error is None and (image.etag or image.last_modified)
    }


def _failure(error: Exception, name: str) -> tuple[ErrorCode, str]:
    """The code and the cause to store for an image."""
    if isinstance(error, ImageError):
        return error.code, str(error)[:_LONGEST_CAUSE]
    log.error("unexpected error for image %s", name, exc_info=error)
    # Its text may name what is not for everybody who reads documents.
    return ErrorCode.INTERNAL, f"unexpected {type(error).__name__}; the log has the details"
