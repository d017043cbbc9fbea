"""Re-ranking of hits that are already there, wherever they came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saferank.ranker.decision import Decision
from saferank.ranker.explain import describe
from saferank.ranker.hits import KEY
from saferank.ranker.records import states_of

Hit = dict[str, Any]


def rerank(hits: Iterable[Mapping[str, Any]], decision: Decision) -> list[Hit]:
    """Take hidden hits out, demote others, and put what is left in order.

    What is missing at the end of the page is not filled up; where that matters let the search
    itself hide, as ``SafeSearch.search`` does.

    Args:
        hits: best first, in the form of Elasticsearch: the safety fields in ``_source`` or in
            ``fields``, the score in ``_score``. Scores may be of any sign, or missing from all
            hits; then demoted hits come after the others, each in the order given.
        decision: the level that holds.

    Returns:
        New hits, with the demoted ``_score`` and, under ``saferank``, what was done and why. Hits
        with equal scores stay in the order given.

    Raises:
        ValueError: some hits have a score and others do not, or a score is not a number.
    """
    given = list(hits)
    judged, told = describe(states_of(given, decision.fields, decision.model), decision)
    scores = _scores(given)
    if scores is None:
        worse = judged.demoted.astype(np.float64)
        values: list[float | None] = [None] * len(given)
    else:
        changed = demote_scores(scores, judged.factor)
        worse, values = -changed, changed.tolist()
    order = np.argsort(worse, kind="stable")
    result = []
    for place in order[~judged.hidden[order]].tolist():
        hit = dict(given[place])
        hit["_score"], hit[KEY] = values[place], told[place]
        result.append(hit)
    return result


def demote_scores(scores: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (N,) of any sign made worse by factors (N,) in (0, 1].

    A negative score, as of some vector similarities, is divided, since a product would raise it.
    """
    return np.where(scores >= 0, scores * factors, scores / factors)


def _scores(hits: list[Mapping[str, Any]]) -> NDArray[np.float64] | None:
    raw = [hit.get("_score") for hit in hits]
    missing = raw.count(None)
    if missing == len(raw):
        return None
    if missing:
        raise ValueError(f"hit {raw.index(None)} has no '_score' and others have one")
    scores = np.array(raw, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"hit {int(np.isnan(scores).argmax())} has a '_score' that is no number")
    return scores
