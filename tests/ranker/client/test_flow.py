"""Looks at indices, driven by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse
from elasticsearch import ApiError, AuthorizationException, NotFoundError

from saferank.errors import MappingError
from saferank.mappings.fields import DecidingFields, SafetyFields
from saferank.mappings.template import component_template
from saferank.ranker.client.flow import Call, Knowledge, Known, Plan, check_fields
from saferank.ranker.client.indices import Target

META = ApiResponseMeta(200, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "localhost", 9200))
FIELDS = DecidingFields.of(SafetyFields())
A, PIT = Target("a"), Target(point_in_time="p")
DEFINITION = {"mappings": component_template()["template"]["mappings"]}


def capabilities(*indices: str) -> dict[str, Any]:
    has = {"searchable": True, "aggregatable": True}
    types = dict.fromkeys(FIELDS.deciding, "keyword") | {FIELDS.probabilities[0]: "float"}
    return {"indices": [*indices], "fields": {path: {kind: has} for path, kind in types.items()}}


def definitions(*indices: str) -> dict[str, Any]:
    return dict.fromkeys(indices, DEFINITION)


def refusal(kind: type[ApiError]) -> ApiError:
    return kind(message="no", meta=META, body={})


def run(plan: Plan[Known], answers: Iterable[Any]) -> tuple[list[Call], Known]:
    """Drive a plan with bodies and errors; what it asked, and what it found."""
    calls: list[Call] = []
    try:
        calls.append(next(plan))
        for answer in answers:
            if isinstance(answer, Exception):
                calls.append(plan.throw(answer))
            else:
                calls.append(plan.send(ObjectApiResponse(body=answer, meta=META)))
    except StopIteration as stop:
        return calls, stop.value
    raise AssertionError("the plan asks for more")


def look(
    knowledge: Knowledge, *answers: Any, target: Target = A, unexpected: Any = None
) -> tuple[list[str], Known]:
    calls, known = run(check_fields(target, FIELDS, knowledge, unexpected), answers)
    return [call.method for call in calls], known


LOOK = ["field_caps", "indices.get"]


def test_an_index_is_looked_at_once_in_a_while() -> None:
    knowledge = Knowledge()
    methods, known = look(knowledge, capabilities("a"), definitions("a"))
    assert (methods, known.indices, known.source_tells) == (LOOK, {"a"}, True)
    assert look(knowledge) == ([], known)
    knowledge.known[A, FIELDS] = Known(known.indices, True, at=known.at - 301)
    assert look(knowledge, capabilities("a"), definitions("a"))[0] == LOOK


def test_patterns_are_looked_at_as_the_request_expands_them() -> None:
    knowledge, target = Knowledge(), Target("a*", expand_wildcards="all")
    calls, _ = run(check_fields(target, FIELDS, knowledge), [capabilities("a"), definitions("a")])
    assert {call.arguments["expand_wildcards"] for call in calls} == {"all"}
    # What is known of it says nothing of the same pattern that reaches less.
    assert look(knowledge, capabilities("b"), {}, target=Target("a*"))[0] == LOOK


def test_without_an_index_all_are_looked_at() -> None:
    calls, _ = run(check_fields(Target(), FIELDS, Knowledge()), [capabilities("a"), {}])
    assert [call.arguments["index"] for call in calls] == ["_all", "_all"]


def test_the_indices_of_a_point_in_time_are_looked_at() -> None:
    names = [f"i{number}" for number in range(60)]
    buckets = {"names": {"buckets": [{"key": name} for name in names]}}
    methods, known = look(
        Knowledge(),
        {"aggregations": buckets},
        capabilities(*names[:50]),
        definitions(*names[:50]),
        capabilities(*names[50:]),
        definitions(),
        target=PIT,
    )
    assert methods == ["search", *LOOK, *LOOK]
    assert known.indices == set(names)
    assert not known.source_tells


def test_an_answer_that_does_not_fit_is_a_reason_to_look_again() -> None:
    knowledge = Knowledge()
    look(knowledge, capabilities("a"), definitions("a"))
    methods, known = look(knowledge, capabilities("a"), definitions("a"), unexpected=["remote:a"])
    assert methods == LOOK
    assert known.twice
    assert known.indices == {"a", "remote:a"}
    unmapped = {"indices": ["b"], "fields": {}}
    with pytest.raises(MappingError, match=r"mapping install b'$"):
        look(knowledge, unmapped, unexpected=[])
    assert not knowledge.known


def test_what_cannot_be_looked_at_is_not_taken_for_checked() -> None:
    knowledge = Knowledge()
    forbidden = refusal(AuthorizationException)
    with pytest.raises(AuthorizationException):
        look(knowledge, forbidden)
    assert look(knowledge, refusal(NotFoundError))[1].indices == set()
    assert not knowledge.known
    _, known = look(knowledge, capabilities("a"), forbidden)
    assert not known.source_tells
