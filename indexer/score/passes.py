"""How images are looked at: pictures go in batches through nets, and each category learns.

Categories whose models have the same net share its forward passes; what is known of an image, and
its record, is each category's own.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.operate import metrics
from saferank.indexer.score.crew import Crew
from saferank.mappings.float32 import as_probability
from saferank.mappings.record import ImageRecord, StoredRecord
from saferank.models.frames import HIGHEST, of_pictures

log = logging.getLogger(__name__)

_LONGEST_CAUSE = 500

Array = NDArray[np.float32]


class Classifier(Protocol):
    """The part of a model that scoring needs; ``saferank.models.Model`` has it.

    All of it may be called by several threads at once.
    """

    @property
    def identity(self) -> str:
        """Name, weights and preprocessing."""

    @property
    def net(self) -> object:
        """What runs: models with the same one take the same blobs and share forward passes."""

    def preprocess(self, image: Image.Image, /) -> Array:
        """Make a blob of shape (3, H, W) from an upright RGB image."""

    def classes(self, blobs: Array, /) -> Array:
        """What the net says of each of the blobs, shape (N, 3, H, W): (N, classes) in 0..1."""

    def combined(self, classes: Array, /) -> Array:
        """The probability in 0..1 of each row of what the net says."""


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
        estimate: as ``Classifier.classes``, not exact.
        decode: bytes → frames of a smaller picture, or None when they are to be decoded whole.
    """

    margin: float
    estimate: Callable[[Array], Array]
    decode: Callable[[bytes], DecodedImage | None]


@dataclass(frozen=True, slots=True)
class Look:
    """How images are looked at for one category.

    Attributes:
        model: gives the probabilities.
        first: a cheap look before it, the same for all models of one net; None to look at all
            images exactly.
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


@dataclass(frozen=True, slots=True)
class FoundImage:
    """What a reference led to: bytes, or an error.

    Its record is made from this when the nets are done, see ``Pass.record_of``.
    """

    name: str
    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    error: ErrorCode | None = None
    cause: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """How much of some bytes was looked at; under the names that ``ImageRecord`` has for it."""

    frames: int
    frame_count: int
    width: int
    height: int
    partial: bool
    pdq: str | None

    @classmethod
    def of(cls, decoded: DecodedImage, pdq: str | None) -> Looked:
        """Of an image, with its PDQ hash if one was made."""
        return cls(
            len(decoded.frames),
            decoded.frame_count,
            decoded.width,
            decoded.height,
            decoded.partial,
            pdq,
        )


class Pass:
    """One category's way through some documents: what its model knows of images, and learns.

    Attributes:
        identity: of the model.
        known: by digest, what is stored about images and still holds under this model.
        digests: of the images of which any frame went to the net.
    """

    def __init__(self, look: Look, known: Iterable[ImageRecord]) -> None:
        self.identity = look.model.identity
        self.known = {image.sha256: image for image in known if image.sha256}
        self.digests: set[str] = set()
        self._combined = look.model.combined
        self._rule = look.frames
        self._taken: set[str] = set()
        self._values: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._failed: set[str] = set()
        self._looked: dict[str, Looked] = {}
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

    def see(self, digest: str, looked: Looked) -> None:
        """Note how much of an image is looked at."""
        self._looked[digest] = looked

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
            **asdict(self._looked[digest]),
        )

    def _probability_of(self, row: Array) -> float:
        return as_probability(float(self._combined(row[None])[0]))

    def _probability(self, digest: str) -> float:
        places, values = zip(*self._values[digest], strict=True)
        frames = self._looked[digest].frames
        return as_probability(of_pictures(self._rule, values, places, frames))


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that some categories of one net want to know about.

    Attributes:
        digest: of its bytes.
        passes: of those categories.
        blobs: of its pictures, each with its place.
        data: its bytes, when the blobs are of smaller pictures; None when they are the exact ones.
    """

    digest: str
    passes: Sequence[Pass]
    blobs: Sequence[tuple[int, Array]]
    data: bytes | None


_Frame = tuple[Wanted, int, Array]


