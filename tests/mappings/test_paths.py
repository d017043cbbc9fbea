from __future__ import annotations

from typing import Any

import pytest

from saferank.mappings.paths import list_on_the_way, nested, put_at, remove_at, value_at, values_at

SPELLINGS: list[dict[str, Any]] = [
    {"a": {"b": {"c": 1}}},
    {"a.b.c": 1},
    {"a.b": {"c": 1}},
    {"a": {"b.c": 1}},
]


@pytest.mark.parametrize("source", SPELLINGS)
def test_every_spelling_of_a_path_is_found_and_removed(source: dict[str, Any]) -> None:
    assert value_at(source, "a.b.c") == 1
    assert list(values_at(source, "a.b.c")) == [1]
    remove_at(source, "a.b.c")
    assert list(values_at(source, "a.b.c")) == []


def test_two_spellings_in_one_source_are_both_found() -> None:
    source = {"a": {"b": 1}, "a.b": [2, None, ["", 3]]}
    assert list(values_at(source, "a.b")) == [1, 2, 3]
    assert value_at({"a": {"b": None}, "a.b": 2}, "a.b") == 2


def test_lists_on_the_way_are_followed_for_all_values_only() -> None:
    source = {"a": [{"b": 1}, {"b": 2}, "text"]}
    assert list(values_at(source, "a.b")) == [1, 2]
    assert value_at(source, "a.b") is None
    assert value_at({"a": [1, 2]}, "a") == [1, 2]


def test_values_go_into_the_object_that_is_there() -> None:
    source: dict[str, Any] = {"a.b": {"kept": 1}}
    put_at(source, "a.b", {"new": [2]})
    assert source == {"a.b": {"kept": 1, "new": [2]}}
    missing: dict[str, Any] = {"a": "text"}
    put_at(missing, "a.b", {"new": 2})
    assert missing == {"a": {"b": {"new": 2}}}
    assert nested("a.b", 1) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("source", "path", "values"),
    [
        ({"image": "a"}, "image", ["a"]),
        ({"image": ["a", "b"]}, "image", ["a", "b"]),
        ({"image": None}, "image", []),
        ({"image": ["a", None, "", "  "]}, "image", ["a"]),
        ({}, "image", []),
        ({"media": {"url": "a"}}, "media.url", ["a"]),
        ({"media": [{"url": "a"}, {"url": ["b", "c"]}, {}]}, "media.url", ["a", "b", "c"]),
        ({"media.url": "a"}, "media.url", ["a"]),
        ({"media.large": {"url": "a"}}, "media.large.url", ["a"]),
        ({"media": "a"}, "media.url", []),
        ({"image": 0}, "image", [0]),
        ({"image": {"url": "a"}}, "image", [{"url": "a"}]),
    ],
)
def test_values_are_found_through_lists_and_dotted_names(
    source: object, path: str, values: list[object]
) -> None:
    assert list(values_at(source, path)) == values


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ({}, None),
        ({"media": {"safety": {"probability": 0.5}}}, None),
        ({"media": {"safety": None}}, None),
        ({"media": {"url": ["a", "b"]}}, None),
        ({"media": [{"url": "a"}]}, "media"),
        ({"media": []}, "media"),
        ({"media": {"safety": [{}]}}, "media.safety"),
        ({"media.safety": [{}]}, "media.safety"),
    ],
)
def test_a_list_on_the_way(source: dict[str, Any], where: str | None) -> None:
    assert list_on_the_way(source, "media.safety") == where


def test_what_is_in_lists_stays() -> None:
    source = {"safety": [{"status": "new"}], "a": {"status": 1}}
    remove_at(source, "safety.status")
    remove_at(source, "a.status")
    assert source == {"safety": [{"status": "new"}], "a": {}}
