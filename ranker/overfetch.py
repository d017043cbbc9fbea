"""Exact demotion from the top of the plain ranking, and the proof that the top was enough.

No factor is above 1, so a document's plain score bounds its demoted score. When the page's last
hit has a demoted score of at least the lowest plain score looked at, no document further down can
belong on the page. Among equal scores the engine puts the lower document number first; where that
cannot be known, nothing is proved.

``window``: a rescorer replaces the scores of the best by those of the in-query form, so they are
the same to the bit. Plain scores are not returned, but every hit returned was in the window, so
the lowest plain score is at most the plain score of any of them. A few hits more than the page
make one likely that was not demoted, and whose score therefore is its plain score.

``fetch``: all that were looked at are returned with their plain scores and demoted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saferank.ranker.planner import Page, depth

Json = dict[str, Any]

_SPARE = 3
"""Hits that ``window`` asks for beyond the page."""
_TOO_CLOSE = 4e-7
"""Relative difference below which float32 rounding decides the order of two scores."""


def window_request(visible: Json, demoted_query: Json, page: Page) -> Json:
    """The request of the ``window`` way.

    Args:
        visible: the search body with hidden documents filtered out and nothing demoted.
        demoted_query: its query with the factor.
        page: the page that the body asks for.
    """
    rescorer = {
        "window_size": depth(page),
        "query": {
            "rescore_query": demoted_query,
            "query_weight": 0,
            "rescore_query_weight": 1,
            "score_mode": "total",
        },
    }
    return {**visible, "size": page.size + _SPARE, "rescore": [rescorer]}


def window_proves(scores: Sequence[float], factors: Sequence[float], page: Page) -> bool:
    """Whether the first hits returned are the page.

    Args:
        scores: demoted scores of the hits returned, from the page's first on.
        factors: of the same hits.
        page: the page asked for.
    """
    if len(scores) < page.size + _SPARE:
        return True  # Everything that was found is in the window.
    last = scores[page.size - 1]
    if last <= 0:
        return last == 0  # All further down have no relevance at all.
    tie = any(
        score == last and factor < 1
        for score, factor in zip(scores[: page.size], factors, strict=False)
    )
    for score, factor in zip(scores, factors, strict=True):
        if factor == 1:
            proved = score < last or (score == last and not tie)
        else:
            proved = score / factor < last * (1 - _TOO_CLOSE)
        if proved:
            return True
    return False


def fetch_request(visible: Json, page: Page) -> Json:
    """The request of the ``fetch`` way; the arguments are those of ``window_request``."""
    return {**visible, "from": 0, "size": depth(page)}


@dataclass(frozen=True, slots=True)
class Ranking:
    """Demoted hits in their order.

    Attributes:
        order: positions in the fetched hits, best first.
        scores: their demoted scores.
    """

    order: list[int]
    scores: list[float]


def fetch_ranking(
    scores: NDArray[np.float64], factors: NDArray[np.float64], page: Page
) -> Ranking | None:
    """The demoted ranking up to the end of the page, or None when it is not proved.

    Args:
        scores: plain scores (N,) of the fetched hits, in descending order.
        factors: of the same hits.
        page: the page asked for.
    """
    scores = scores.astype(np.float32).astype(np.float64)  # As the engine has them.
    demoted = (scores * factors).astype(np.float32)
    order = np.argsort(-demoted, kind="stable")
    ranked = demoted[order].astype(np.float64)
    more = len(scores) == depth(page)
    if more and not _bounded(scores, ranked, order, factors, page.end):
        return None
    if _order_unknown(ranked, scores[order], factors[order], page.end):
        return None
    end = min(page.end, len(ranked))
    return Ranking(order[:end].tolist(), [_short(score) for score in demoted[order[:end]]])


def _bounded(
    scores: NDArray[np.float64],
    ranked: NDArray[np.float64],
    order: NDArray[np.intp],
    factors: NDArray[np.float64],
    end: int,
) -> bool:
    """Whether nothing below the fetched hits can come before the page's last hit."""
    last, bound = ranked[end - 1], scores[-1]
    if last < bound:
        return False
    # Documents further down that have the bound's score come after all that have it undemoted.
    at_bound = order[:end][ranked[:end] * (1 - _TOO_CLOSE) <= bound]
    return bool(((factors[at_bound] == 1) | (scores[at_bound] == 0)).all())


def _order_unknown(
    ranked: NDArray[np.float64], plain: NDArray[np.float64], factors: NDArray[np.float64], end: int
) -> bool:
    """Whether hits on the page tie, or nearly so, with others for different reasons."""
    close = (ranked[:-1] - ranked[1:] <= _TOO_CLOSE * ranked[:-1]) & (ranked[:-1] > 0)
    apart = np.flatnonzero(~close[end - 1 :])
    # A tie at the end of the page counts as far as it goes.
    reach = end - 1 + int(apart[0]) if len(apart) else len(close)
    same = (plain[:-1] == plain[1:]) & (factors[:-1] == factors[1:])
    return bool((close & ~same)[:reach].any())


def _short(score: np.float32) -> float:
    """As the engine writes it: the shortest number that rounds to the same float32."""
    return float(str(score))
