"""Which ways of demoting to try for a request, the cheapest first; the last is always right.

=========  =====================================================================================
none       the level demotes nothing: hiding is a filter
window     one shard: it demotes the best of the plain ranking itself, in a rescoring window
fetch      several shards: some hits more than the page are fetched and demoted here
in_query   the factor is part of the query; right for every request, but the engine can no
           longer skip documents that cannot make it to the top
=========  =====================================================================================

``fetch`` and ``window`` prove their result or give way to the next (see ``overfetch``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from saferank.ranker.bodies import LISTS, Page, names
from saferank.ranker.client.arguments import Request
from saferank.ranker.level.decision import Decision

MAX_WINDOW = 1000
"""Most hits that ``window`` looks at on the shard."""
MAX_FETCH = 200
"""Most hits that ``fetch`` transfers from several shards."""
_STEPS = ((1, 1), (2, 4), (4, 12))
"""How far to look, in multiples of the first step, and with how many hits beyond the page."""
_MOST_LOOKS = 2
"""How many of these one request tries before the way that needs no proof."""
_PATIENCE = 3
_RETRY_EVERY = 50
_REMEMBERED = 10_000

# Body keys with which a top of the plain ranking says something about the demoted ranking.
_SIMPLE = names(
    """
    _source docvalue_fields fields from highlight knn query runtime_mappings script_fields
    seq_no_primary_term size stats stored_fields timeout track_total_hits version
    """
)
# Queries to run once only: they search on their own at some cost, or score at random.
_ONCE = names("knn random_score semantic sparse_vector text_expansion weighted_tokens")
_INNER_HITS = names("inner_hits")


class Way(StrEnum):
    """A way of demoting."""

    NONE = "none"
    WINDOW = "window"
    FETCH = "fetch"
    IN_QUERY = "in_query"


_MOST = {Way.WINDOW: MAX_WINDOW, Way.FETCH: MAX_FETCH}


class Attempt(NamedTuple):
    """One way of answering a request.

    Attributes:
        way: how.
        depth: how many of the best in the plain ranking to look at; 0 when it looks at all.
        spare: how many hits beyond the page ``window`` returns, for the proof.
        step: number of the look at the top, from 0; each is further than the last.
    """

    way: Way
    depth: int = 0
    spare: int = 0
    step: int = 0


@dataclass
class Experience:
    """What earlier responses said about an index: hints about cost, never about correctness."""

    _shards: dict[str | None, int] = field(default_factory=dict)
    _failures: dict[tuple[str | None, str, int], int] = field(default_factory=dict)

    def shards(self, index: str | None) -> int:
        """Shards behind an index expression; 1 until a response has told."""
        return self._shards.get(index, 1)

    def saw_shards(self, index: str | None, shards: int) -> None:
        """Remember how many shards answered."""
        if len(self._shards) >= _REMEMBERED:
            self._shards.clear()
        self._shards[index] = shards

    def proved(self, index: str | None, level: str, step: int, *, exact: bool) -> None:
        """Remember whether a step of looking further down was far enough."""
        if len(self._failures) >= _REMEMBERED:
            self._failures.clear()
        key = (index, level, step)
        self._failures[key] = 0 if exact else self._failures.get(key, 0) + 1

    def hopeless(self, index: str | None, level: str, step: int) -> bool:
        """Whether it was never far enough lately; now and then it is tried again."""
        key = (index, level, step)
        failures = self._failures.get(key, 0)
        if failures < _PATIENCE:
            return False
        self._failures[key] = failures + 1
        return failures % _RETRY_EVERY != 0


def choose(request: Request, decision: Decision, experience: Experience) -> Iterator[Attempt]:
    """What to try for a request, in this order; the last one needs no proof."""
    if not decision.functions:
        yield Attempt(Way.NONE)
        return
    page, index = Page.of(request.body), request.index
    if _top_suffices(request, page):
        nearest = "knn" in request.body
        near, looks = depth_for(page), 0
        for step, (times, spare) in enumerate(_STEPS):
            # The first attempt can tell that there are more shards than was known.
            way = Way.FETCH if nearest or experience.shards(index) > 1 else Way.WINDOW
            if nearest and step:
                break  # A search for neighbours costs too much to be sent in vain twice.
            depth = times * near
            if depth <= _MOST[way] and not experience.hopeless(index, decision.level_name, step):
                yield Attempt(way, depth, spare, step)
                looks += 1
            if looks == _MOST_LOOKS:
                break
    yield Attempt(Way.IN_QUERY)


def _top_suffices(request: Request, page: Page) -> bool:
    """Whether the answer to a request can be made from the top of the plain ranking."""
    body = request.body
    if not body.keys() <= _SIMPLE or "scroll" in request.parameters:
        return False
    if "knn" in body:
        if body.get("query") is None:
            return False  # The section alone is demoted where it stands.
        if _asks(body["knn"], _INNER_HITS):
            return False  # Refused, so not to be tried.
    return page.start >= 0 and page.size > 0 and not _asks(body.get("query"), _ONCE)


def _asks(query: Any, kinds: frozenset[str]) -> bool:
    """Whether a query of one of these kinds is anywhere in a query."""
    if isinstance(query, dict):
        if not kinds.isdisjoint(query):
            return True
        query = query.values()
    elif not isinstance(query, LISTS):
        return False
    return any(_asks(part, kinds) for part in query if isinstance(part, (dict, *LISTS)))


def depth_for(page: Page) -> int:
    """How far down the plain ranking to look for a page at first.

    Where a fourth of the documents is demoted, n that are not are among the best n + n/3 on
    average, with a standard deviation of 2/3 of the root of n (a negative binomial distribution).
    Three of these on top were enough in 199 of 200 searches. Looking further lets the engine skip
    less. Twice as far is enough where more than half is demoted, as several categories together do.
    """
    return page.end + math.ceil(page.end / 3 + 2 * math.sqrt(page.end))
