"""The shapes that requests and responses are made of, and reading them where clients may vary."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
"""An object of a request or a response."""

Query = dict[str, Any]
"""A clause of the Elasticsearch query language."""

MATCH_ALL: Query = {"match_all": {}}

LISTS = (list, tuple)
"""What a list of a request can be in Python; the client sends both as one."""


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
