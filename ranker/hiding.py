"""Which documents a level hides, as queries and as arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from saferank.ranker.levels import Level, Treatment
from saferank.ranker.states import Query, StateQueries, States


def hidden(rules: Level, queries: StateQueries) -> list[Query]:
    """Queries of which a hidden document matches at least one, for ``must_not``."""
    if rules.hide_from is None:
        return queries.treated(rules, Treatment.HIDE)
    return queries.treated(rules, Treatment.HIDE, queries.probability(at_least=rules.hide_from))


def is_hidden(states: States, rules: Level) -> NDArray[np.bool_]:
    """Whether each document is hidden, bool (N,)."""
    result = states.treated(rules, Treatment.HIDE)
    if rules.hide_from is not None:
        result |= states.undecided & (states.probability >= np.float32(rules.hide_from))
    return result
