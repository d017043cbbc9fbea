"""Which ways of demoting to try for a request, the cheapest first; the last is always right.

=========  =====================================================================================
none       the level demotes nothing: hiding is a filter
fetch      a few hits more than the page are fetched and demoted here
window     one shard: it demotes the best of the plain ranking itself, in a rescoring window
in_query   the factor is part of the query; right for every request, but the engine can no
           longer skip documents that cannot make it to the top
=========  =====================================================================================

``fetch`` and ``window`` prove their result or give way to the next (see ``overfetch``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from saferank.ranker.decision import Decision
from saferank.ranker.requests import Request
from saferank.ranker.rewrite_query import names

MAX_WINDOW = 1000
"""Most hits that ``window`` looks at on the shard."""
MAX_FETCH = 200
"""Most hits that ``fetch`` transfers from several shards."""
MAX_EXTRA = 20
"""Most hits beyond the page that cost less to transfer than one shard to demote them."""
_PATIENCE = 3
_RETRY_EVERY = 50
_REMEMBERED = 10_000
_USUAL_SHARE = 0.25
_LEARNING_RATE = 0.1

# Body keys with which a top of the plain ranking says something about the demoted ranking.
_SIMPLE = names(
    """
    _source docvalue_fields fields from highlight query runtime_mappings script_fields
    seq_no_primary_term size stats stored_fields timeout track_total_hits version
    """
)
# Those of them that make a hit no more expensive than its source.
_LIGHT = names("_source from query seq_no_primary_term size stats timeout track_total_hits version")
# Queries to run once only: they search on their own at some cost, or score at random.
_ONCE = names("knn random_score semantic sparse_vector text_expansion weighted_tokens")
# Parameters that change which hits come, or take parts out of the response.
_IN_QUERY_PARAMETERS = frozenset({"scroll", "filter_path"})
_DEFAULT_SIZE = 10


class Way(StrEnum):
    """A way of demoting."""

    NONE = "none"
    WINDOW = "window"
    FETCH = "fetch"
    IN_QUERY = "in_query"


@dataclass(frozen=True, slots=True)
class Page:
    """The hits from ``start`` (0-based) up to, not including, ``end``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Number of hits."""
        return self.end - self.start

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Page:
        """The page that a search body asks for."""
        start, size = body.get("from"), body.get("size")
        start = 0 if start is None else int(start)
        return cls(start, start + (_DEFAULT_SIZE if size is None else int(size)))


@dataclass
class Experience:
    """What earlier responses said about an index: hints about cost, never about correctness."""

    _shards: dict[str | None, int] = field(default_factory=dict)
    _failures: dict[tuple[str | None, str], int] = field(default_factory=dict)
    _shares: dict[tuple[str | None, str], float] = field(default_factory=dict)

    def shards(self, index: str | None) -> int:
        """Shards behind an index expression; 1 until a response has told."""
        return self._shards.get(index, 1)

    def saw_shards(self, index: str | None, shards: int) -> None:
        """Remember how many shards answered."""
        if len(self._shards) >= _REMEMBERED:
            self._shards.clear()
        self._shards[index] = shards

    def share(self, index: str | None, level: str) -> float:
        """The share of the best hits that the level demotes; a guess until some were seen."""
        return self._shares.get((index, level), _USUAL_SHARE)

    def saw_share(self, index: str | None, level: str, share: float) -> None:
        """Remember what share of the best hits was demoted."""
        if len(self._shares) >= _REMEMBERED:
            self._shares.clear()
        known = self.share(index, level)
        self._shares[index, level] = known + _LEARNING_RATE * (share - known)

    def proved(self, index: str | None, level: str, *, exact: bool) -> None:
        """Remember whether the top of the plain ranking was enough."""
        if len(self._failures) >= _REMEMBERED:
            self._failures.clear()
        key = (index, level)
        self._failures[key] = 0 if exact else self._failures.get(key, 0) + 1

    def hopeless(self, index: str | None, level: str) -> bool:
        """Whether it was never enough lately; now and then it is tried again."""
        key = (index, level)
        failures = self._failures.get(key, 0)
        if failures < _PATIENCE:
            return False
        self._failures[key] = failures + 1
        return failures % _RETRY_EVERY != 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way of answering a request.

    Attributes:
        way: how.
        depth: how many of the best in the plain ranking to look at; 0 when it looks at all.
    """

    way: Way
    depth: int = 0


def choose(request: Request, decision: Decision, experience: Experience) -> list[Attempt]:
    """What to try for a request, in this order; the last one needs no proof."""
    if not decision.functions:
        return [Attempt(Way.NONE)]
    in_query = Attempt(Way.IN_QUERY)
    body, index, level = request.body, request.index, decision.level
    if not body.keys() <= _SIMPLE or not request.parameters.keys().isdisjoint(_IN_QUERY_PARAMETERS):
        return [in_query]
    page = Page.of(body)
    if page.size == 0 or _asks(body.get("query"), _ONCE) or experience.hopeless(index, level):
        return [in_query]
    near = likely_depth(page, experience.share(index, level))
    if experience.shards(index) > 1:
        depths = (near, 2 * near)
        return [*(Attempt(Way.FETCH, depth) for depth in depths if depth <= MAX_FETCH), in_query]
    attempts = []
    if (
        near - page.size <= MAX_EXTRA
        and body.keys() <= _LIGHT
        and body.get("_source", True) is True
    ):
        attempts.append(Attempt(Way.FETCH, near))
    if (far := sure_depth(page)) <= MAX_WINDOW:
        attempts.append(Attempt(Way.WINDOW, far))
    return [*attempts, in_query]


def _asks(query: Any, kinds: frozenset[str]) -> bool:
    """Whether a query of one of these kinds is anywhere in a query."""
    if isinstance(query, dict):
        return not kinds.isdisjoint(query) or any(_asks(part, kinds) for part in query.values())
    return isinstance(query, list) and any(_asks(part, kinds) for part in query)


def likely_depth(page: Page, share: float) -> int:
    """How far down the plain ranking a page most likely reaches.

    The number of hits among which, in 98 of 100 cases, there are enough that are not demoted, when
    each is demoted with a probability of ``share``: the mean of the negative binomial distribution
    and two of its standard deviations.
    """
    kept = max(1 - share, 0.01)
    return math.ceil(page.end / kept + 2 * math.sqrt(page.end * share) / kept)


def sure_depth(page: Page) -> int:
    """How far to look where looking costs little.

    With a fourth of the documents demoted, one and a half times the page is nearly always enough.
    """
    return page.end + max(20, page.end // 2)
