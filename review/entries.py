"""The review log as values: what people did about an item, and what follows from it.

Each item has a chain of entries, numbered from 1, of which none is ever changed or taken out. What
is in force is computed from the whole chain by ``Standing.of``, and from nothing else: an override
in a document or in the index of overrides is a copy of it, and can be made again.

======  =========================================================================================
allow   the item is shown
block   the item is hidden
skip    the person leaves it to others, until something new is said about it
report  an application, or somebody who uses it, asks for it to be looked at
undo    an earlier entry counts no more
======  =========================================================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from saferank.errors import MappingError
from saferank.mappings.overrides import OverrideRecord
from saferank.mappings.record import Override

LONGEST_REASON = 2000
"""Most characters of a reason."""


class Act(StrEnum):
    """What somebody did about an item."""

    ALLOW = "allow"
    BLOCK = "block"
    SKIP = "skip"
    REPORT = "report"
    UNDO = "undo"


DECIDING = frozenset({Act.ALLOW, Act.BLOCK})
"""Acts that say what is to become of an item."""


@dataclass(frozen=True)
class Item:
    """A document that is up for review.

    Attributes:
        index: index or alias that the review is of; an alias goes along when it is moved.
        id: of the document.
        routing: the document's, if it has one.
    """

    index: str
    id: str
    routing: str | None = None

    @cached_property
    def key(self) -> str:
        """A name of fixed length, whatever the id."""
        whole = json.dumps([self.index, self.id, self.routing])
        return hashlib.sha256(whole.encode()).hexdigest()[:40]

    def to_document(self) -> dict[str, Any]:
        """The fields to store."""
        return {"key": self.key, "index": self.index, "document": self.id, "routing": self.routing}

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> Item:
        """Read stored fields back."""
        return cls(values["index"], values["document"], values.get("routing"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the log.

    Attributes:
        item: what it is about.
        act: what was done.
        by: who did it.
        token: made for the form that was sent; the same form sent twice is one entry.
        number: place in the item's chain, from 1; 0 before it has one.
        at: when, with a time zone.
        queue: in which review queue the item was met, or how else it came.
        reason: why, if it was said.
        undoes: of an ``undo``, the number of the entry that counts no more.
        probability: of the document at that time, if it had one.
        model: what that probability came from.
        policy: version of the policy at that time.
        digests: SHA-256 of the images that the document was scored by; an ``allow`` is for these.
        opinions: how many people have to agree before the item is settled, 1 or 2.
        batch: the same for all entries of one action on several items.
        before: an override that others than reviewers had made, when this entry was the first word
            of a reviewer; it is in force again when that is undone.
    """

    item: Item
    act: Act
    by: str
    token: str
    number: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    queue: str | None = None
    reason: str | None = None
    undoes: int | None = None
    probability: float | None = None
    model: str | None = None
    policy: str | None = None
    digests: tuple[str, ...] = ()
    opinions: int = 1
    batch: str | None = None
    before: OverrideRecord | None = None

    @property
    def id(self) -> str:
        """Of the stored document: a chain has one entry of a number, whoever comes first."""
        return entry_id(self.item, self.number)

    def to_record(self) -> OverrideRecord:
        """The override that a deciding entry makes."""
        return OverrideRecord(Override(self.act.value), self.by, self.at, self.reason, self.digests)

    def to_document(self) -> dict[str, Any]:
        """The document to store."""
        return {
            **self.item.to_document(),
            "number": self.number,
            "act": self.act.value,
            "by": self.by,
            "token": self.token,
            "at": self.at.isoformat(timespec="microseconds"),
            "queue": self.queue,
            "reason": self.reason,
            "undoes": self.undoes,
            "probability": self.probability,
            "model": self.model,
            "policy": self.policy,
            "digests": list(self.digests),
            "opinions": self.opinions,
            "batch": self.batch,
            "before": None if self.before is None else self.before.to_document(),
        }

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> Entry:
        """Read a stored document back.

        Raises:
            MappingError: it says something that only a newer version of saferank understands.
        """
        before = values.get("before")
        if values["act"] not in list(Act):
            raise MappingError(
                f"the review log has an entry of a newer saferank ({values['act']!r} about "
                f"document {values['document']!r}), and what is in force cannot be told without "
                "it; update this one"
            )
        return cls(
            item=Item.from_document(values),
            act=Act(values["act"]),
            by=values["by"],
            token=values["token"],
            number=values["number"],
            at=datetime.fromisoformat(values["at"]),
            queue=values.get("queue"),
            reason=values.get("reason"),
            undoes=values.get("undoes"),
            probability=values.get("probability"),
            model=values.get("model"),
            policy=values.get("policy"),
            digests=tuple(values.get("digests", ())),
            opinions=values.get("opinions", 1),
            batch=values.get("batch"),
            before=None if before is None else OverrideRecord.from_document(before),
        )


