"""The parts of suggestions that decide about words, and queries that phrases have to find by."""

from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.rewrite.suggest import ByFrequency, collate_query, filled_in, size_of


def test_defaults_are_those_of_the_engine() -> None:
    asked = ByFrequency.of({"field": "t"})
    assert asked == ("missing", "score", pytest.approx(0.01), 0)
    assert size_of({}) == 5
    given = {"suggest_mode": "Popular", "sort": "FREQUENCY", "max_term_freq": "3"}
    assert ByFrequency.of(given) == ("popular", "frequency", 3, 0)


@pytest.mark.parametrize("value", [-1, "x", None, float("nan"), float("inf"), [], 10**400])
def test_a_frequency_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(UnsafeRequest, match="a number of documents"):
        ByFrequency.of({"min_doc_freq": value})


def test_values_are_filled_in_where_their_names_stand_and_stay_values() -> None:
    source = {
        "bool": {
            "must": [{"match": {"{{ field }}": {"query": "{{suggestion}}"}}}],
            "filter": ({"term": {"n": "{{n}}-{{none}}"}}, {"range": {"m": {"gte": 3}}}),
        }
    }
    query = collate_query({"query": {"source": source}}, "c")
    values = {"field": "title", "n": 3, "suggestion": '"}}, {{field}} \\'}
    assert filled_in(query, values) == {
        "bool": {
            "must": [{"match": {"title": {"query": '"}}, {{field}} \\'}}}],
            "filter": [{"term": {"n": "3-"}}, {"range": {"m": {"gte": 3}}}],
        }
    }


@pytest.mark.parametrize(
    ("collate", "key"),
    [
        ([], "c"),
        ({}, "c.query"),
        ({"other": 1}, "c.other"),
        ({"query": {"match_all": {}}, "params": []}, "c.params"),
        ({"query": {"match_all": {}}}, "c.query"),
        ({"query": {"id": "stored"}}, "c.query"),
        ({"query": {"source": {}, "lang": "mustache"}}, "c.query"),
        ({"query": "{"}, "c.query"),
        ({"query": "[]"}, "c.query"),
        ({"query": '{"match": {"t": {{n}}}}'}, "c.query"),
        ({"query": {"source": {"match": {"t": "{{{suggestion}}}"}}}}, "c.query"),
        ({"query": {"source": {"match": {"{{#a}}": "{{/a}}"}}}}, "c.query"),
        ({"query": {"source": {"match": ["{{&suggestion}}"]}}}, "c.query"),
    ],
)
def test_templates_that_are_more_than_names_are_refused(collate: Any, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        collate_query(collate, "c")
    assert caught.value.key == key
