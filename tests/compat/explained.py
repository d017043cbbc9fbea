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
    _Explained(
        "msearch/20_typed_keys.yml",
        "Multisearch test with typed_keys parameter",
        ("off", *_HIDING),
        "a phrase's score goes by the words of all documents, as surfaces.md says; and the search "
        "that is sent without its suggestions says that it was not terminated early",
    ),
    _Explained(
        "search/170_terms_query.yml",
        "Terms Query with No.of terms exceeding index.max_terms_count should FAIL",
        ("moderate", "strict"),
        "the index takes two values in a 'terms' query, and the level's own has three",
    ),
)


def reason_for(asked: Asked, level: str) -> str | None:
    """Why a call's answer may differ at a level; None when it may not."""
    for entry in _ALL:
        if (entry.file, entry.case) == (asked.file, asked.case) and level in entry.levels:
            return entry.reason
    return None
