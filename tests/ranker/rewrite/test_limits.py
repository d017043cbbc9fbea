from __future__ import annotations

import pytest

from saferank.ranker.rewrite.limits import DEFAULT_LIMITS, Limits


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        ({}, DEFAULT_LIMITS),
        ({"index.max_result_window": "500"}, (500, 500)),
        ({"index.max_rescore_window": "300"}, (10_000, 300)),
        ({"index.max_result_window": "50000", "index.max_rescore_window": "9"}, (50_000, 9)),
        ({"index.max_inner_result_window": "3"}, DEFAULT_LIMITS),
    ],
)
def test_limits_as_an_index_sets_them(settings: dict[str, str], limits: tuple[int, int]) -> None:
    assert Limits.of(settings) == limits


def test_of_several_indices_the_narrowest_limits_hold() -> None:
    assert Limits(500, 20_000).and_those(Limits(700, 300)) == (500, 300)


@pytest.mark.parametrize(
    ("reason", "limits"),
    [
        ("", (100, 100)),
        ("parsing_exception: [match] unknown field", (100, 100)),
        (
            "Rescore window [100] is too large. It must be less than [50]. This prevents ...",
            (100, 50),
        ),
        (
            "Result window is too large, from + size must be less than or equal to: [70] but was",
            (70, 100),
        ),
    ],
)
def test_limits_as_the_engine_tells_them(reason: str, limits: tuple[int, int]) -> None:
    error = {"error": {"root_cause": [{"reason": reason}]}, "status": 400}
    assert Limits(100, 100).told_by(error) == limits
