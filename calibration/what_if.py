"""What a policy would do to the documents of an index, counted before it goes live.

One search without hits counts the documents by *cell*: the state that they are in, and between
which two bounds their probability lies. What a level does to a cell is what ``level/verdicts`` says
of it, so all levels of two policies are judged from the same counts.

Cells of several categories together would be too many. There each pair of levels is counted by the
queries that hide and demote, and the cells only tell the states and probabilities of a category.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, pairwise, product
from typing import Any

from elasticsearch import Elasticsearch

from saferank.calibration.index import Drawn, Population, check_whole
from saferank.errors import ContextError, PolicyError
from saferank.mappings.float32 import as_float32
from saferank.mappings.override_index import read_overrides
from saferank.mappings.overrides import Overrides
from saferank.ranker.bodies import Json, Query
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Level, Treatment
from saferank.ranker.level.states import ALLOW, BLOCK, SCORED, STATES, StateQueries, any_of
from saferank.ranker.level.thresholds import Interval, Ranges
from saferank.ranker.level.verdicts import Action, Rule, Verdict, verdict
from saferank.ranker.policy.policy import OneCategoryPolicy, Policy

MOST_CONTEXTS = 1_000
"""Most combinations of attribute values that the entries under ``contexts`` may name."""

_DECIDED = ("allowed", "blocked")
_STATUSES = [name for name in STATES if name not in ("unscored", *_DECIDED)]
_PARTS = [as_float32(number / 20) for number in range(1, 20)]
"""Bounds of the histogram's bars, beside the thresholds."""


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
class Outcome:
    """What becomes of all documents for some requests.

    Attributes:
        rule: number of the entry under ``contexts`` that decides, from 1.
        context: an example of the requests.
        level: name of their level.
        before: name of their level under the other policy; None where it refuses them, or there is
            no other.
        now: documents by action.
        changed: documents by (action before, action now), where these differ.
        blurred: documents to be blurred, demoted ones among them.
        blurred_before: the same under the other policy; None as ``before``.
    """

    rule: int
    context: Mapping[str, str]
    level: str
    before: str | None
    now: Mapping[Action, int]
    changed: Mapping[tuple[Action, Action], int]
    blurred: int
    blurred_before: int | None


@dataclass(frozen=True)
class Counts:
    """The documents of an index, as one category sees them.

    Attributes:
        states: documents by state; one may be in several. ``overridden`` are those that a person
            decided about.
        histogram: bound -> documents whose probability lies from it on to below the next one, of
            those that no person decided about. Bounds are 0, twentieths, and all thresholds.
    """

    states: Mapping[str, int]
    histogram: Mapping[float, int]

    @classmethod
    def of(cls, cells: Mapping[Cell, int]) -> Counts:
        """Those of cells."""
        return cls(_states(cells), _histogram(cells))


@dataclass(frozen=True)
class WhatIf:
    """What a policy does to an index.

    Attributes:
        documents: in the index.
        categories: by name of a category, what it sees; under None in a policy of version 1.
        outcomes: one for each entry under ``contexts`` and level before.
        compared: whether there was another policy.
    """

    documents: int
    categories: Mapping[str | None, Counts]
    outcomes: Sequence[Outcome]
    compared: bool


def what_if(
    client: Elasticsearch, index: str, policy: Policy, against: Policy | None = None
) -> WhatIf:
    """Count what a policy does, and what changes from another one.

    Args:
        client: a plain client.
        index: index, alias or pattern with the safety fields.
        policy: the policy.
        against: the one that holds today.

    Raises:
        PolicyError: the entries under ``contexts`` name more combinations than can be looked at.
        MappingError: a policy's index of overrides is not there.
        ServiceUnavailable: a shard did not answer.
    """
    if isinstance(policy, OneCategoryPolicy) and isinstance(against, OneCategoryPolicy | None):
        return _by_cells(client, index, policy, against)
    categories = {
        name: Counts.of(_cells(client, index, part)) for name, part in policy.by_category().items()
    }
    return WhatIf(
        documents=_search(client, index, {})["hits"]["total"]["value"],
        categories=categories,
        outcomes=list(_outcomes_by_queries(client, index, policy, against)),
        compared=against is not None,
    )


def _by_cells(
    client: Elasticsearch,
    index: str,
    policy: OneCategoryPolicy,
    against: OneCategoryPolicy | None,
) -> WhatIf:
    bounds = sorted({0.0, *_PARTS, *thresholds_of(policy), *thresholds_of(against)})
    layouts = [_Layout.of(client, policy, bounds)]
    if against is not None and (other := _Layout.of(client, against, bounds)) != layouts[0]:
        layouts.append(other)
    counts = _counts(client, index, layouts)
    now, before = Counter[Cell](), Counter[tuple[Cell, Cell]]()
    for cells, count in counts.items():
        now[cells[0]] += count
        before[cells[-1], cells[0]] += count
    return WhatIf(
        documents=now.total(),
        categories={None: Counts.of(now)},
        outcomes=list(_outcomes(policy, against, now, before)),
        compared=against is not None,
    )


