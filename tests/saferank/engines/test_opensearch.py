"""What OpenSearch is asked in the place of what Elasticsearch would be."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.engines.opensearch import LEAST_TERMINATE_AFTER, Request, translated
from saferank.errors import UnsafeRequest

ALL = {"query": {"match_all": {}}}


def sent(method: str, target: str, body: Any = None) -> tuple[str, str, Any]:
    request, _ = translated(Request.of(method, target, body))
    return request.method, request.target, request.body


@pytest.mark.parametrize("path", ["/a,b*/_search", "/_search"])
def test_a_search_switches_the_default_pipeline_off(path: str) -> None:
    expected = ("POST", f"{path}?typed_keys=true&search_pipeline=_none", ALL)
    assert sent("POST", f"{path}?typed_keys=true", ALL) == expected


def test_so_does_each_search_of_an_msearch_whose_address_cannot() -> None:
    lines = [{"index": "a"}, ALL, {}, {"size": 0}]
    none = {"search_pipeline": "_none"}
    expected = [{"index": "a"}, {**ALL, **none}, {}, {"size": 0, **none}]
    assert sent("POST", "/_msearch", lines) == ("POST", "/_msearch", expected)


def test_a_count_is_a_search_for_no_hits() -> None:
    target = "/a/_count?min_score=0.5&ignore_unavailable=true"
    body = {**ALL, "min_score": "0.5", "size": 0, "track_total_hits": True}
    expected = ("POST", "/a/_search?ignore_unavailable=true&search_pipeline=_none", body)
    assert sent("POST", target, ALL) == expected
    _, restore = translated(Request.of("GET", "/a/_count", None))
    answer = {"took": 1, "timed_out": False, "_shards": {"total": 2}}
    hits = {"total": {"value": 7, "relation": "eq"}, "max_score": None, "hits": []}
    assert restore({**answer, "hits": hits}) == {"count": 7, "_shards": {"total": 2}}


def test_a_point_in_time_has_other_names() -> None:
    opened = sent("POST", "/a/_pit?keep_alive=1m", None)
    path = "/a/_search/point_in_time"
    assert opened == ("POST", f"{path}?keep_alive=1m&allow_partial_pit_creation=false", None)
    _, restore = translated(Request.of("POST", "/a/_pit", None))
    assert restore({"pit_id": "x", "creation_time": 1})["id"] == "x"
    closed, restore = translated(Request.of("DELETE", "/_pit", {"id": "x"}))
    assert (closed.path, closed.body) == ("/_search/point_in_time", {"pit_id": ["x"]})
    assert restore({"pits": [{"successful": True, "pit_id": "x"}]}) == {
        "succeeded": True,
        "num_freed": 1,
    }


PLACE = [{"_shard_doc": "asc"}, {"_index": "asc"}]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (["price"], ["price", *PLACE]),
        ({"price": "desc"}, [{"price": "desc"}, *PLACE]),
        (["price", "_shard_doc"], ["price", "_shard_doc", {"_index": "asc"}]),
        ([{"_shard_doc": "desc"}], [{"_shard_doc": "desc"}, {"_index": "asc"}]),
    ],
)
def test_a_sort_in_a_point_in_time_is_total(sort: Any, expected: Any) -> None:
    *_, body = sent("POST", "/_search", {"pit": {"id": "x"}, "sort": sort})
    assert body["sort"] == expected


@pytest.mark.parametrize("path", ["/_search", "/_msearch"])
def test_the_place_of_a_hit_is_one_value_that_leads_on(path: str) -> None:
    """As many values as Elasticsearch gives, which cursors are checked by."""
    search: dict[str, Any] = {"pit": {"id": "x"}, "sort": ["price"]}
    body = [{}, search] if path == "/_msearch" else search
    _, restore = translated(Request.of("POST", path, body))
    answer: dict[str, Any] = {"hits": {"hits": [{"_id": "1", "sort": [7, 3, "a:b"]}]}}
    told = restore({"responses": [answer]} if path == "/_msearch" else answer)
    (hit,) = (told["responses"][0] if path == "/_msearch" else told)["hits"]["hits"]
    assert hit["sort"] == [7, "3:a:b"]
    *_, after = sent("POST", "/_search", {**search, "search_after": hit["sort"]})
    assert after["search_after"] == [7, 3, "a:b"]


def test_a_cursor_in_a_point_in_time_may_leave_the_place_out() -> None:
    inside = {"pit": {"id": "x"}, "sort": ["price"], "search_after": [7]}
    *_, body = sent("POST", "/_search", inside)
    assert body["search_after"] == [7, 2**63 - 1, "\uffff"]


def test_an_answer_without_hits_has_no_places() -> None:
    _, restore = translated(Request.of("POST", "/_search", {"pit": {"id": "x"}, "sort": ["a"]}))
    assert restore({"timed_out": False}) == {"timed_out": False}


def test_a_sort_elsewhere_is_as_it_was() -> None:
    *_, body = sent("POST", "/a/_search", {"sort": ["price"]})
    assert body["sort"] == ["price"]


def test_names_of_fields_go_into_the_address() -> None:
    target = "/a/_field_caps?include_unmapped=true"
    expected = ("POST", f"{target}&fields=s.p%2Cs.q", None)
    assert sent("POST", target, {"fields": ["s.p", "s.q"]}) == expected


def test_a_definition_is_asked_for_whole() -> None:
    expected = ("GET", "/a?filter_path=x", None)
    assert sent("GET", "/a?features=mappings&filter_path=x", None) == expected


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/a/_doc/_search"),
        ("GET", "/a/_doc/_count?routing=b"),
        ("GET", "/_search/scroll"),
        ("PUT", "/a"),
        ("POST", "/_bulk?refresh=true"),
        ("GET", "/_alias?features=mappings"),
    ],
)
def test_everything_else_is_sent_as_it_is(method: str, target: str) -> None:
    assert sent(method, target, None) == (method, target, None)


@given(st.integers(-10, 10_000))
def test_a_search_that_would_find_nothing_is_refused(most: int) -> None:
    low = pytest.raises(UnsafeRequest, match=r"'terminate_after'.*at least")
    for request in (
        Request("POST", "/_search", {}, {"terminate_after": most}),
        Request("POST", "/_msearch", {}, [{}, {"terminate_after": most}]),
        Request("GET", "/_count", {"terminate_after": str(most)}),
    ):
        with low if 0 < most < LEAST_TERMINATE_AFTER else nullcontext():
            translated(request)


@pytest.mark.parametrize("key", ["knn", "rank", "retriever", "runtime_mappings"])
def test_what_opensearch_does_not_have_is_refused_by_name(key: str) -> None:
    for path, body in (("/a/_search", {key: {}}), ("/_msearch", [{}, {key: {}}])):
        with pytest.raises(UnsafeRequest, match="OpenSearch has no") as refused:
            translated(Request.of("POST", path, body))
        assert refused.value.key == key


def test_a_body_that_is_written_already_is_not_sent_unseen() -> None:
    with pytest.raises(TypeError, match="translated before"):
        translated(Request.of("POST", "/a/_search", b'{"terminate_after": 1}'))
