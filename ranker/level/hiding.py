"""Which documents a level hides, as queries; ``verdicts`` says it of single documents."""

from __future__ import annotations

from saferank.ranker.level.level import Level, Treatment
from saferank.ranker.level.states import Query, StateQueries, any_of


def hidden(rules: Level, queries: StateQueries) -> list[Query]:
    """Queries of which a hidden document matches at least one, for ``must_not``."""
    if rules.hide_from is None:
        return queries.treated(rules, Treatment.HIDE)
    return queries.treated(rules, Treatment.HIDE, queries.probability(at_least=rules.hide_from))


def visible(rules: Level, queries: StateQueries) -> Query:
    """Clauses of a ``bool`` that only documents match that are not hidden; empty: all match.

    The same as ``must_not`` with ``hidden``, in the form that costs least. Beside ``must_not`` the
    engine scores the gaps between excluded documents one by one, which makes a query several times
    slower where many are excluded. Beside a filter it skips as it does without one; but a filter
    that only negates is turned into ``must_not``, so this one has a second branch.
    """
    conditions = queries.unusual(rules, Treatment.HIDE)
    if rules.hide_from is not None:
        conditions.insert(0, queries.probability(at_least=rules.hide_from))
    clauses: Query = {}
    if conditions:
        clauses["filter"] = [any_of([{"bool": {"must_not": conditions}}, queries.decided])]
    if rules.blocked is Treatment.HIDE:
        clauses["must_not"] = [queries.blocked]
    return clauses
