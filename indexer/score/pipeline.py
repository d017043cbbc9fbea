"""From documents to records: fetch, decode, batch through the model. Stores nothing.

What does the fetching, decoding and classifying is passed in, so this knows no network,
no Elasticsearch and no Celery.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.documents import Document, reference_name
from saferank.indexer.operate import metrics
from saferank.mappings.float32 import as_probability
from saferank.mappings.record import ImageRecord, SafetyRecord

log = logging.getLogger(__name__)


class Classifier(Protocol):
    """The part of a model that scoring needs; ``saferank.models.Model`` has it."""

    @property
    def identity(self) -> str:
        """Name, weights and preprocessing."""

    def preprocess(self, image: Image.Image, /) -> NDArray[np.float32]:
        """Make a blob of shape (3, H, W) from an upright RGB image."""

    def probabilities(self, blobs: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Give the probability in 0..1 of each of the blobs, shape (N, 3, H, W)."""


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
        """The frames to look at, RGB."""

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


Guard = Callable[[str], AbstractContextManager[None]]
"""Entered with an image's digest around what may end the process; may raise ImageError."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The outcome for one document.

    Attributes:
        document: as it was read.
        record: what to store.
        inferred: number of its images that went through the model now.
        transient: whether trying again may help; the record then holds what is known so far.
        retry_after: seconds that a server asked to wait, if one did.
    """

    document: Document
    record: SafetyRecord
    inferred: int = 0
    transient: bool = False
    retry_after: float | None = None


