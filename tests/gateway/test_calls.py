"""Which level holds where nothing is known, and what may be in an address."""

from __future__ import annotations

import pytest

from saferank.gateway.answers import Refused
from saferank.gateway.calls import read_call, strictest_level
from saferank.gateway.routes import ROUTES, find_route
from saferank.ranker import load_policy
from saferank.ranker.client.client import AsyncSafeSearch

LEVELS = (
    "version: 1\nlevels: {off: {}, mild: {hide_from: 0.9, unscored: show}, "
    "strict: {hide_from: 0.2, unscored: hide}, never: {hide_from: 0, unscored: hide}}\n"
)


@pytest.mark.parametrize(
    ("rules", "level"),
    [
        ("[{level: off}]", "off"),
        ("[{when: {a: b}, level: strict}, {level: mild}]", "strict"),
        ("[{when: {a: b}, level: off, at_least: strict}, {level: mild}]", "strict"),
        ("[{when: {a: b}, level: mild, locked: true}, {level: off}]", "mild"),
    ],
)
def test_nothing_known_is_the_strictest_rule(rules: str, level: str) -> None:
    assert strictest_level(load_policy(f"{LEVELS}contexts: {rules}\n")) == level


def test_every_call_is_one_of_the_safe_client() -> None:
    for route in ROUTES:
        name = route.call.partition(".")[0]
        assert name in vars(AsyncSafeSearch.__mro__[1]), route.call


def test_values_have_the_types_of_keywords() -> None:
    route, in_path = find_route("GET", ("a", "_search"))
    address = {
        "size": "3",
        "from": "1",
        "_source": "a,b",
        "explain": "",
        "track_total_hits": "100",
        "min_score": "0.5",
        "stored_fields": "a,b",
        "sort": "a:desc",
    }
    call = read_call(route, in_path, address, {"size": 9, "query": {}})
    assert call.arguments == {
        "index": "a",
        "size": 3,
        "from_": 1,
        "source": ["a", "b"],
        "explain": True,
        "track_total_hits": 100,
        "min_score": 0.5,
        "stored_fields": ["a", "b"],
        "sort": "a:desc",
        "body": {"query": {}},
    }


@pytest.mark.parametrize("text", ["size=x", "explain=yes", "query=x", "aggs={}", "error_trace="])
def test_other_values_and_parts_of_a_body_are_refused(text: str) -> None:
    route, in_path = find_route("GET", ("a", "_search"))
    name, _, value = text.partition("=")
    with pytest.raises(Refused):
        read_call(route, in_path, {name: value}, None)
