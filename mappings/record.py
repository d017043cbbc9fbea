"""What the indexer stores about a document: the values of the safety object."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from saferank.errors import ErrorCode
from saferank.mappings.float32 import as_probability

_CODES: dict[str, ErrorCode] = {code.value: code for code in ErrorCode}
_LONGEST_REFERENCE = 512
# Of an image record; they are compared, and sent to servers.
_TEXTS = ("sha256", "cause", "etag", "last_modified", "pdq")
_TEXT_OR_NONE = (str, type(None))


class Status(StrEnum):
    """State of a document's score."""

    SCORED = "scored"
    """Every image has a probability."""
    FAILED = "failed"
    """At least one image has none, and should have one."""
    NOT_READ = "not_read"
    """At least one image is of a kind that is not read; stored beside ``failed`` if both are so."""
    NO_IMAGE = "no_image"
    """The document refers to no image."""


def status_of(error: ErrorCode) -> Status:
    """The status of a document with an image that has this error."""
    return Status.NOT_READ if error is ErrorCode.KIND_NOT_READ else Status.FAILED


class Override(StrEnum):
    """A person's decision about a document; it wins over every probability."""

    ALLOW = "allow"
    BLOCK = "block"


def to_bytes(text: str) -> bytes:
    """UTF-8, also of what a document may hold and Unicode forbids: half of a surrogate pair."""
    return text.encode("utf-8", "surrogatepass")


def reference_name(reference: object) -> str:
    """A reference as it is stored and logged: a long one keeps its start and gets a digest."""
    text = reference if isinstance(reference, str) else repr(reference)
    if len(text) <= _LONGEST_REFERENCE:
        return text
    return f"{text[:64]}…{hashlib.sha256(to_bytes(text)).hexdigest()}"


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What is known about one image of a document.

    Attributes:
        reference: how the document names the image, see ``reference_name``.
        sha256: hex digest of the bytes, or None when there were none.
        probability: highest over the frames looked at, float32 value in 0..1, or None.
        error: why there is no probability, or None.
        cause: the same in a sentence, with what an operator can do about it.
        frames: number of frames looked at.
        frame_count: number of frames in the file.
        width: of the upright image, in pixels.
        height: of the upright image, in pixels.
        partial: the file ends early, and only what is there was scored.
        pdq: PDQ hash of its first frame with enough in it to be told from others, 64 hex digits;
            empty when no frame has, None when none was looked for.
        etag: the server's name for this version of the image, if it gave one.
        last_modified: the server's date of this version, as it was sent.
    """

    reference: str
    sha256: str | None = None
    probability: float | None = None
    error: ErrorCode | None = None
    cause: str | None = None
    frames: int | None = None
    frame_count: int | None = None
    width: int | None = None
    height: int | None = None
    partial: bool = False
    etag: str | None = None
    last_modified: str | None = None
    pdq: str | None = None

    def to_document(self) -> dict[str, Any]:
        """Give the JSON object to store; absent values are left out."""
        values = {
            "reference": self.reference,
            "sha256": self.sha256,
            "probability": self.probability,
            "error": None if self.error is None else self.error.value,
            "cause": self.cause,
            "frames": self.frames,
            "frame_count": self.frame_count,
            "width": self.width,
            "height": self.height,
            "partial": self.partial or None,
            "etag": self.etag,
            "last_modified": self.last_modified,
            "pdq": self.pdq,
        }
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> ImageRecord:
        """Read a stored object back.

        Raises:
            TypeError, ValueError: it is not one that saferank stored.
        """
        reference, error = values.get("reference"), values.get("error")
        probability = values.get("probability")
        if not isinstance(reference, str):
            raise TypeError("an image record needs a reference")
        if error is not None and error not in _CODES:
            raise ValueError(f"there is no error code {error!r}")
        for name in _TEXTS:
            if not isinstance(values.get(name), _TEXT_OR_NONE):
                raise TypeError(f"{name!r} of an image record is text")
        return cls(
            reference=reference,
            sha256=values.get("sha256"),
            probability=None if probability is None else as_probability(probability),
            error=None if error is None else _CODES[error],
            cause=values.get("cause"),
            frames=values.get("frames"),
            frame_count=values.get("frame_count"),
            width=values.get("width"),
            height=values.get("height"),
            partial=values.get("partial") is True,
            etag=values.get("etag"),
            last_modified=values.get("last_modified"),
            pdq=values.get("pdq"),
        )


@dataclass(frozen=True, slots=True)
class Match:
    """A decision that reaches a document because its images are copies of others.

    Attributes:
        decision: what was decided.
        known: id of the known picture, or pictures, that it was decided about.
        distance: bits of 256 in which the PDQ hashes differ; None when the bytes are the same.
        origin: the list, or the document, by which the picture is known.
    """

    decision: Override
    known: str
    distance: int | None = None
    origin: str | None = None

    def to_document(self) -> dict[str, Any]:
        """Give the JSON object to store; absent values are left out."""
        values = {"known": self.known, "distance": self.distance, "origin": self.origin}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SafetyRecord:
    """Everything the indexer stores about a document.

    Attributes:
        model: identity of the model and its preprocessing.
        scored_at: when the images were looked at, with a time zone.
        images: one entry an image, in the document's order.
        match: what was decided about copies of its images, or None.
    """

    model: str
    scored_at: datetime
    images: tuple[ImageRecord, ...]
    match: Match | None = None

    @property
    def statuses(self) -> tuple[Status, ...]:
        """What is stored: one status, or ``failed`` and ``not_read``, so that the harder counts."""
        if not self.images:
            return (Status.NO_IMAGE,)
        found = {status_of(image.error) for image in self.images if image.error is not None}
        if not found:
            return (Status.SCORED,)
        return tuple(status for status in Status if status in found)

    @property
    def status(self) -> Status:
        """The one that counts in figures: ``failed`` before ``not_read``."""
        return self.statuses[0]

    @property
    def probability(self) -> float | None:
        """Highest probability of the images that have one, as a float32 value in 0..1."""
        known = [image.probability for image in self.images if image.probability is not None]
        return max(known, default=None)

    @property
    def error(self) -> ErrorCode | None:
        """The first image's error, if any image has one; ``kind_not_read`` after all others."""
        found = None
        for image in self.images:
            if image.error is not None and status_of(image.error) is Status.FAILED:
                return image.error
            found = found or image.error
        return found

    def to_document(self) -> dict[str, Any]:
        """Give all fields that the indexer owns.

        What does not apply is an explicit null, so that a partial update erases older values.
        The fields of human decisions are never among them.
        """
        statuses = [status.value for status in self.statuses]
        return {
            "probability": self.probability,
            "model": self.model,
            "status": statuses if len(statuses) > 1 else statuses[0],
            "error": None if self.error is None else self.error.value,
            "scored_at": self.scored_at.isoformat(timespec="milliseconds"),
            "images": [image.to_document() for image in self.images],
            **copies_fields(self.images, self.match),
        }


