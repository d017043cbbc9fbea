from __future__ import annotations

import pytest

from saferank.ranker.level.curves import CURVES, CurveName


def test_every_name_has_a_curve() -> None:
    assert set(CURVES) == set(CurveName)


@pytest.mark.parametrize("name", CurveName)
def test_a_curve_ends_at_the_floor_and_needs_no_script(name: CurveName) -> None:
    curve = CURVES[name]
    assert curve.number(1.0, 0.1) == pytest.approx(0.1)
    (kind,) = curve.query("p", 0.2, 0.6, 0.1)
    assert kind in {"exp", "linear", "gauss", "weight"}
