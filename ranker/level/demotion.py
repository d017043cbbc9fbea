"""How far a document falls: the factor on its relevance, as numbers and as a query.

For a probability p, ``demote_from`` a and ``hide_from`` b (1 if there is none), the depth in the
demoted band is t = (p - a) / (b - a), and the factor is what the policy's curve says for it (see
``curves``); below the band it is 1. Documents that thresholds cannot judge and whose treatment is
``demote`` get the floor. Of several factors the smallest holds. Every factor is in (0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saferank.ranker.bodies import Query
from saferank.ranker.level.curves import CURVES, Curve, CurveName
from saferank.ranker.level.level import Demotion, Level, Treatment
from saferank.ranker.level.states import UNUSUAL, StateQueries, any_of
from saferank.ranker.level.thresholds import curve_range, demote_range


@dataclass(frozen=True)
class Band:
    """The range of probabilities that a level demotes, with the fall over it.

    Attributes:
        start: the first probability in it.
        width: of the range; the factor falls over this width and then stays.
        curve: shape of the fall.
        floor: factor at its end.
    """

    start: float
    width: float
    curve: Curve
    floor: float

    @classmethod
    def of(cls, level: Level, demotion: Demotion) -> Band | None:
        """The band of a level, or None when its thresholds demote nothing."""
        if level.demote_from is None:
            return None
        end = 1.0 if level.hide_from is None else level.hide_from
        if level.demote_from == end:
            # Only a probability of 1 is in the band, which has no width to fall over.
            return cls(level.demote_from, 1.0, CURVES[CurveName.STEP], demotion.floor)
        width = end - level.demote_from
        return cls(level.demote_from, width, CURVES[demotion.curve], demotion.floor)

    def factor(self, probability: float) -> float:
        """The factor in (0, 1] on the relevance of a document.

        Args:
            probability: a float32 value from ``start`` on.
        """
        depth = (probability - self.start) / self.width
        return self.curve.number(depth if depth < 1 else 1.0, self.floor)

    def function(self, field: str) -> Query:
        """The same as a function of ``function_score``, for documents in the band."""
        return self.curve.query(field, self.start, self.width, self.floor)


def functions(
    categories: Sequence[tuple[Level, StateQueries]], demotion: Demotion, *, few: bool = False
) -> list[dict[str, Any]]:
    """The same factor as ``functions`` of a ``function_score`` query; of several the smallest.

    To be used with ``score_mode: min``. Empty when nothing is demoted. Needs neither scripts nor
    plugins.

    Args:
        categories: of each its level, and queries for the states of documents.
        demotion: how far demoted documents fall.
        few: for few visible documents. There setting up a filter by probability costs more than it
            spares, and most curves are 1 below the band by themselves.
    """
    if demotion.floor == 1:
        return []
    result: list[dict[str, Any]] = []
    fallen: list[Query] = []
    for level, queries in categories:
        band = Band.of(level, demotion)
        if band is None or band.curve.is_constant:
            fallen += demoted(level, queries)
            continue
        if few:
            others = [queries.decided, *_at_the_end(level, queries)]
            judged: Query = {"bool": {"filter": [queries.scored], "must_not": others}}
        else:
            judged = queries.undecided(*queries.in_range(curve_range(level)))
        result.append({"filter": judged, **band.function(queries.fields.probability)})
        fallen += queries.treated(level, Treatment.DEMOTE, *_at_the_end(level, queries))
    if fallen:
        # All in one filter: the engine tries each function on each document.
        result.append({"filter": any_of(fallen), "weight": demotion.floor})
    return result


def _at_the_end(level: Level, queries: StateQueries) -> list[Query]:
    """Queries, one or none, for what the level demotes as if its probability were 1."""
    return [] if level.demote_from is None or level.hide_from is not None else [queries.beyond]


def functions_for_few(
    level: Level, demotion: Demotion, queries: StateQueries
) -> list[dict[str, Any]]:
    """The same factor in the form that costs least for few visible documents, as in a rescorer.

    To be used with ``score_mode: first``: the first function whose filter matches decides, in the
    order of ``verdicts``. Filters of ``functions`` spare the engine most of the computing where
    all documents are scored; here setting them up would cost more than it spares. Empty when there
    is no such form.
    """
    band = Band.of(level, demotion)
    if band is None or band.curve.is_constant or demotion.floor == 1:
        return []

    def statuses(treatment: Treatment) -> list[str]:
        return [state for state in level.treats(treatment) if state in UNUSUAL]

    floor, unchanged = {"weight": demotion.floor}, {"weight": 1}
    curve = band.function(queries.fields.probability)
    result: list[dict[str, Any]] = []
    if level.blocked is Treatment.DEMOTE:
        result.append({"filter": any_of(queries.blocked), **floor})
    result.append({"filter": queries.decided, **unchanged})
    if fallen := statuses(Treatment.DEMOTE):
        result.append({"filter": queries.status(*fallen), **floor})
    result += [{"filter": query, **floor} for query in _at_the_end(level, queries)]
    result.append({"filter": queries.scored, **curve})
    if level.unscored is Treatment.DEMOTE:
        if others := [*statuses(Treatment.SHOW), *statuses(Treatment.BLUR)]:
            result.append({"filter": queries.status(*others), **unchanged})
        result.append(floor)
    return result


def scoring(functions: list[dict[str, Any]], mode: str) -> Query:
    """Functions as parts of a ``function_score``, which multiplies by them."""
    return {"functions": functions, "score_mode": mode}


def demoted(level: Level, queries: StateQueries) -> list[Query]:
    """Queries of which a demoted document matches at least one (a hidden one may, too)."""
    return queries.treated(level, Treatment.DEMOTE, *queries.in_range(demote_range(level)))
