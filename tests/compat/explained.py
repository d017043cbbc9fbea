"""Differences from the plain client that are meant to be, each with its reason."""

from __future__ import annotations

from typing import NamedTuple

from play import Asked

__all__ = ["reason_for"]


class _Explained(NamedTuple):
    file: str
    case: str
    levels: tuple[str, ...]
    reason: str


_HIDING = ("lax", "moderate", "strict")
_ALL = (
    _Explained(
        "indices.sort/10_basic.yml",
        "Index Sort",
        _HIDING,
        "the sort values of _doc are numbers of documents in the index, hidden ones among them",
    ),
)


def reason_for(asked: Asked, level: str) -> str | None:
    """Why a call's answer may differ at a level; None when it may not."""
    for entry in _ALL:
        if (entry.file, entry.case) == (asked.file, asked.case) and level in entry.levels:
            return entry.reason
    return None
