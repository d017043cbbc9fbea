"""Completions of visible documents, out of more of them than are wanted.

Each completion says of which document it is, so those of hidden documents are taken out. What is
left depends on visible documents alone. The score of a completion is its weight; that of a demoted
document is multiplied by its factor. None further down can have a higher score than the last one
looked at, which is how far down it has to be looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from saferank.ranker.bodies import Json, names
from saferank.ranker.hits import KEY
from saferank.ranker.level.decision import Decision
from saferank.ranker.rerank import put_in_order
from saferank.ranker.rewrite.suggest import size_of

# Of equal texts one of a hidden document could stand for one of a visible document.
_DECIDED_HERE = names("shard_size size skip_duplicates")


class Chosen(NamedTuple):
    """What an application gets of the options that were found.

    Attributes:
        options: the best visible ones.
        proved: whether they are the best of all there are.
    """

    options: list[Json]
    proved: bool


def first_count(completion: Json) -> int:
    """How many completions to look at first; most often few are hidden."""
    return 2 * size_of(completion) + 10


def asking(completion: Json, count: int) -> Json:
    """The completion as it is sent, asking for this many."""
    kept = {key: item for key, item in completion.items() if key not in _DECIDED_HERE}
    return {**kept, "size": max(count, size_of(completion))}


def choose(
    options: Sequence[Json],
    shown: Sequence[Json],
    completion: Json,
    count: int,
    decision: Decision,
) -> Chosen:
    """The best visible completions.

    Args:
        options: all that were found.
        shown: those of them that nothing hides.
        completion: what was asked for.
        count: how many were looked at.
        decision: the level that holds.
    """
    size = size_of(completion)
    hits = [
        {"fields": option.get("fields", {}), "_score": option["_score"], "option": option}
        for option in shown
    ]
    best = []
    seen = set()
    for hit in put_in_order(hits, decision):
        option = {key: value for key, value in hit["option"].items() if key != "fields"}
        if not completion.get("skip_duplicates") or option["text"] not in seen:
            seen.add(option["text"])
            best.append({**option, "_score": hit["_score"], KEY: hit[KEY]})
    best = best[:size]
    # The engine counts the inputs that fit and gives each document once, so that fewer than asked
    # for are all there are only where none of them was a hidden document's.
    are_all = not options or (len(options) < max(count, size) and len(shown) == len(options))
    full = len(best) == size and best[-1]["_score"] >= options[-1]["_score"]
    return Chosen(best, are_all or full)
