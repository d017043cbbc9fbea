"""How far a document falls: the factor on its relevance, as numbers and as a query.

For a probability p, ``demote_from`` a, ``hide_from`` b (1 if there is none) and ``floor`` f, with
the depth t = (p - a) / (b - a) in the band, the factor is

=============  =====================  =========================================
exponential    f ** t                 continuous, loses the same share everywhere
linear         1 - (1 - f) * t        continuous
step           f                      the same for the whole band
=============  =====================  =========================================

and 1 below the band. Documents that thresholds cannot judge and whose treatment is ``demote`` get
the floor. Of several factors the smallest holds. Every factor is in (0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saferank.ranker.levels import Demotion, Level, Treatment
from saferank.ranker.states import Query, StateQueries, any_of

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One shape of demotion, in both forms.

    Attributes:
        numbers: (depth in the band, floor) -> factor.
        query: (field, start of the band, width of the band, floor) -> a function of
            ``function_score`` with the same value on the band.
    """

    numbers: Callable[[Numbers, float], Numbers]
    query: Callable[[str, float, float, float], Query]


def _decay(kind: str) -> Callable[[str, float, float, float], Query]:
    def query(field: str, start: float, width: float, floor: float) -> Query:
        shape = {"origin": 0, "offset": start, "scale": width, "decay": floor}
        return {kind: {field: shape, "multi_value_mode": "max"}}

    return query


CURVES: dict[str, Curve] = {
    "exponential": Curve(lambda depth, floor: floor**depth, _decay("exp")),
    "linear": Curve(lambda depth, floor: 1 - (1 - floor) * depth, _decay("linear")),
    "step": Curve(
        lambda depth, floor: np.full_like(depth, floor),
        lambda _field, _start, _width, floor: {"weight": floor},
    ),
}


def factor(probability: ArrayLike, rules: Level, demotion: Demotion) -> Numbers:
    """The factor on the relevance that a probability alone causes.

    Args:
        probability: 0..1, rounded to float32 first; NaN gives 1, being no probability.

    Returns:
        float64 of the same shape, in (0, 1]. From ``hide_from`` on it is the end of the band.
    """
    values = np.asarray(probability, dtype=np.float32).astype(np.float64)
    band = _Band.of(rules, demotion)
    if band is None:
        return np.ones_like(values)
    inside = np.maximum(values, band.start)
    return np.where(values >= band.start, band.factor(inside, demotion.floor), 1.0)


def factors(
    probability: NDArray[np.float32],
    rules: Level,
    demotion: Demotion,
    *,
    by_probability: NDArray[np.bool_],
    to_the_floor: NDArray[np.bool_],
) -> Numbers:
    """The factor of each document, float64 (N,), with everything that counts.

    Args:
        probability: of each document, (N,).
        rules: the level.
        demotion: how far demoted documents fall.
        by_probability: which documents are in the band and demoted for it, (N,).
        to_the_floor: which are demoted whatever their probability, (N,).
    """
    result = np.where(to_the_floor, demotion.floor, 1.0)
    (inside,) = by_probability.nonzero()
    band = _Band.of(rules, demotion) if len(inside) else None
    if band is not None:
        values = probability[inside].astype(np.float64)
        result[inside] = band.factor(values, demotion.floor)
    return result


def functions(rules: Level, demotion: Demotion, queries: StateQueries) -> list[dict[str, Any]]:
    """The same factor as ``functions`` of a ``function_score`` query.

    To be used with ``score_mode: min`` and ``boost_mode: multiply``. Empty when the level demotes
    nothing. Needs neither scripts nor plugins.
    """
    if demotion.floor == 1:
        return []
    result: list[dict[str, Any]] = []
    if (band := _Band.of(rules, demotion)) is not None:
        field = queries.fields.probability
        curve = band.curve.query(field, band.start, band.width, demotion.floor)
        result.append({"filter": queries.undecided(*_in_band(rules, queries)), **curve})
    if unusual := queries.treated(rules, Treatment.DEMOTE):
        result.append({"filter": any_of(unusual), "weight": demotion.floor})
    return result


def functions_for_few(
    rules: Level, demotion: Demotion, queries: StateQueries
) -> list[dict[str, Any]]:
    """The same factor in the form that costs least for few visible documents, as in a rescorer.

    To be used with ``score_mode: first``: the first function whose filter matches decides, in the
    order of ``verdicts``. Filters of ``functions`` spare the engine most of the computing where
    all documents are scored; here setting them up would cost more than it spares. Empty when there
    is no such form.
    """
    band = _Band.of(rules, demotion)
    if band is None or band.curve is CURVES["step"] or demotion.floor == 1:
        return []

    def treated(treatment: Treatment) -> list[Query]:
        kinds = rules.treats(treatment)
        return [getattr(queries, kind) for kind in kinds if kind in ("failed", "no_image")]

    floor, unchanged = {"weight": demotion.floor}, {"weight": 1}
    curve = band.curve.query(queries.fields.probability, band.start, band.width, demotion.floor)
    result: list[dict[str, Any]] = []
    if rules.blocked is Treatment.DEMOTE:
        result.append({"filter": queries.blocked, **floor})
    result.append({"filter": queries.decided, **unchanged})
    if demoted_kinds := treated(Treatment.DEMOTE):
        result.append({"filter": any_of(demoted_kinds), **floor})
    result.append({"filter": queries.scored, **curve})
    if rules.unscored is Treatment.DEMOTE:
        if others := treated(Treatment.SHOW):
            result.append({"filter": any_of(others), **unchanged})
        result.append(floor)
    return result


def scoring(functions: list[dict[str, Any]], mode: str) -> Query:
    """Functions as parts of a ``function_score`` that multiplies by them."""
    return {"functions": functions, "score_mode": mode, "boost_mode": "multiply"}


def demoted(rules: Level, queries: StateQueries) -> list[Query]:
    """Queries of which a demoted document matches at least one (a hidden one may, too)."""
    return queries.treated(rules, Treatment.DEMOTE, *_in_band(rules, queries))


def _in_band(rules: Level, queries: StateQueries) -> list[Query]:
    if rules.demote_from is None:
        return []
    return [queries.probability(at_least=rules.demote_from, below=rules.hide_from)]


@dataclass(frozen=True)
class _Band:
    """The demoted range of probabilities."""

    start: float
    width: float
    curve: Curve

    def factor(self, values: Numbers, floor: float) -> Numbers:
        """The factors of values from the band's start on; what is beyond its end has that of it."""
        depth = np.minimum((values - self.start) / self.width, 1)
        return self.curve.numbers(depth, floor)

    @classmethod
    def of(cls, rules: Level, demotion: Demotion) -> _Band | None:
        if rules.demote_from is None:
            return None
        end = 1.0 if rules.hide_from is None else rules.hide_from
        if rules.demote_from == end:
            # Only a probability of 1 is in the band, which has no width to fall over.
            return cls(rules.demote_from, 1.0, CURVES["step"])
        return cls(rules.demote_from, end - rules.demote_from, CURVES[demotion.curve])
