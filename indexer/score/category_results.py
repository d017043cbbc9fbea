"""What one category's model says of images: what was known, what is learned, and the records."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.score.interfaces import Array, CategoryModel, DecodedImage, KnownImages
from saferank.mappings.float32 import as_probability
from saferank.mappings.record import ImageRecord, StoredRecord
from saferank.models.frames import of_pictures

log = logging.getLogger(__name__)

_LONGEST_CAUSE = 500


@dataclass(frozen=True, slots=True)
class FoundImage:
    """What a reference led to: bytes, or an error.

    Its record is made from this when the nets are done, see ``CategoryResults.record_of``.
    """

    name: str
    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    error: ErrorCode | None = None
    cause: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What decoding says of an image; under the names that ``ImageRecord`` has for it."""

    frames: int
    frame_count: int
    width: int
    height: int
    partial: bool
    pdq: str | None

    @classmethod
    def of(cls, decoded: DecodedImage, pdq: str | None) -> ImageFacts:
        """Of an image, with its PDQ hash if one was made."""
        return cls(
            len(decoded.frames),
            decoded.frame_count,
            decoded.width,
            decoded.height,
            decoded.partial,
            pdq,
        )


class CategoryResults:
    """One category's way through some documents: what its model knows of images, and learns.

    Attributes:
        identity: of the model.
        known: by digest, what is stored about images and still holds under this model.
        digests: of the images of which any frame went to the net.
    """

    def __init__(self, category: CategoryModel, known: Iterable[ImageRecord]) -> None:
        self.identity = category.model.identity
        self.known = {image.sha256: image for image in known if image.sha256}
        self.digests: set[str] = set()
        self._combined = category.model.combined
        self._rule = category.frames
        self._taken: set[str] = set()
        self._values: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._failed: set[str] = set()
        self._facts: dict[str, ImageFacts] = {}
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
        if digest in self.known or digest in self._taken:
            return True
        found = None if kept is None else kept.recall(self.identity, digest)
        if found is not None:
            self.known[digest] = found
        return found is not None

    def take(self, digest: str) -> None:
        """Note that an image is on its way; what came of it is learned later."""
        self._taken.add(digest)

    def see(self, digest: str, facts: ImageFacts) -> None:
        """Note what decoding says of an image."""
        self._facts[digest] = facts

    def fail(self, digest: str, error: Exception) -> None:
        """Note why an image cannot be looked at."""
        self._errors[digest] = error

    def estimate(self, rows: Iterable[Array]) -> float:
        """The highest probability of what a net said of an image's pictures."""
        return max(map(self._probability_of, rows))

    def settle(self, digest: str, estimate: float) -> None:
        """Take an estimate for an image's probability."""
        self._values[digest] = [(0, estimate)]

    def learn(self, digest: str, place: int, row: Array | None) -> None:
        """Take what a net said of a picture, shape (classes,); None if it failed on it."""
        try:
            if row is None:
                self._failed.add(digest)
            else:
                self._values[digest].append((place, self._probability_of(row)))
        except Exception:
            log.exception("the model gave no probability for image %s", digest)
            self._failed.add(digest)

    def record_of(self, image: FoundImage) -> ImageRecord:
        """What to store about an image, now that every frame went through the net."""
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
            code, cause = failure(error, image.name)
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
            **asdict(self._facts[digest]),
        )

    def _probability_of(self, row: Array) -> float:
        return as_probability(float(self._combined(row[None])[0]))

    def _probability(self, digest: str) -> float:
        places, values = zip(*self._values[digest], strict=True)
        frames = self._facts[digest].frames
        return as_probability(of_pictures(self._rule, values, places, frames))


def failed_image(error: Exception, name: str, sha256: str | None = None) -> FoundImage:
    """What a reference led to that gave no picture."""
    code, cause = failure(error, name)
    wait = getattr(error, "retry_after", None)
    return FoundImage(name, sha256, error=code, cause=cause, retry_after=wait)


def failure(error: Exception, name: str) -> tuple[ErrorCode, str]:
    """The code and the cause to store for an image."""
    if isinstance(error, ImageError):
        return error.code, str(error)[:_LONGEST_CAUSE]
    log.error("unexpected error for image %s", name, exc_info=error)
    # Its text may name what is not for everybody who reads documents.
    return ErrorCode.INTERNAL, f"unexpected {type(error).__name__}; the log has the details"
