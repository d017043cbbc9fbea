"""The documents of an index, counted by what decides about them.

One search without hits counts the documents by *cell*: the state that they are in, and between
which two bounds their probability lies. What a level does to a cell is what ``level/verdicts`` says
of it, so all levels of two policies are judged from the same counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, pairwise, product
from typing import Any

from elasticsearch import Elasticsearch

from saferank.calibration.index import check_whole
from saferank.mappings.override_index import read_overrides
from saferank.ranker.bodies import Json, Query
from saferank.ranker.level.level import Level, Treatment
from saferank.ranker.level.states import ALLOW, BLOCK, SCORED, STATES, StateQueries, any_of
from saferank.ranker.level.thresholds import Interval, Ranges
from saferank.ranker.level.verdicts import Action, Rule, Verdict, verdict
from saferank.ranker.policy.policy import OneCategoryPolicy, Policy

_DECIDED = ("allowed", "blocked")
_STATUSES = [name for name in STATES if name not in ("unscored", *_DECIDED)]


@dataclass(frozen=True)
class Cell:
    """Documents to which each level does the same.

    Attributes:
        state: names out of ``STATES``; none for a document that is scored and undecided.
        at_least: the bound that their probability reaches, 0 for none of them; None where a level
            looks at no probability, or there is none that counts.
        blocked_elsewhere: whether they are blocked outside of the documents.
    """

    state: frozenset[str]
    at_least: float | None = None
    blocked_elsewhere: bool = False

    @property
    def is_decided(self) -> bool:
        """Whether a person decided about them."""
        return self.blocked_elsewhere or not self.state.isdisjoint(_DECIDED)

    def reaching(self, bound: float | None) -> Cell:
        """Those of them that reach a bound, and no higher one; None for no probability."""
        if not self.state.isdisjoint(_DECIDED):
            return self
        state = self.state or frozenset(() if bound is not None else {"unscored"})
        return Cell(state, bound, self.blocked_elsewhere)

    def verdict(self, level: Level) -> Verdict:
        """What the level does to them."""
        if self.blocked_elsewhere and level.blocked is Treatment.HIDE:
            return Verdict(Action.HIDDEN, Rule.BLOCKED)
        (reached,) = Ranges.of(level).each([math.nan if self.at_least is None else self.at_least])
        return verdict(level, self.state, reached)


@dataclass(frozen=True)
class Layout:
    """The cells of an index, as one policy tells states apart.

    Attributes:
        queries: for the states, under the policy.
        bounds: ascending, from 0 on; a cell has those probabilities that reach one and no higher.
    """

    queries: StateQueries
    bounds: Sequence[float]

    @classmethod
    def of(
        cls, client: Elasticsearch, policy: OneCategoryPolicy, bounds: Sequence[float]
    ) -> Layout:
        """Those of a policy, with the overrides that hold now."""
        overrides = None if policy.overrides is None else read_overrides(client, policy.overrides)
        return cls(StateQueries(policy.fields, policy.model, overrides), bounds)

    def unusual(self) -> list[tuple[Cell, Query]]:
        """Cells of documents with a decision or a status, or blocked elsewhere; few of them."""
        queries = self.queries
        allowed = {
            "bool": {"filter": [queries.override(ALLOW)], "must_not": [queries.override(BLOCK)]}
        }
        found = [
            (Cell(frozenset({name}), None, elsewhere), _all(condition, *place))
            for name, condition in zip(_DECIDED, (allowed, any_of(queries.blocked)), strict=True)
            for elsewhere, place in self._places()
        ]
        sets = chain.from_iterable(combinations(_STATUSES, n) for n in range(len(_STATUSES) + 1))
        for statuses, (elsewhere, place) in product(sets, self._places()):
            known = [queries.status(name) for name in statuses]
            others = [queries.status(name) for name in _STATUSES if name not in statuses]
            if known or elsewhere:
                query = {
                    "bool": {"filter": [*known, *place], "must_not": [queries.decided, *others]}
                }
                found.append((Cell(frozenset(statuses), None, elsewhere), query))
        return found

    @property
    def may_be_unusual(self) -> Query:
        """Matches all of them, and costs little: what is not asked of every document is fast."""
        status = self.queries.fields.status
        others = [{"range": {status: {"lt": SCORED}}}, {"range": {status: {"gt": SCORED}}}]
        return any_of([self.queries.decided, *others, *self.queries.blocked_elsewhere])

    def by_value(self) -> Json:
        """Aggregations of documents by the ranges in which their values lie."""
        ends = [{"to": end} for end in self.bounds[1:]]
        ranges = [
            {"from": start} | end for start, end in zip(self.bounds, [*ends, {}], strict=True)
        ]
        # What lies below 0 counts as 1.
        asked = {"field": self.queries.fields.probability, "ranges": [{"to": 0.0}, *ranges]}
        return {
            "scored": {"filter": self.queries.scored, "aggs": {"ranges": {"range": asked}}},
        }

    def by_query(self) -> list[tuple[Cell, Query]]:
        """All cells; of several probabilities, queries see the highest."""
        reached = [any_of(self.queries.in_range(Interval(bound))) for bound in self.bounds]
        ranges: list[tuple[float | None, Query]] = [
            (None, {"bool": {"must_not": [self.queries.scored]}}),
            *(
                (bound, {"bool": {"filter": [start], "must_not": [end]}})
                for bound, (start, end) in zip(self.bounds, pairwise(reached), strict=False)
            ),
            (self.bounds[-1], reached[-1]),
        ]
        unusual = self.unusual()
        usual = {"bool": {"must_not": [query for _, query in unusual]}}
        return [
            (cell.reaching(bound), _all(query, part))
            for cell, query in [(Cell(frozenset()), usual), *unusual]
            for bound, part in ranges
        ]

    def _places(self) -> list[tuple[bool, list[Query]]]:
        elsewhere = self.queries.blocked_elsewhere
        if not elsewhere:
            return [(False, [])]
        return [(False, [{"bool": {"must_not": elsewhere}}]), (True, [any_of(elsewhere)])]


def _all(*queries: Query) -> Query:
    return {"bool": {"filter": list(queries)}}


def _filters(cells: Sequence[tuple[Cell, Query]]) -> Json:
    return {"filters": {"filters": [query for _, query in cells]}}


def counts_of_cells(
    client: Elasticsearch, index: str, layouts: Sequence[Layout]
) -> Counter[tuple[Cell, ...]]:
    """Documents by their cells, one for each layout."""
    if len(layouts) == 1 and (found := _by_value(client, index, layouts[0])) is not None:
        return found
    return _by_query(client, index, layouts)


def _by_value(
    client: Elasticsearch, index: str, layout: Layout
) -> Counter[tuple[Cell, ...]] | None:
    """In one pass over the values; None where documents have several, which are counted twice.

    What is usual is what is left when the unusual is taken from all.
    """
    unusual, inside = layout.unusual(), layout.by_value()
    cells = {"cells": {**_filters(unusual), "aggs": inside}}
    some = {"filter": layout.may_be_unusual, "aggs": cells}
    response = aggregate(client, index, {**inside, "unusual": some})
    found = response["aggregations"]
    if (
        sum(one["doc_count"] for one in found["scored"]["ranges"]["buckets"])
        != (found["scored"]["doc_count"])
    ):
        return None
    total = response["hits"]["total"]["value"]
    rest = _spread(layout, found, total)
    counts = Counter[Cell]()
    for (cell, _), bucket in zip(unusual, found["unusual"]["cells"]["buckets"], strict=True):
        for bound, count in _spread(layout, bucket, bucket["doc_count"]).items():
            rest[bound] -= count
            counts[cell.reaching(bound)] += count
    for bound, count in rest.items():
        counts[Cell(frozenset()).reaching(bound)] += count
    return Counter({(cell,): count for cell, count in counts.items() if count})


def _spread(layout: Layout, found: Mapping[str, Any], count: int) -> Counter[float | None]:
    """Documents by the bound that they reach; None for those without a probability."""
    spread = Counter[float | None]({None: count - found["scored"]["doc_count"]})
    buckets = found["scored"]["ranges"]["buckets"]
    for bound, bucket in zip([layout.bounds[-1], *layout.bounds], buckets, strict=True):
        spread[bound] += bucket["doc_count"]
    return spread


_MOST_BUCKETS = 30_000
"""In one answer; the engine refuses 65,536."""


def _by_query(
    client: Elasticsearch, index: str, layouts: Sequence[Layout]
) -> Counter[tuple[Cell, ...]]:
    """By a query for each cell, and inside of it for each cell of the next layout."""
    first, *rest = [layout.by_query() for layout in layouts]
    inside: Json = {}
    for some in reversed(rest):
        inside = {"aggs": {"cells": {**_filters(some), **inside}}}
    counts = Counter[tuple[Cell, ...]]()
    together = max(1, _MOST_BUCKETS // (1 + math.prod(map(len, rest))))
    for start in range(0, len(first), together):
        part = first[start : start + together]
        response = aggregate(client, index, {"cells": {**_filters(part), **inside}})
        for found, count in _read([[cell for cell, _ in some] for some in (part, *rest)], response):
            counts[found] += count
    return counts


def _read(
    cells: Sequence[Sequence[Cell]], response: Json
) -> Iterator[tuple[tuple[Cell, ...], int]]:
    def inside(
        rest: Sequence[Sequence[Cell]], found: Json, so_far: tuple[Cell, ...]
    ) -> Iterator[tuple[tuple[Cell, ...], int]]:
        for cell, bucket in zip(rest[0], found["cells"]["buckets"], strict=True):
            if not bucket["doc_count"]:
                continue
            if rest[1:]:
                yield from inside(rest[1:], bucket, (*so_far, cell))
            else:
                yield (*so_far, cell), bucket["doc_count"]

    return inside(cells, response["aggregations"], ())


def aggregate(client: Elasticsearch, index: str, aggregations: Json) -> Json:
    """Ask an index for aggregations over all of its documents, and no hits.

    Raises:
        ServiceUnavailable: a shard did not answer.
    """
    response = client.search(index=index, size=0, track_total_hits=True, aggs=aggregations)
    check_whole(index, response.body)
    return dict(response.body)


def thresholds_of(policy: Policy | None) -> set[float]:
    """All thresholds of a policy's levels."""
    return {
        value
        for one in (policy.by_category().values() if policy is not None else ())
        for level in one.levels.values()
        for value in level.thresholds.values()
    }
