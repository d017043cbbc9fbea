"""Suggestions: words of an index, and documents for a beginning; no query filters either."""

from __future__ import annotations

from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import an_object, names

_ENTRY = names("completion prefix regex text")
_COMPLETION = names("analyzer contexts field fuzzy regex shard_size size skip_duplicates")


def check_completions(suggest: Any, key: str) -> None:
    """See that all suggestions are completions, which say of which document they are.

    Args:
        suggest: name -> suggestion; beside them may be a text for all of them.
        key: its place in the request, for errors.

    Raises:
        UnsafeRequest: another kind of suggestion, or an option that is not understood.
    """
    for name, entry in an_object(suggest, key).items():
        if name == "text":
            continue
        here = f"{key}.{name}"
        for part in an_object(entry, here):
            if part in ("term", "phrase"):
                raise UnsafeRequest(
                    f"{here}.{part}",
                    "it suggests words of hidden documents, too. Search with 'fuzziness', which "
                    "finds what is spelled differently, or suggest by 'completion'; where a level "
                    "hides nothing, blocked documents neither ('blocked: show'), it is passed on",
                )
            if part not in _ENTRY:
                raise UnsafeRequest(f"{here}.{part}", "this key is not known to be safe")
        for option in an_object(entry.get("completion"), f"{here}.completion"):
            if option not in _COMPLETION:
                where = f"{here}.completion.{option}"
                raise UnsafeRequest(where, "this key is not known to be safe")
