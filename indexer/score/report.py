"""What becomes of documents that are to be scored: the outcomes, and their counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import ClassVar

from saferank.errors import ErrorCode
from saferank.indexer.keys import DocumentKey
from saferank.mappings.record import ImageRecord, Status


class Outcome(StrEnum):
    """What became of a document.

    The names are stored with jobs and are labels of figures, so none ever changes.
    """

    SCORED = Status.SCORED.value
    """Every image has a probability."""
    FAILED = Status.FAILED.value
    """At least one image has none, and should have one."""
    NOT_READ = Status.NOT_READ.value
    """All images without one are of kinds that are not read."""
    NO_IMAGE = Status.NO_IMAGE.value
    """It refers to no image."""
    MISSING = "missing"
    """There is no such document, or no longer."""
    SKIPPED = "skipped"
    """The same job did it already."""
    REJECTED = "rejected"
    """Nothing is stored; the report has the reason."""
    WAITING = "waiting"
    """It is to be tried again."""

    @property
    def is_settled(self) -> bool:
        """Whether it is final and counted here: the skipped were counted in a task before."""
        return self not in (Outcome.SKIPPED, Outcome.WAITING)


class SideCount(StrEnum):
    """What is counted beside the outcomes; its names are stored with them."""

    UNCHANGED = "unchanged"
    """Documents, of the scored, failed, not read and imageless, with nothing new to store."""
    INFERRED = "inferred"
    """Images that went through the model."""
    CONFLICTS = "conflicts"
    """Writes that another writer was ahead of."""
    ALLOWED_BEFORE = "allowed_before"
    """Documents that a person allowed, and that have other images now."""


@dataclass(frozen=True, slots=True)
class FailedImage:
    """An image without a probability, for whoever is to see what is wrong.

    Attributes:
        document: id of a document that it is an image of.
        code: what is wrong, as stored.
        reference: how the document names it; what is beyond ``LONGEST`` is cut off.
        cause: what was wrong, and which setting would change it.
    """

    document: str
    code: str
    reference: str
    cause: str | None

    LONGEST: ClassVar = 120
    """Characters of a reference: a data: URI has the whole image in it."""

    @classmethod
    def of(cls, document: str, image: ImageRecord, code: ErrorCode) -> FailedImage:
        """An image as it is stored."""
        return cls(document, code.value, image.reference[: cls.LONGEST], image.cause)

    def __str__(self) -> str:
        return f"document {self.document}: {self.code}: {self.reference}: {self.cause}"

    def to_json(self) -> dict[str, str | None]:
        """The same for programs, and for job records."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, str | None]) -> FailedImage:
        """Read it back; what a newer version says beside is left out."""
        known = {one.name: values.get(one.name) for one in fields(cls)}
        return cls(**known)  # type: ignore[arg-type]


@dataclass(slots=True)
class Report:
    """What became of a set of documents.

    Attributes:
        counts: documents by ``Outcome``, and what each ``SideCount`` says.
        failures: failed documents by error code.
        examples: the first image without a probability, by error code.
        missing: keys that no document has.
        rejected: keys of which nothing is stored, with the reason.
        waiting: keys to try again.
        wait: seconds that a server asked to wait before that, if one did.
        rest: keys that there was no time for.
    """

    counts: Counter[Outcome | SideCount] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, FailedImage] = field(default_factory=dict)
    missing: list[DocumentKey] = field(default_factory=list)
    rejected: dict[DocumentKey, str] = field(default_factory=dict)
    waiting: list[DocumentKey] = field(default_factory=list)
    wait: float | None = None
    rest: list[DocumentKey] = field(default_factory=list)

    def add_missing(self, keys: Iterable[DocumentKey]) -> None:
        """Note that there are no such documents."""
        for key in keys:
            self.counts[Outcome.MISSING] += 1
            self.missing.append(key)

    def add_rejected(self, keys: Iterable[DocumentKey], reason: str) -> None:
        """Note that nothing is stored with documents."""
        for key in keys:
            self.counts[Outcome.REJECTED] += 1
            self.rejected[key] = reason

    def add_waiting(self, keys: Iterable[DocumentKey], wait: float | None = None) -> None:
        """Note that documents are to be tried again, at least so many seconds later."""
        for key in keys:
            self.counts[Outcome.WAITING] += 1
            self.waiting.append(key)
        self._wait_at_least(wait)

    def add_rest(self, keys: Iterable[DocumentKey]) -> None:
        """Note that there was no time for documents; they are to be scored at once."""
        for key in keys:
            self.counts[Outcome.WAITING] += 1
            self.rest.append(key)

    def to_json(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "counts": {name.value: count for name, count in sorted(self.counts.items())},
            "failures": dict(self.failures),
            "examples": [image.to_json() for image in self.examples.values()],
            "missing": [key.id for key in self.missing],
            "rejected": {key.id: reason for key, reason in self.rejected.items()},
        }

    def add(self, other: Report) -> None:
        """Add another set's outcomes to these."""
        self.counts += other.counts
        self.failures += other.failures
        self.examples = other.examples | self.examples
        self.missing += other.missing
        self.rejected |= other.rejected
        self.waiting += other.waiting
        self.rest += other.rest
        self._wait_at_least(other.wait)

    def _wait_at_least(self, wait: float | None) -> None:
        if wait is not None:
            self.wait = max(wait, self.wait or 0.0)