class Batches:
    """Pictures on their way through one net, for all categories that it tells.

    Args:
        look: of any of the categories.
        passes: of all of them.
        size: pictures in one call of the net, of the cheap one where there is one.
        crew: runs the net.
        decode: bytes → pictures, where a first look was at smaller ones; raises ImageError.

    Attributes:
        first: a cheap look before it, if there is one.
        passes: of all categories.
    """

    def __init__(
        self,
        look: Look,
        passes: Sequence[Pass],
        size: int,
        crew: Crew,
        decode: Callable[[bytes], DecodedImage],
    ) -> None:
        self.first = look.first
        self.passes = passes
        self._model = look.model
        self._size = size
        # Behind a first pass few are left, and the exact net is as fast on one as on several: each
        # goes alone, which takes less memory.
        self._exact_size = size if look.first is None else 1
        self._crew = crew
        self._decode = decode
        self._frames: list[_Frame] = []
        self._glimpses: list[Wanted] = []

    def blobs(self, decoded: DecodedImage) -> list[tuple[int, Array]]:
        """What the net takes of an image's pictures, each with its place; in any thread."""
        blobs = []
        for place, picture in zip(decoded.places, decoded.pictures, strict=True):
            with metrics.stage("preprocess"):
                blobs.append((place, self._model.preprocess(picture)))
        return blobs

    def add(self, image: Wanted) -> None:
        """Send an image on its way."""
        for each in image.passes:
            each.digests.add(image.digest)
        if self.first is None:
            self._add_frames(image)
            return
        self._glimpses.append(image)
        if sum(len(one.blobs) for one in self._glimpses) >= self._size:
            self._send_glimpses(self.first)

    def flush(self) -> bool:
        """Send what is not enough for a batch; whether there was anything."""
        there = bool(self._glimpses or self._frames)
        if self.first is not None and self._glimpses:
            self._send_glimpses(self.first)
        if self._frames:
            self._send_frames()
        return there

    def _add_frames(self, image: Wanted) -> None:
        for place, blob in image.blobs:
            self._frames.append((image, place, blob))
            if len(self._frames) >= self._exact_size:
                self._send_frames()

    def _send_frames(self) -> None:
        frames, self._frames = self._frames, []
        metrics.IMAGES.inc(len({image.digest for image, _, _ in frames}))
        self._crew.do(lambda: self._rows(frames), lambda rows: _learn(frames, rows))

    def _rows(self, frames: Sequence[_Frame]) -> list[Array | None]:
        """What the net says of each frame; None where it fails."""
        try:
            return list(self._classes([blob for _, _, blob in frames]))
        except Exception:
            log.warning("the model failed on %d frames; now one by one", len(frames))
        rows: list[Array | None] = []
        for image, _, blob in frames:
            try:
                rows.extend(self._classes([blob]))
            except Exception:
                log.exception("the model failed on image %s", image.digest)
                rows.append(None)
        return rows

    def _classes(self, blobs: Sequence[Array]) -> Array:
        with metrics.stage("infer"):
            return self._model.classes(np.stack(blobs))

    def _send_glimpses(self, first: FirstPass) -> None:
        glimpses, self._glimpses = self._glimpses, []

        def look_on(rows: Iterable[Array] | None) -> None:
            each = iter(rows or ())
            for image in glimpses:
                if rows is None:
                    self._look_exactly(image)
                else:
                    self._keep_low(image, list(islice(each, len(image.blobs))), first.margin)

        self._crew.do(lambda: self._estimates(first, glimpses), look_on)

    def _estimates(self, first: FirstPass, glimpses: Sequence[Wanted]) -> list[Array] | None:
        """What the cheap net says of each picture; None when it fails."""
        blobs = [blob for image in glimpses for _, blob in image.blobs]
        rows: list[Array] = []
        try:
            with metrics.stage("estimate"):
                for start in range(0, len(blobs), self._size):
                    rows.extend(first.estimate(np.stack(blobs[start : start + self._size])))
        except Exception:
            log.exception("the first pass failed; %d images are looked at exactly", len(glimpses))
            return None
        return rows

    def _keep_low(self, image: Wanted, rows: Sequence[Array], margin: float) -> None:
        """Keep the estimates that are below the margin, and look exactly for the others."""
        others = []
        for each in image.passes:
            try:
                estimate = each.estimate(rows)
            except Exception:
                log.exception("the first pass gave no probability for image %s", image.digest)
                others.append(each)
                continue
            if estimate < margin:
                each.settle(image.digest, estimate)
            else:
                others.append(each)
        if others:
            self._look_exactly(replace(image, passes=others))
        else:
            metrics.ESTIMATED.inc()

    def _look_exactly(self, image: Wanted) -> None:
        data = image.data
        if data is None:
            self._add_frames(image)
            return

        def blobs() -> list[tuple[int, Array]] | Exception:
            try:
                return self.blobs(self._decode(data))
            except Exception as error:
                return error

        def add(found: list[tuple[int, Array]] | Exception) -> None:
            if isinstance(found, Exception):
                for each in image.passes:
                    each.fail(image.digest, found)
            else:
                self._add_frames(replace(image, blobs=found, data=None))

        self._crew.do(blobs, add)


def _learn(frames: Sequence[_Frame], rows: Sequence[Array | None]) -> None:
    for (image, place, _), row in zip(frames, rows, strict=True):
        for each in image.passes:
            each.learn(image.digest, place, row)


def by_net(looks: Sequence[Look]) -> Iterator[list[int]]:
    """The places of the looks whose models have the same net."""
    groups: Mapping[int, list[int]] = defaultdict(list)
    for place, look in enumerate(looks):
        groups[id(look.model.net)].append(place)
    yield from groups.values()


def failure(error: Exception, name: str) -> tuple[ErrorCode, str]:
    """The code and the cause to store for an image."""
    if isinstance(error, ImageError):
        return error.code, str(error)[:_LONGEST_CAUSE]
    log.error("unexpected error for image %s", name, exc_info=error)
    # Its text may name what is not for everybody who reads documents.
    return ErrorCode.INTERNAL, f"unexpected {type(error).__name__}; the log has the details"
