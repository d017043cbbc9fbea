from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.client.lookups import read_everywhere, without_documents

SOURCE = {"title": "red cat", "a": [{"b": [1, None, [2]]}, {"b": 3}, 4], "a.b": 5, "ab": 6}
WHERE = {"index": "i", "id": "1"}


def read(kind: str, place: dict[str, Any]) -> dict[str, Any]:
    assert place == {"_index": "i", "_id": "1", "routing": None}
    return {"found": True, "_index": "i", "_source": SOURCE}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("title", ["red cat"]),
        ("a.b", [1, 2, 3, 5]),
        ("a", [{"b": [1, None, [2]]}, {"b": 3}, 4]),
        ("b", []),
        ("a.b.c", []),
    ],
)
def test_the_values_under_a_path(path: str, values: list[Any]) -> None:
    given = {"query": {"bool": {"must": [{"terms": {"tag": {**WHERE, "path": path}}}]}}}
    query = {"bool": {"must": [{"terms": {"tag": values}}]}}
    assert read_everywhere(given, read) == {"query": query}


def test_a_document_to_percolate_is_given() -> None:
    given = {"query": {"percolate": {"field": "stored", "boost": 2, **WHERE}}}
    query = {"percolate": {"field": "stored", "boost": 2, "document": SOURCE}}
    assert read_everywhere(given, read) == {"query": query}
    assert without_documents(given) == {"query": {"match_none": {}}}


def test_a_version_to_percolate_is_refused() -> None:
    with pytest.raises(UnsafeRequest, match=r"percolate\.version"):
        without_documents({"query": {"percolate": {"field": "stored", "version": 3, **WHERE}}})


@pytest.mark.parametrize(
    "part",
    [
        {"terms": {"field": "tag", "order": {"_count": "asc"}}},
        {"terms": {"tag": ["a", "b"], "boost": 2}},
        {"terms": {"script": {"id": "stored", "params": {"path": "x"}}}},
        {"geo_shape": {"place": {"shape": {"type": "point", "coordinates": [1, 2]}}}},
        {"percolate": {"field": "stored", "document": {"terms": 1}}},
    ],
)
def test_what_looks_into_no_document_stays(part: dict[str, Any]) -> None:
    given = {"aggs": {"terms": part}, "searches": [{}, {"query": part}]}
    assert read_everywhere(given, read) == given


def test_a_shape_is_given() -> None:
    indexed = {"indexed_shape": {**WHERE, "path": "a.b"}, "relation": "within"}
    given = {"query": {"shape": {"spot": indexed, "boost": 2}}}
    query = {"shape": {"spot": {"shape": 1, "relation": "within"}, "boost": 2}}
    assert read_everywhere(given, read) == {"query": query}
    assert without_documents(given) == {"query": {"match_none": {}}}
