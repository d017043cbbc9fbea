"""Answers as JSON: whatever a document holds goes out as it came in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.gateway.answers import encoded

TEXTS = st.text(st.characters(exclude_categories=())) | st.just("\ud800")
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    LEAVES | TEXTS, lambda part: st.lists(part) | st.dictionaries(TEXTS, part), max_leaves=8
)


@given(VALUES, st.booleans())
def test_an_answer_is_read_as_what_it_was_made_of(body: Any, pretty: bool) -> None:
    assert json.loads(encoded(body, pretty=pretty)) == body


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", {"a\udc00": 1}])
def test_what_not_every_writer_takes_is_written_all_the_same(value: Any) -> None:
    assert json.loads(encoded({"_source": {"value": value}})) == {"_source": {"value": value}}


def test_a_source_may_go_deep() -> None:
    value: Any = 1
    for _ in range(400):
        value = [value]
    assert json.loads(encoded(value)) == value


def test_letters_of_any_script_are_sent_as_they_are() -> None:
    assert encoded({"title": "Strände"}) == '{"title":"Strände"}'.encode()
    assert encoded({"title": "海"}, pretty=True) == '{\n  "title": "海"\n}'.encode()
