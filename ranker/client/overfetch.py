"""Exact demotion from the top of the plain ranking, and the proof that the top was enough.

No factor is above 1, so a document's plain score bounds its demoted score. When the page's last
hit has a demoted score of at least the lowest plain score looked at, no document further down can
belong on the page. Among equal scores the engine puts the lower document number first; where that
cannot be known, nothing is proved. A plain score of 0 counts as ``LEAST``, so that this holds for
it, too.

``window``: a rescorer replaces the scores of the best by those of the in-query form, so they are
the same to the bit. Plain scores are not returned, but every hit returned was in the window, so
the lowest plain score is at most the plain score of any of them. Of the page's last hit and one
or a few more, one is likely not demoted, and its score is its plain score.

``fetch``: all that were looked at are returned with their plain scores and demoted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from saferank.mappings.float32 import as_float32_list, shortest
from saferank.ranker.bodies import Json, Page
from saferank.ranker.client.ways import Attempt
from saferank.ranker.rewrite.relevance import LEAST

_TOO_CLOSE = 4e-7
"""Relative difference below which float32 rounding decides the order of two scores."""


def window_request(filtered: Json, demoted_query: Json, page: Page, attempt: Attempt) -> Json:
    """The request of the ``window`` way.

    Args:
        filtered: the search body with hidden documents filtered out and nothing demoted.
        demoted_query: its query with the factor.
        page: the page that the body asks for.
        attempt: how far down the plain ranking to look, and how many hits more to return.
    """
    rescorer = {
        # The proof takes every hit returned to be from the window.
        "window_size": max(attempt.depth, page.end + attempt.spare),
        "query": {
            "rescore_query": demoted_query,
            "query_weight": 0,
            "rescore_query_weight": 1,
        },
    }
    return {**filtered, "size": page.size + attempt.spare, "rescore": [rescorer]}


def window_proves(
    scores: Sequence[float], factors: Sequence[float], page: Page, spare: int
) -> bool:
    """Whether the first hits returned are the page.

    Args:
        scores: demoted scores of the hits returned, none of them 0, from the page's first on.
        factors: of the same hits.
        page: the page asked for.
        spare: how many hits more were asked for.
    """
    if len(scores) < page.size + spare:
        return True  # Everything that was found is in the window.
    last = scores[page.size - 1]
    for score, factor in zip(reversed(scores), reversed(factors), strict=True):
        if factor == 1:
            # No hit before this one has a lower plain score.
            return score < last or (score == last and not _tie(scores, factors, page))
        if score / factor < last * (1 - _TOO_CLOSE):
            return True
    return False


def _tie(scores: Sequence[float], factors: Sequence[float], page: Page) -> bool:
    """Whether a demoted hit of the page has the score of its last one."""
    last = scores[page.size - 1]
    pairs = zip(scores[: page.size], factors, strict=False)
    return any(score == last and factor < 1 for score, factor in pairs)


def fetch_request(filtered: Json, depth: int) -> Json:
    """The request of the ``fetch`` way.

    Args:
        filtered: the search body with hidden documents filtered out and nothing demoted.
        depth: how many of the best to fetch.
    """
    return {**filtered, "from": 0, "size": depth}


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
    scores: Sequence[float], factors: Sequence[float], page: Page, depth: int
) -> Ranking | None:
    """The demoted ranking up to the end of the page, or None when it is not proved.

    Args:
        scores: plain scores of the fetched hits, in descending order.
        factors: of the same hits.
        page: the page asked for.
        depth: how many hits were asked for.
    """
    plain = as_float32_list(scores)  # As the engine has them.
    if plain and plain[-1] < LEAST:
        plain = [max(score, LEAST) for score in plain]
    products = [score * factor for score, factor in zip(plain, factors, strict=True)]
    demoted = as_float32_list(products)
    order = sorted(range(len(plain)), key=lambda place: -demoted[place])
    top = order[: page.end]
    if len(plain) == depth:
        last, bound = demoted[top[-1]], plain[-1]
        if last < bound:
            return None
        # Documents further down that have the bound's score come after all that have it undemoted.
        if any(factors[place] < 1 and demoted[place] * (1 - _TOO_CLOSE) <= bound for place in top):
            return None
    for number, (place, following) in enumerate(pairwise(order), start=1):
        close = demoted[place] - demoted[following] <= _TOO_CLOSE * demoted[place]
        if close:
            # Nearly equal for different reasons: the order is known to the engine alone.
            if (plain[place], factors[place]) != (plain[following], factors[following]):
                return None
        elif number >= page.end:
            break  # A tie at the end of the page counts as far as it goes.
    return Ranking(
        top,
        [
            scores[place] if factors[place] == 1 or scores[place] == 0 else shortest(demoted[place])
            for place in top
        ],
    )