def _cells(client: Elasticsearch, index: str, policy: OneCategoryPolicy) -> Counter[Cell]:
    bounds = sorted({0.0, *_PARTS, *thresholds_of(policy)})
    counts = _counts(client, index, [_Layout.of(client, policy, bounds)])
    return Counter({cell: count for (cell,), count in counts.items()})


def _outcomes_by_queries(
    client: Elasticsearch, index: str, policy: Policy, against: Policy | None
) -> Iterator[Outcome]:
    known = {
        one.overrides: read_overrides(client, one.overrides)
        for one in (policy, against)
        if one is not None and one.overrides is not None
    }

    def queries(one: Policy, level: str) -> tuple[dict[Action, Query], Query]:
        overrides = known[one.overrides] if one.overrides is not None else Overrides()
        decision = one.decision_for(level).knowing(overrides)
        return _by_action(decision), _blurred(decision)

    for (rule, name, old), context in _requests(policy, against).items():
        now, blurred = queries(policy, name)
        inside: Json = {"blurred": {"filter": blurred}}
        then: dict[Action, Query] = {}
        if against is not None and old is not None:
            then, blurred_before = queries(against, old)
            inside["before"] = {"filters": {"filters": list(then.values())}}
            inside["blurred_before"] = {"filter": blurred_before}
        asked = {"now": {"filters": {"filters": list(now.values())}, "aggs": inside}}
        buckets = _search(client, index, asked)["aggregations"]["now"]["buckets"]
        found = dict(zip(now, buckets, strict=True))
        changed = {
            (was, action): bucket["doc_count"]
            for action in found
            for was, bucket in zip(
                then, found[action]["before"]["buckets"] if then else (), strict=True
            )
            if was is not action and bucket["doc_count"]
        }
        yield Outcome(
            rule=rule,
            context=context,
            level=name,
            before=old,
            now={action: bucket["doc_count"] for action, bucket in found.items()},
            changed=changed,
            blurred=sum(one["blurred"]["doc_count"] for one in buckets),
            blurred_before=(
                sum(one["blurred_before"]["doc_count"] for one in buckets) if then else None
            ),
        )


def _by_action(decision: Decision) -> dict[Action, Query]:
    """Queries of which each document matches one."""
    clauses = {
        Action.HIDDEN: decision.hidden,
        Action.DEMOTED: [one for category in decision.categories for one in category.demoted],
        Action.BLURRED: [one for category in decision.categories for one in category.blurred],
    }
    found: dict[Action, Query] = {}
    harder: list[Query] = []
    for action, some in clauses.items():
        found[action] = {"bool": {"filter": [any_of(some or [_NOTHING])], "must_not": [*harder]}}
        harder += some
    found[Action.SHOWN] = {"bool": {"must_not": harder}}
    return {action: found[action] for action in Action}


def _blurred(decision: Decision) -> Query:
    """What is blurred, be it demoted as well."""
    clauses = [one for category in decision.categories for one in category.blurred]
    return {"bool": {"filter": [any_of(clauses or [_NOTHING])], "must_not": decision.hidden}}


_NOTHING: Query = {"match_none": {}}


def thresholds_of(policy: Policy | None) -> set[float]:
    """All thresholds of a policy's levels."""
    return {
        value
        for one in (policy.by_category().values() if policy is not None else ())
        for level in one.levels.values()
        for value in level.thresholds.values()
    }


@dataclass(frozen=True)
class _Layout:
    """The cells of an index, under one policy's idea of states."""

    queries: StateQueries
    bounds: Sequence[float]

    @classmethod
    def of(
        cls, client: Elasticsearch, policy: OneCategoryPolicy, bounds: Sequence[float]
    ) -> _Layout:
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


def _counts(
    client: Elasticsearch, index: str, layouts: Sequence[_Layout]
) -> Counter[tuple[Cell, ...]]:
    """Documents by their cells, one for each layout."""
    if len(layouts) == 1 and (found := _by_value(client, index, layouts[0])) is not None:
        return found
    return _by_query(client, index, layouts)


def _by_value(
    client: Elasticsearch, index: str, layout: _Layout
) -> Counter[tuple[Cell, ...]] | None:
    """In one pass over the values; None where documents have several, which are counted twice.

    What is usual is what is left when the unusual is taken from all.
    """
    unusual, inside = layout.unusual(), layout.by_value()
    cells = {"cells": {**_filters(unusual), "aggs": inside}}
    some = {"filter": layout.may_be_unusual, "aggs": cells}
    response = _search(client, index, {**inside, "unusual": some})
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


