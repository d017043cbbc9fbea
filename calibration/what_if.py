"""What a policy would do to the documents of an index, counted before it goes live.

For one category, all levels of two policies are judged from the counts of ``cells``.

Cells of several categories together would be too many. There each pair of levels is counted by the
queries that hide and demote, and the cells only tell the states and probabilities of a category.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from elasticsearch import Elasticsearch

from saferank.calibration.cells import Cell, Layout, aggregate, counts_of_cells, thresholds_of
from saferank.calibration.index import Drawn, Population
from saferank.errors import ContextError, PolicyError
from saferank.mappings.float32 import as_float32
from saferank.mappings.override_index import read_overrides
from saferank.mappings.overrides import Overrides
from saferank.ranker.bodies import Json, Query
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.states import STATES, any_of
from saferank.ranker.level.verdicts import Action
from saferank.ranker.policy.policy import OneCategoryPolicy, Policy

MOST_CONTEXTS = 1_000
"""Most combinations of attribute values that the entries under ``contexts`` may name."""

_PARTS = [as_float32(number / 20) for number in range(1, 20)]
"""Bounds of the histogram's bars, beside the thresholds."""


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
        documents=aggregate(client, index, {})["hits"]["total"]["value"],
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
    layouts = [Layout.of(client, policy, bounds)]
    if against is not None and (other := Layout.of(client, against, bounds)) != layouts[0]:
        layouts.append(other)
    counts = counts_of_cells(client, index, layouts)
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
    counts = counts_of_cells(client, index, [Layout.of(client, policy, bounds)])
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
        buckets = aggregate(client, index, asked)["aggregations"]["now"]["buckets"]
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


def _states(cells: Mapping[Cell, int]) -> dict[str, int]:
    found = dict.fromkeys((*STATES, "overridden"), 0)
    for cell, count in cells.items():
        for name in cell.state:
            found[name] += count
        if cell.is_decided:
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
        for documents in [Population(client, index, Layout.of(client, one, ()).queries)]
        for threshold in sorted(thresholds_of(one))
        if size
    ]