def entry_id(item: Item, number: int) -> str:
    """Id of the entry with this number in the item's chain."""
    return f"{item.key}-{number}"


def live(chain: Sequence[Entry]) -> list[Entry]:
    """The entries that count: those that are undone do not, nor does what undid them."""
    undone = {entry.undoes for entry in chain if entry.act is Act.UNDO}
    return [e for e in chain if e.act is not Act.UNDO and e.number not in undone]


def opinions_of(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The last word of each person, by name, in the order in which they were said."""
    said: dict[str, Entry] = {}
    for entry in entries:
        if entry.act in DECIDING:
            said.pop(entry.by, None)
            said[entry.by] = entry
    return said


@dataclass(frozen=True)
class Standing:
    """What follows from a chain.

    Attributes:
        override: what must be in force; None when nothing is to be.
        opinions: who said what, by name.
        waiting: another person has to say something before the item is settled.
        reports: those that nobody has answered by a decision.
        skipped_by: who left it to others, since anything else was said.
        length: entries of the chain that it was computed from.
        spoken_at: when reviewers last said something about its override; None if they never did,
            and then its override is not theirs to write.
    """

    override: OverrideRecord | None = None
    opinions: Mapping[str, Entry] = field(default_factory=dict)
    waiting: bool = False
    reports: tuple[Entry, ...] = ()
    skipped_by: frozenset[str] = frozenset()
    length: int = 0
    spoken_at: datetime | None = None

    @property
    def decided(self) -> bool:
        """Whether reviewers have settled it, and nobody asked anew."""
        return bool(self.opinions) and not self.waiting and not self.reports

    def is_open_to(self, person: str) -> bool:
        """Whether a person may be shown it in a queue."""
        if self.decided or person in self.skipped_by:
            return False
        return bool(self.reports) or not (self.waiting and person in self.opinions)

    @classmethod
    def of(cls, chain: Sequence[Entry]) -> Standing:
        """Compute it.

        With one opinion wanted, the last decision holds. With two, ``block`` holds as soon as
        anybody says so, and ``allow`` when two people do and more than say ``block``; as long as
        neither side has two and the majority, a further person is asked.

        Args:
            chain: all entries of one item, in order.
        """
        counting = live(chain)
        said = opinions_of(counting)
        base = _base(chain)
        last = max((entry.number for entry in said.values()), default=0)
        new = max((e.number for e in counting if e.act is not Act.SKIP), default=0)
        override, waiting = (base, False) if not said else _agreed(list(said.values()), base)
        return cls(
            override=override,
            opinions=said,
            waiting=waiting,
            reports=tuple(e for e in counting if e.act is Act.REPORT and e.number > last),
            skipped_by=frozenset(e.by for e in counting if e.act is Act.SKIP and e.number > new),
            length=len(chain),
            spoken_at=_spoken_at(chain),
        )


def _agreed(
    said: Sequence[Entry], base: OverrideRecord | None
) -> tuple[OverrideRecord | None, bool]:
    """What opinions come to, and whether they leave something open."""
    newest = max(said, key=lambda entry: entry.number)
    if newest.opinions == 1:
        return newest.to_record(), False
    allow = [entry for entry in said if entry.act is Act.ALLOW]
    block = [entry for entry in said if entry.act is Act.BLOCK]
    settled = max(len(allow), len(block)) >= 2 and len(allow) != len(block)
    if settled and len(allow) > len(block):
        return allow[-1].to_record(), False
    return (block[-1].to_record() if block else base), not settled


def _base(chain: Sequence[Entry]) -> OverrideRecord | None:
    """The override of others that stood when reviewers first had a word, after all was undone."""
    base = None
    for place, entry in enumerate(chain):
        if entry.act in DECIDING and not opinions_of(live(chain[:place])):
            base = entry.before
    return base


def _spoken_at(chain: Sequence[Entry]) -> datetime | None:
    deciding = {entry.number for entry in chain if entry.act in DECIDING}
    spoken = [e.at for e in chain if e.number in deciding or e.undoes in deciding]
    return max(spoken, default=None)