def _spread(layout: _Layout, found: Mapping[str, Any], count: int) -> Counter[float | None]:
    """Documents by the bound that they reach; None for those without a probability."""
    spread = Counter[float | None]({None: count - found["scored"]["doc_count"]})
    buckets = found["scored"]["ranges"]["buckets"]
    for bound, bucket in zip([layout.bounds[-1], *layout.bounds], buckets, strict=True):
        spread[bound] += bucket["doc_count"]
    return spread


_MOST_BUCKETS = 30_000
"""In one answer; the engine refuses 65,536."""


def _by_query(
    client: Elasticsearch, index: str, layouts: Sequence[_Layout]
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
        response = _search(client, index, {"cells": {**_filters(part), **inside}})
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


def _search(client: Elasticsearch, index: str, aggregations: Json) -> Json:
    response = client.search(index=index, size=0, track_total_hits=True, aggs=aggregations)
    check_whole(index, response.body)
    return dict(response.body)


def _states(cells: Mapping[Cell, int]) -> dict[str, int]:
    found = dict.fromkeys((*STATES, "overridden"), 0)
    for cell, count in cells.items():
        for name in cell.state:
            found[name] += count
        if cell.blocked_elsewhere or not cell.state.isdisjoint(_DECIDED):
            found["overridden"] += count
    return found


def _histogram(cells: Mapping[Cell, int]) -> dict[float, int]:
    found = Counter[float]()
    for cell, count in cells.items():
        if cell.at_least is not None and not cell.blocked_elsewhere:
            found[cell.at_least] += count
    return dict(sorted(found.items()))


def _outcomes(
    policy: OneCategoryPolicy,
    against: OneCategoryPolicy | None,
    now: Mapping[Cell, int],
    before: Mapping[tuple[Cell, Cell], int],
) -> Iterator[Outcome]:
    for (rule, name, old), context in _requests(policy, against).items():
        level = policy.levels[name]
        tally, blurred = dict.fromkeys(Action, 0), 0
        for cell, count in now.items():
            found = cell.verdict(level)
            tally[found.action] += count
            blurred += count if found.blur else 0
        changed = Counter[tuple[Action, Action]]()
        blurred_before = None
        if against is not None and old is not None:
            blurred_before = 0
            for (was, cell), count in before.items():
                then, found = was.verdict(against.levels[old]), cell.verdict(level)
                changed[then.action, found.action] += (
                    count if then.action is not found.action else 0
                )
                blurred_before += count if then.blur else 0
        yield Outcome(rule, context, name, old, tally, +changed, blurred, blurred_before)


def _requests(
    policy: Policy, against: Policy | None
) -> dict[tuple[int, str, str | None], dict[str, str]]:
    """By entry and level, and level under the other policy: an example of a request."""
    found: dict[tuple[int, str, str | None], dict[str, str]] = {}
    looked_at = 0
    for number, rule in enumerate(policy.contexts, start=1):
        for values in product(*rule.when.values()):
            looked_at += 1
            if looked_at > MOST_CONTEXTS:
                raise PolicyError(
                    f"the entries under 'contexts' name more than {MOST_CONTEXTS} combinations of "
                    "values; look at a policy with fewer"
                )
            context = dict(zip(rule.when, values, strict=True))
            decision = policy.resolve(context)
            if decision.context_rule == number:
                key = number, decision.level_name, _level(against, context)
                found.setdefault(key, context)
    return found


def _level(policy: Policy | None, context: Mapping[str, str]) -> str | None:
    try:
        return None if policy is None else policy.resolve(context).level_name
    except ContextError:
        return None


@dataclass(frozen=True)
class Near:
    """Documents next to a threshold.

    Attributes:
        threshold: a float32 value.
        below, from_there: the nearest ones on both sides.
        category: whose threshold it is; None in a policy of version 1.
    """

    threshold: float
    below: list[Drawn]
    from_there: list[Drawn]
    category: str | None = None


def near_thresholds(client: Elasticsearch, index: str, policy: Policy, size: int) -> list[Near]:
    """Find the documents next to each threshold that no person has decided about.

    Args:
        client: a plain client.
        index: index, alias or pattern.
        policy: whose thresholds.
        size: documents on each side.
    """
    return [
        Near(
            threshold,
            documents.beside(threshold, size, 0, below=True),
            documents.beside(threshold, size, 0, below=False),
            name,
        )
        for name, one in policy.by_category().items()
        for documents in [Population(client, index, _Layout.of(client, one, ()).queries)]
        for threshold in sorted(thresholds_of(one))
        if size
    ]