class Pipeline:
    """Scores documents.

    Args:
        model: gives the probabilities.
        fetch: reference → bytes; raises ImageError.
        decode: bytes → frames; raises ImageError.
        fetch_again: reference and what is known of the image → bytes, or None when it has not
            changed; None to fetch everything anew.
        batch_size: frames in one call of the model.
        fetch_threads: images fetched at once.
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
    ) -> None:
        self.model = model
        self._fetch = fetch
        self._fetch_again = fetch_again
        self._decode = decode
        self._batch_size = batch_size
        self._fetch_threads = fetch_threads

    def score(
        self,
        documents: Sequence[Document],
        *,
        known: Iterable[ImageRecord] = (),
        guard: Guard | None = None,
        anew: bool = False,
    ) -> list[Scored]:
        """Score documents; a bad image fails its own document and no other.

        Images whose bytes are known already, from the documents or from ``known``, do not go
        through the model again.

        Args:
            documents: as they were read.
            known: further records of images that this model scored.
            guard: if given, each image is decoded and scored alone inside it.
            anew: forget what the documents say about their images.
        """
        scored_at = datetime.now(UTC)
        by_digest = {image.sha256: image for image in known if image.sha256 is not None}
        versions: dict[str, ImageRecord] = {}
        for document in () if anew else documents:
            reusable = self._reusable(document)
            by_digest.update(reusable)
            versions.update(
                (image.reference, image)
                for image in reusable.values()
                if image.error is None and (image.etag or image.last_modified)
            )
        batch = _Batch(self.model, self._batch_size)
        outcomes: dict[str, ImageRecord] = {}
        waits: dict[str, float | None] = {}
        references = dict.fromkeys(
            reference
            for document in documents
            for reference in document.references
            if isinstance(reference, str)
        )
        for reference, fetched in self._fetched(references, versions):
            try:
                if isinstance(fetched, Exception):
                    raise fetched
                if fetched is None:
                    outcomes[reference] = versions[reference_name(reference)]
                    continue
                digest = hashlib.sha256(fetched.data).hexdigest()
                outcomes[reference] = ImageRecord(
                    reference_name(reference),
                    digest,
                    etag=fetched.etag,
                    last_modified=fetched.last_modified,
                )
                if digest not in by_digest:
                    by_digest[digest] = self._look(digest, fetched.data, batch, guard)
            except Exception as error:
                code = _code(error, reference)
                sha256 = outcomes[reference].sha256 if reference in outcomes else None
                outcomes[reference] = ImageRecord(reference_name(reference), sha256, error=code)
                if code.transient:
                    waits[reference] = getattr(error, "retry_after", None)
        batch.flush()
        final = {**by_digest, **batch.finished(by_digest)}
        for reference, outcome in outcomes.items():
            if outcome.error is None and outcome.sha256 is not None:
                outcomes[reference] = replace(
                    final[outcome.sha256],
                    reference=outcome.reference,
                    sha256=outcome.sha256,
                    etag=outcome.etag,
                    last_modified=outcome.last_modified,
                )
                error_now = outcomes[reference].error
                if error_now is not None and error_now.transient:
                    waits[reference] = None
        return [
            self._assemble(document, outcomes, waits, batch.digests, scored_at)
            for document in documents
        ]

    def _reusable(self, document: Document) -> dict[str, ImageRecord]:
        """What is stored about images and still holds under this model."""
        same_model = document.stored.get("model") == self.model.identity
        return {
            image.sha256: image
            for image in document.images()
            if image.sha256 is not None
            and (
                image.error is ErrorCode.WORKER_LOST
                or (same_model and image.probability is not None)
            )
        }

    def _look(self, digest: str, data: bytes, batch: _Batch, guard: Guard | None) -> ImageRecord:
        """Decode an image and hand its frames to the model; the probability comes later."""
        with nullcontext() if guard is None else guard(digest):
            with metrics.stage("decode"):
                decoded = self._decode(data)
            if not decoded.frames:
                raise ImageError(ErrorCode.UNREADABLE, "the image has no frame")
            for frame in decoded.frames:
                with metrics.stage("preprocess"):
                    blob = self.model.preprocess(frame)
                batch.add(digest, blob)
            if guard is not None:
                batch.flush()
        return ImageRecord(
            "",
            digest,
            frames=len(decoded.frames),
            frame_count=decoded.frame_count,
            width=decoded.width,
            height=decoded.height,
            partial=decoded.partial,
        )

    def _fetched(
        self, references: Iterable[str], versions: Mapping[str, ImageRecord]
    ) -> Iterator[tuple[str, FetchedImage | Exception | None]]:
        """Fetch in threads, a bounded number ahead, in order; None stands for unchanged."""

        def fetch(reference: str) -> FetchedImage | Exception | None:
            version = versions.get(reference_name(reference))
            try:
                with metrics.stage("fetch"):
                    if self._fetch_again is None or version is None:
                        return self._fetch(reference)
                    return self._fetch_again(reference, version)
            except Exception as error:
                return error

        ahead: deque[tuple[str, Future[FetchedImage | Exception | None]]] = deque()
        with ThreadPoolExecutor(self._fetch_threads, thread_name_prefix="fetch") as pool:
            for reference in references:
                ahead.append((reference, pool.submit(fetch, reference)))
                if len(ahead) > self._fetch_threads:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                first, future = ahead.popleft()
                yield first, future.result()

    def _assemble(
        self,
        document: Document,
        outcomes: dict[str, ImageRecord],
        waits: dict[str, float | None],
        inferred: set[str],
        scored_at: datetime,
    ) -> Scored:
        images = tuple(
            outcomes[reference] if isinstance(reference, str) else _refused(reference)
            for reference in document.references
        )
        texts = [reference for reference in document.references if isinstance(reference, str)]
        asked = [waits[reference] for reference in texts if reference in waits]
        return Scored(
            document,
            SafetyRecord(self.model.identity, scored_at, images),
            inferred=len({image.sha256 for image in images} & inferred),
            transient=bool(asked),
            retry_after=max((wait for wait in asked if wait is not None), default=None),
        )


class _Batch:
    """Collects frames of several images and gives each image its highest probability."""

    def __init__(self, model: Classifier, size: int) -> None:
        self._model = model
        self._size = size
        self._frames: list[tuple[str, NDArray[np.float32]]] = []
        self._highest: dict[str, float] = {}
        self._failed: set[str] = set()
        self.digests: set[str] = set()

    def add(self, digest: str, blob: NDArray[np.float32]) -> None:
        self.digests.add(digest)
        self._frames.append((digest, blob))
        if len(self._frames) >= self._size:
            self.flush()

    def flush(self) -> None:
        frames, self._frames = self._frames, []
        if not frames:
            return
        metrics.IMAGES.inc(len({digest for digest, _ in frames}))
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

    def _classify(self, frames: list[tuple[str, NDArray[np.float32]]]) -> None:
        with metrics.stage("infer"):
            probabilities = self._model.probabilities(np.stack([blob for _, blob in frames]))
        values = [as_probability(float(probability)) for probability in probabilities]
        for (digest, _), value in zip(frames, values, strict=True):
            self._highest[digest] = max(value, self._highest.get(digest, 0.0))

    def finished(self, looked_at: dict[str, ImageRecord]) -> dict[str, ImageRecord]:
        """Complete the records of the images that went through here."""
        return {
            digest: replace(looked_at[digest], error=ErrorCode.INTERNAL)
            if digest in self._failed
            else replace(looked_at[digest], probability=self._highest[digest])
            for digest in self.digests & looked_at.keys()
        }


def _code(error: Exception, reference: str) -> ErrorCode:
    if isinstance(error, ImageError):
        return error.code
    log.error("unexpected error for image %s", reference_name(reference), exc_info=error)
    return ErrorCode.INTERNAL


def _refused(reference: object) -> ImageRecord:
    """A value that is no text names no image, and must not pass for 'no image'."""
    return ImageRecord(reference_name(reference), error=ErrorCode.UNSUPPORTED_REFERENCE)