def copies_fields(images: Iterable[ImageRecord], match: Match | None) -> dict[str, Any]:
    """The part of what is stored that finds copies of images, and says what came of it.

    It follows from the images and from what is known by then, so it can be written alone.
    """
    return {
        "digests": list(dict.fromkeys(image.sha256 for image in images if image.sha256)),
        "matched": None if match is None else match.decision.value,
        "matched_by": None if match is None else match.to_document(),
    }


@dataclass(frozen=True)
class StoredRecord:
    """What a document says about itself of what ``SafetyRecord`` stores, as far as it makes sense.

    Other writers may have put anything there. What cannot be read counts as absent.

    Attributes:
        values: the indexer's own fields as they stand in the document.
    """

    values: Mapping[str, Any]

    @property
    def model(self) -> str | None:
        """Identity of the model that scored the document."""
        model = self.values.get("model")
        return model if isinstance(model, str) else None

    @property
    def scored_at(self) -> datetime | None:
        """When it was scored; a time without a zone is in UTC, as Elasticsearch takes it."""
        try:
            time = datetime.fromisoformat(self.values["scored_at"])
        except (KeyError, TypeError, ValueError):
            return None
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    @cached_property
    def images(self) -> tuple[ImageRecord, ...]:
        """What is stored about its images."""
        images = self.values.get("images")
        return tuple(readable_images(images if isinstance(images, list) else []))

    def says(self, record: SafetyRecord) -> bool:
        """Whether it says all that a record says, but for the time."""
        document = record.to_document()
        del document["scored_at"]
        same = all(self.values.get(name) == value for name, value in document.items())
        return same and bool(self.values.get("scored_at"))


def readable_images(images: Iterable[Any]) -> Iterator[ImageRecord]:
    """Read stored image objects, and pass over those that others made."""
    for values in images:
        try:
            yield ImageRecord.from_document(values)
        except (TypeError, ValueError, AttributeError):
            continue
