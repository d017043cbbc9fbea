"""Plans whose calls the node of the tests does not have, driven by hand."""

from __future__ import annotations

from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse

from saferank.errors import MappingError, UnsafeRequest
from saferank.mappings.fields import SafetyFields
from saferank.ranker.client import flow, searches
from saferank.ranker.client.flow import Call, Knowledge
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.search import rewrite_search

META = ApiResponseMeta(200, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "localhost", 9200))
FLOAT = {"float": {"type": "float", "searchable": True, "aggregatable": True}}
KEYWORD = {"keyword": {"type": "keyword", "searchable": True, "aggregatable": True}}
FIELDS = {
    "safety.probability": FLOAT,
    "safety.model": KEYWORD,
    "safety.status": KEYWORD,
    "safety.override": KEYWORD,
}


def answer(body: dict[str, Any]) -> ObjectApiResponse[Any]:
    return ObjectApiResponse(body=body, meta=META)


def test_a_search_template_is_rendered_and_then_searched_safely(hiding: Decision) -> None:
    body = {"id": "mine", "params": {"words": "cat"}, "profile": True}
    plan = searches.search_template(hiding, Knowledge(), index="photos", body=body)
    call = next(plan)
    assert call == Call("render_search_template", {"id": "mine", "params": {"words": "cat"}})
    rendered = {"query": {"match": {"title": "cat"}}, "size": 3}
    call = plan.send(answer({"template_output": rendered}))
    assert call.method == "field_caps"
    call = plan.send(answer({"indices": ["photos"], "fields": FIELDS}))
    expected = rewrite_search({**rendered, "profile": True}, hiding)
    every_shard = {"pre_filter_shard_size": 2**31 - 1}  # For the profile.
    assert call == Call("search", {"index": "photos", **every_shard, "body": expected})


def test_a_template_that_renders_something_unsafe_is_refused(hiding: Decision) -> None:
    plan = searches.search_template(hiding, Knowledge(), index="photos", id="mine")
    next(plan)
    with pytest.raises(UnsafeRequest, match="suggest"):
        plan.send(answer({"template_output": {"suggest": {"text": "cat"}}}))


@pytest.mark.parametrize(
    ("path", "found", "message"),
    [
        ("safety.probability", None, "index 'a' has no field 'safety.probability'"),
        (
            "safety.override",
            {**KEYWORD, "unmapped": {"indices": ["b"]}},
            "index 'b' has no field 'safety.override'",
        ),
        (
            "safety.probability",
            {"double": {**FLOAT["float"], "indices": ["b"]}, "float": FLOAT["float"]},
            "index 'b' has 'safety.probability' as 'double', and it must be 'float'",
        ),
        (
            "safety.status",
            {"keyword": {"searchable": True, "aggregatable": False}},
            "without an index or doc values",
        ),
    ],
)
def test_fields_that_are_not_as_they_must_be(
    path: str, found: dict[str, Any] | None, message: str
) -> None:
    plan = flow.check_fields("a,b", SafetyFields(), Knowledge())
    call = next(plan)
    assert call.arguments["fields"] == list(FIELDS)
    fields = {name: value for name, value in {**FIELDS, path: found}.items() if value}
    with pytest.raises(MappingError, match=message):
        plan.send(answer({"indices": ["a", "b"], "fields": fields}))


def test_fields_are_checked_once_for_an_index() -> None:
    knowledge = Knowledge()
    plan = flow.check_fields("a", SafetyFields(), knowledge)
    next(plan)
    with pytest.raises(StopIteration):
        plan.send(answer({"indices": ["a"], "fields": FIELDS}))
    assert list(flow.check_fields("a", SafetyFields(), knowledge)) == []
    assert next(flow.check_fields("b", SafetyFields(), knowledge)).method == "field_caps"
