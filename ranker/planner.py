"""Which way of demoting is the cheapest for a request, among those that are exact for it.

=========  =====================================================================================
none       the level demotes nothing: hiding is a filter
window     one shard: it demotes the best of the plain ranking itself, in a rescoring window
fetch      several shards: more hits than needed are fetched and demoted here
in_query   the factor is part of the query; right for every request, but the engine can no
           longer skip documents that cannot make it to the top
=========  =====================================================================================

``window`` and ``fetch`` prove their result or give way to ``in_query`` (see ``overfetch``).
"""

from __future__ import annotations

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
"""Most hits that ``fetch`` transfers."""
_PATIENCE = 3
_RETRY_EVERY = 50
_REMEMBERED = 10_000

# Body keys with which a top of the plain ranking says something about the demoted ranking.
_SIMPLE = names(
    """
    _source docvalue_fields fields from highlight query runtime_mappings script_fields
    seq_no_primary_term size stats stored_fields timeout track_total_hits version
    """
)
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

    def shards(self, index: str | None) -> int:
        """Shards behind an index expression; 1 until a response has told."""
        return self._shards.get(index, 1)

    def saw_shards(self, index: str | None, shards: int) -> None:
        """Remember how many shards answered."""
        if len(self._shards) >= _REMEMBERED:
            self._shards.clear()
        self._shards[index] = shards

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


def choose(request: Request, decision: Decision, experience: Experience) -> Way:
    """The cheapest exact way for a request."""
    if not decision.functions:
        return Way.NONE
    body = request.body
    if not body.keys() <= _SIMPLE or not request.parameters.keys().isdisjoint(_IN_QUERY_PARAMETERS):
        return Way.IN_QUERY
    page = Page.of(body)
    if page.size == 0 or _asks(body.get("query"), _ONCE):
        return Way.IN_QUERY
    several = experience.shards(request.index) > 1
    way, most = (Way.FETCH, MAX_FETCH) if several else (Way.WINDOW, MAX_WINDOW)
    if depth(page) > most or experience.hopeless(request.index, decision.level):
        return Way.IN_QUERY
    return way


def _asks(query: Any, kinds: frozenset[str]) -> bool:
    """Whether a query of one of these kinds is anywhere in a query."""
    if isinstance(query, dict):
        return not kinds.isdisjoint(query) or any(_asks(part, kinds) for part in query.values())
    return isinstance(query, list) and any(_asks(part, kinds) for part in query)


def depth(page: Page) -> int:
    """How far down the plain ranking to look for a page.

    With a fourth of the documents demoted, one and a half times the page is nearly always enough.
    """
    return page.end + max(20, page.end // 2)
