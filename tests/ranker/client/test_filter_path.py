from __future__ import annotations

from typing import Any

import pytest

from saferank.ranker.client.filter_path import filtered

BODY: dict[str, Any] = {
    "took": 3,
    "hits": {
        "total": {"value": 2},
        "hits": [{"_id": "1", "_source": {"a": {"b": 1}, "c": []}}, {"_id": "2"}],
    },
    "empty": {},
}


@pytest.mark.parametrize(
    ("filter_path", "expected"),
    [
        ("took", {"took": 3}),
        (" took , none", {"took": 3}),
        ("hits.total.value,took", {"took": 3, "hits": {"total": {"value": 2}}}),
        (["hits.hits._id"], {"hits": {"hits": [{"_id": "1"}, {"_id": "2"}]}}),
        ("hits.hits._source.a", {"hits": {"hits": [{"_source": {"a": {"b": 1}}}]}}),
        ("h*.t*", {"hits": {"total": {"value": 2}}}),
        ("**.b", {"hits": {"hits": [{"_source": {"a": {"b": 1}}}]}}),
        ("**.hits", {"hits": {"hits": BODY["hits"]["hits"]}}),
        ("hits.total.**.value", {}),
        ("none", {}),
        ("empty", {"empty": {}}),
        ("t?ok,[t]ook", {}),
        ("-hits", {"took": 3, "empty": {}}),
        ("-**.b,hits.hits", {"hits": {"hits": [{"_id": "1", "_source": {"c": []}}, {"_id": "2"}]}}),
        ("-hits.**,-empty.x", {"took": 3, "empty": {}}),
        ("-*", {}),
        ("", BODY),
    ],
)
def test_a_filter_path_leaves_what_it_names_and_no_more(filter_path: Any, expected: Any) -> None:
    assert filtered(BODY, filter_path) == expected
