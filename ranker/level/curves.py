"""The shapes in which demoted documents fall, each as a number and as a query.

With the depth t in 0..1 in the demoted band and the floor f, the factor is

=============  ==================  ============================================
exponential    f ** t              continuous, loses the same share everywhere
linear         1 - (1 - f) * t     continuous
step           f                   the same for the whole band
=============  ==================  ============================================

A new curve is a name in ``CurveName``, an entry in ``CURVES`` and a row in
``docs/explanation/demotion.md``; ``make reference`` adds the name to the policy's page. Its query
must be *one* function of ``function_score`` that needs no script: what Elasticsearch has are the
decay functions ``exp``, ``linear`` and ``gauss``, and a constant ``weight``; so no sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from saferank.ranker.bodies import Query


class CurveName(StrEnum):
    """How a policy names a curve."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    STEP = "step"


@dataclass(frozen=True)
class Curve:
    """One shape of demotion, in both forms.

    Attributes:
        number: (depth in the band, floor) -> factor.
        query: (field, start of the band, width of the band, floor) -> a function of
            ``function_score`` with the same value on the band, and 1 below it unless constant.
        is_constant: the factor is the same everywhere in the band.
    """

    number: Callable[[float, float], float]
    query: Callable[[str, float, float, float], Query]
    is_constant: bool = False


def _decay(kind: str) -> Callable[[str, float, float, float], Query]:
    def query(field: str, start: float, width: float, floor: float) -> Query:
        shape = {"origin": 0, "offset": start, "scale": width, "decay": floor}
        return {kind: {field: shape, "multi_value_mode": "max"}}

    return query


CURVES: dict[CurveName, Curve] = {
    CurveName.EXPONENTIAL: Curve(lambda depth, floor: floor**depth, _decay("exp")),
    CurveName.LINEAR: Curve(lambda depth, floor: 1 - (1 - floor) * depth, _decay("linear")),
    CurveName.STEP: Curve(
        lambda _depth, floor: floor,
        lambda _field, _start, _width, floor: {"weight": floor},
        is_constant=True,
    ),
}
