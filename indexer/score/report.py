"""What becomes of documents that are to be scored: the outcomes, and their counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from saferank.indexer.keys import DocumentKey
from saferank.mappings.record import Status


class Outcome(StrEnum):
    """What became of a document.

    The names are stored with jobs and are labels of figures, so none ever changes.
    """

    SCORED = Status.SCORED.value
    """Every image has a probability."""
    FAILED = Status.FAILED.value
    """At least one image has none."""
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
        """Whether it is the end of a document's way: the skipped had theirs, the waiting will."""
        return self not in (Outcome.SKIPPED, Outcome.WAITING)


class SideCount(StrEnum):
    """What is counted beside the outcomes; its names are stored with them."""

    UNCHANGED = "unchanged"
    """Documents, of the scored, failed and imageless, with nothing new to store."""
    INFERRED = "inferred"
    """Images that went through the model."""
    CONFLICTS = "conflicts"
    """Writes that another writer was ahead of."""


@dataclass(slots=True)
class Report:
    """What became of a set of documents.

    Attributes:
        counts: documents by ``Outcome``, and what each ``SideCount`` says.
        failures: failed documents by error code.
        missing: keys that no document has.
        rejected: keys of which nothing is stored, with the reason.
        waiting: keys to try again.
        wait: seconds that a server asked to wait before that, if one did.
    """

    counts: Counter[Outcome | SideCount] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    missing: list[DocumentKey] = field(default_factory=list)
    rejected: dict[DocumentKey, str] = field(default_factory=dict)
    waiting: list[DocumentKey] = field(default_factory=list)
    wait: float | None = None

    def add(self, other: Report) -> None:
        """Add another set's outcomes to these."""
        self.counts += other.counts
        self.failures += other.failures
        self.missing += other.missing
        self.rejected |= other.rejected
        self.waiting += other.waiting
        self.wait = max((w for w in (self.wait, other.wait) if w is not None), default=None)
