"""Scroll ids that remember the level they were made at.

A scroll's filter is fixed when it begins. Its id, given away by the engine as it is, would let
a request in another context read on at the looser level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from saferank.errors import UnsafeRequest
from saferank.mappings.fields import SafetyFields
from saferank.ranker.hits import HitReader
from saferank.ranker.level.decision import Decision

_MARK = "saferank"
_SOURCE = "_source"
_AND = "+"


@dataclass(frozen=True, slots=True)
class ScrollToken:
    """A scroll id with what is needed to read on.

    Attributes:
        scroll_id: as the engine gave it.
        cache_key: of the decision at which the scroll began.
        asked: doc values that were asked for on top of the request; None: the source has all.
    """

    scroll_id: str
    cache_key: str
    asked: tuple[str, ...] | None

    @classmethod
    def of(cls, scroll_id: str, decision: Decision, reader: HitReader) -> ScrollToken:
        """The token for a scroll that begins."""
        asked = None if reader.in_source else reader.asked
        return cls(scroll_id, decision.cache_key, asked)

    @classmethod
    def parse(cls, text: object) -> ScrollToken:
        """Read a token.

        Raises:
            UnsafeRequest: it was not made by a safe client.
        """
        parts = str(text).split("/", 3)
        if len(parts) != 4 or parts[0] != _MARK:
            raise UnsafeRequest("scroll_id", "this scroll was not begun through a safe client")
        _, cache_key, asked, scroll_id = parts
        if asked == _SOURCE:
            return cls(scroll_id, cache_key, None)
        return cls(scroll_id, cache_key, tuple(asked.split(_AND)) if asked else ())

    def __str__(self) -> str:
        asked = _SOURCE if self.asked is None else _AND.join(self.asked)
        return "/".join((_MARK, self.cache_key, asked, self.scroll_id))

    def check(self, decision: Decision) -> None:
        """See that the scroll began at the level that holds now.

        Raises:
            UnsafeRequest: it did not.
        """
        if decision.cache_key != self.cache_key:
            raise UnsafeRequest("scroll_id", "this scroll was begun at another level; begin anew")

    def renewed(self, scroll_id: str) -> ScrollToken:
        """The token with the id for the next page."""
        return replace(self, scroll_id=scroll_id)

    def reader(self, fields: SafetyFields) -> HitReader:
        """What reads this scroll's hits."""
        return HitReader(fields, in_source=self.asked is None, asked=self.asked or ())
