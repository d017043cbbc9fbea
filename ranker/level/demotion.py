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

from saferank.ranker.level.level import Demotion, Level, Treatment
from saferank.ranker.level.states import FAILED, NO_IMAGE, Query, StateQueries, any_of


@dataclass(frozen=True)
class Curve:
    """One shape of demotion, in both forms.

    Attributes:
        number: (depth in the band, floor) -> factor.
        query: (field, start of the band, width of the band, floor) -> a function of
            ``function_score`` with the same value on the band.
    """

    number: Callable[[float, float], float]
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
        lambda _depth, floor: floor,
        lambda _field, _start, _width, floor: {"weight": floor},
    ),
}


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
    def of(cls, rules: Level, demotion: Demotion) -> Band | None:
        """The band of a level, or None when its thresholds demote nothing."""
        if rules.demote_from is None:
            return None
        end = 1.0 if rules.hide_from is None else rules.hide_from
        if rules.demote_from == end:
            # Only a probability of 1 is in the band, which has no width to fall over.
            return cls(rules.demote_from, 1.0, CURVES["step"], demotion.floor)
        width = end - rules.demote_from
        return cls(rules.demote_from, width, CURVES[demotion.curve], demotion.floor)

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


def functions(rules: Level, demotion: Demotion, queries: StateQueries) -> list[dict[str, Any]]:
    """The same factor as ``functions`` of a ``function_score`` query.

    To be used with ``score_mode: min``. Empty when the level demotes nothing. Needs neither scripts
    nor plugins.
    """
    if demotion.floor == 1:
        return []
    result: list[dict[str, Any]] = []
    if (band := Band.of(rules, demotion)) is not None:
        curve = band.function(queries.fields.probability)
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
    band = Band.of(rules, demotion)
    if band is None or band.curve is CURVES["step"] or demotion.floor == 1:
        return []

    def statuses(treatment: Treatment) -> list[str]:
        return [kind for kind in rules.treats(treatment) if kind in (FAILED, NO_IMAGE)]

    floor, unchanged = {"weight": demotion.floor}, {"weight": 1}
    curve = band.function(queries.fields.probability)
    result: list[dict[str, Any]] = []
    if rules.blocked is Treatment.DEMOTE:
        result.append({"filter": queries.blocked, **floor})
    result.append({"filter": queries.decided, **unchanged})
    if fallen := statuses(Treatment.DEMOTE):
        result.append({"filter": queries.status(*fallen), **floor})
    result.append({"filter": queries.scored, **curve})
    if rules.unscored is Treatment.DEMOTE:
        if others := statuses(Treatment.SHOW):
            result.append({"filter": queries.status(*others), **unchanged})
        result.append(floor)
    return result


def scoring(functions: list[dict[str, Any]], mode: str) -> Query:
    """Functions as parts of a ``function_score``, which multiplies by them."""
    return {"functions": functions, "score_mode": mode}


def demoted(rules: Level, queries: StateQueries) -> list[Query]:
    """Queries of which a demoted document matches at least one (a hidden one may, too)."""
    return queries.treated(rules, Treatment.DEMOTE, *_in_band(rules, queries))


def _in_band(rules: Level, queries: StateQueries) -> list[Query]:
    if rules.demote_from is None:
        return []
    return [queries.probability(at_least=rules.demote_from, below=rules.hide_from)]
