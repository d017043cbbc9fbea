"""Plans whose calls the node of the tests does not have, driven by hand."""

from __future__ import annotations

from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse

from saferank.errors import UnsafeRequest
from saferank.ranker.client import searches
from saferank.ranker.client.flow import Call, Knowledge, Plan
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
    "safety.matched": KEYWORD,
}


def answer(body: dict[str, Any]) -> ObjectApiResponse[Any]:
    return ObjectApiResponse(body=body, meta=META)


def looked_at(plan: Plan[Any], call: Call) -> Call:
    """Answer a look at the indices; the call that follows."""
    assert call.method == "field_caps"
    call = plan.send(answer({"indices": ["photos"], "fields": FIELDS}))
    assert call.method == "indices.get"
    return plan.send(answer({}))


def test_a_search_template_is_rendered_and_then_searched_safely(hiding: Decision) -> None:
    body = {"id": "mine", "params": {"words": "cat"}, "profile": True}
    plan = searches.search_template(hiding, Knowledge(), index="photos", body=body)
    call = next(plan)
    assert call == Call("render_search_template", {"id": "mine", "params": {"words": "cat"}})
    rendered = {"query": {"match": {"title": "cat"}}, "size": 3, "_source": False}
    call = looked_at(plan, plan.send(answer({"template_output": rendered})))
    asked = {**rendered, "docvalue_fields": list(FIELDS)}
    expected = rewrite_search({**asked, "profile": True}, hiding)
    every_shard = {"pre_filter_shard_size": 2**31 - 1}  # For the profile.
    assert call == Call("search", {"index": "photos", **every_shard, "body": expected})


def test_a_template_that_renders_something_unsafe_is_refused(hiding: Decision) -> None:
    plan = searches.search_template(hiding, Knowledge(), index="photos", id="mine")
    next(plan)
    with pytest.raises(UnsafeRequest, match=r"suggest\.a\.b"):
        plan.send(answer({"template_output": {"suggest": {"a": {"b": {}}}}}))
