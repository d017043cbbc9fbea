"""The shapes that requests and responses are made of, and reading them where clients may vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from saferank.errors import UnsafeRequest

Json = dict[str, Any]
"""An object of a request or a response."""

Query = dict[str, Any]
"""A clause of the Elasticsearch query language."""

MATCH_ALL: Query = {"match_all": {}}

LISTS = (list, tuple)
"""What a list of a request can be in Python; the client sends both as one."""

DEFAULT_SIZE = 10
"""How many hits a search gives, and a ranking looks at, when nothing is said."""


def names(text: str) -> frozenset[str]:
    """The words of a text, for lists of names that are too long to read in quotes."""
    return frozenset(text.split())


def as_list(value: Any) -> list[Any]:
    """A clause or a list of clauses as a new list; nothing is an empty one."""
    if value is None:
        return []
    return list(value) if isinstance(value, LISTS) else [value]


def as_object(value: Any) -> Json:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def an_object(value: Any, key: str) -> Json:
    """The value, which has to be an object.

    Raises:
        UnsafeRequest: it is none.
    """
    if not isinstance(value, dict):
        raise UnsafeRequest(key, "an object is expected")
    return value


def a_count(value: Any, key: str) -> int:
    """The value, which has to be a whole number, as a request may write one.

    Raises:
        UnsafeRequest: it is none, or one that the engine takes nowhere.
    """
    try:
        count = int(value)
    except (TypeError, ValueError, OverflowError):
        count = _MOST + 1
    if abs(count) > _MOST:
        raise UnsafeRequest(key, f"a whole number is expected, up to {_MOST}")
    return count


_MOST = 2**31 - 1


def as_incomplete(answer: Json, other: Json) -> Json:
    """An answer that says what was incomplete in another, which it was made with.

    Args:
        answer: to a search.
        other: likewise.
    """
    more_failed = other["_shards"]["failed"] > answer["_shards"]["failed"]
    return {
        **answer,
        "timed_out": answer["timed_out"] or other["timed_out"],
        "_shards": (other if more_failed else answer)["_shards"],
    }


class Page(NamedTuple):
    """The hits from ``start`` (0-based) up to, not including, ``end``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Number of hits."""
        return self.end - self.start

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Page:
        """The page that a search body asks for.

        Raises:
            UnsafeRequest: a number of it is none.
        """
        start, size = body.get("from"), body.get("size")
        start = 0 if start is None else a_count(start, "from")
        return cls(start, start + (DEFAULT_SIZE if size is None else a_count(size, "size")))
