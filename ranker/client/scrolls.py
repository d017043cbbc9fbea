"""Scroll ids that remember the level they were made at.

A scroll's filter is fixed when it begins. Its id, given away by the engine as it is, would let
a request in another context read on at the looser level. So what an application gets is a token:
the id with the level, signed, so that whoever holds tokens cannot put parts of them together.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace

from saferank.errors import UnsafeRequest
from saferank.mappings.fields import DecidingFields
from saferank.ranker.hits import HitReader
from saferank.ranker.level.decision import Decision

_MARK = "saferank"
_SOURCE = "_source"
_BLIND = "-"
_AND = "+"


@dataclass(frozen=True, slots=True)
class ScrollToken:
    """A scroll id with what is needed to read on.

    Attributes:
        scroll_id: as the engine gave it.
        cache_key: of the decision at which the scroll began.
        hits: where its hits carry their safety fields: ``_source``; ``-`` where they cannot be
            read; else the fields to take out of the hits again.
    """

    scroll_id: str
    cache_key: str
    hits: str

    @classmethod
    def of(cls, scroll_id: str, decision: Decision, reader: HitReader) -> ScrollToken:
        """The token for a scroll that begins."""
        added = _BLIND if reader.blind else _AND.join(reader.added)
        return cls(scroll_id, decision.cache_key, _SOURCE if reader.in_source else added)

    @classmethod
    def parse(cls, text: object, key: bytes) -> ScrollToken:
        """Read a token.

        Args:
            text: what the application has.
            key: that it was signed with.

        Raises:
            UnsafeRequest: it was not made by a safe client with this key.
        """
        mark, slash, rest = str(text).partition("/")
        signature, _, content = rest.partition("/")
        parts = content.split("/", 2)
        if mark != _MARK or not slash or len(parts) != 3:
            raise UnsafeRequest("scroll_id", "this scroll was not begun through a safe client")
        if not hmac.compare_digest(_bytes(signature), _signature(content, key).encode()):
            raise UnsafeRequest(
                "scroll_id",
                "it is not signed by this client: it was changed, or begun in another process; "
                "give the clients of all processes the same 'secret='",
            )
        cache_key, hits, scroll_id = parts
        return cls(scroll_id, cache_key, hits)

    def signed(self, key: bytes) -> str:
        """The token as the application gets it."""
        content = "/".join((self.cache_key, self.hits, self.scroll_id))
        return "/".join((_MARK, _signature(content, key), content))

    def check(self, decision: Decision) -> None:
        """See that the scroll began at the level that holds now.

        Raises:
            UnsafeRequest: it did not.
        """
        if decision.cache_key != self.cache_key:
            raise UnsafeRequest("scroll_id", "this scroll began at another level; start it again")

    def renewed(self, scroll_id: str) -> ScrollToken:
        """The token with the id for the next page."""
        return replace(self, scroll_id=scroll_id)

    def reader(self, fields: DecidingFields) -> HitReader:
        """What reads this scroll's hits."""
        if self.hits in (_SOURCE, _BLIND):
            return HitReader(fields, in_source=self.hits == _SOURCE, blind=self.hits == _BLIND)
        added = tuple(self.hits.split(_AND)) if self.hits else ()
        return HitReader(fields, in_source=False, added=added)


def _signature(content: str, key: bytes) -> str:
    return hmac.digest(key, _bytes(content), "sha256").hex()


def _bytes(text: str) -> bytes:
    # An application may hand on any text, half a surrogate pair too.
    return text.encode(errors="backslashreplace")
