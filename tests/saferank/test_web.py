"""What an application takes from a request, and what it gives out, whatever its framework."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import elastic_transport
import elasticsearch
import opensearchpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank import (
    ContextError,
    MappingError,
    Policy,
    PolicyFile,
    ServiceUnavailable,
    UnsafeRequest,
    load_policy,
    rerank,
)
from saferank.mappings.paths import places
from saferank.web import (
    LevelChoice,
    is_waiting,
    level_choices,
    read_cursor,
    request_context,
    status_of,
    without_safety,
    write_cursor,
)

POLICY = load_policy("""
version: 1
levels:
  off: {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict: {hide_from: 0.2, unscored: hide}
contexts:
  - {when: {audience: child}, level: strict, locked: true}
  - {when: {region: [DE]}, level: moderate, at_least: moderate}
  - {level: moderate}
""")
CATEGORIES = load_policy("""
version: 2
categories:
  nudity: {field: safety.nudity, override_field: decisions}
  gore: {field: gore, override_field: decisions}
levels:
  off: {}
  strict: {nudity: {hide_from: 0.2, unscored: hide}, gore: {hide_from: 0.2, unscored: hide}}
contexts: [{level: strict}]
""")
MODERATE, STRICT = (POLICY.decision_for(level) for level in ("moderate", "strict"))
SORTS = st.lists(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    min_size=1,
)


@given(st.none() | st.text() | st.sampled_from(list(POLICY.levels)))
def test_whatever_a_cookie_says_a_level_holds(requested: str | None) -> None:
    context = request_context(POLICY, requested, audience=None)
    expected = requested if requested in POLICY.levels else "moderate"
    assert POLICY.resolve(context).level_name == expected
    child = request_context(POLICY, requested, audience="child")
    assert child["audience"] == "child"
    assert POLICY.resolve(child).level_name == "strict"


def test_an_attribute_that_the_policy_does_not_know_is_no_choice_of_a_user() -> None:
    with pytest.raises(ContextError, match="knows no context attribute 'audiense'"):
        POLICY.resolve(request_context(POLICY, audiense="child"))


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, {"off": False, "moderate": True, "strict": False}),
        ({"requested": "off"}, {"off": True, "moderate": False, "strict": False}),
        ({"region": "DE", "requested": "off"}, {"moderate": True, "strict": False}),
        ({"region": "DE", "requested": "strict"}, {"moderate": False, "strict": True}),
        ({"audience": "child", "requested": "off"}, {"strict": True}),
    ],
)
def test_the_choices_are_the_levels_that_a_choice_leads_to(
    context: dict[str, str], expected: dict[str, bool]
) -> None:
    choices = level_choices(POLICY, context)
    assert choices == [LevelChoice(level, holds) for level, holds in expected.items()]


def test_a_policy_in_a_file_is_taken_as_a_policy_is(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        "version: 1\nlevels: {off: {}, strict: {hide_from: 0.2, unscored: hide}}\n"
        "contexts: [{level: strict}]\n"
    )
    policies = PolicyFile(path)
    assert request_context(policies, "off") == {"requested": "off"}
    assert request_context(policies, "moderate") == {}
    choices = level_choices(policies, {})
    assert choices == [LevelChoice("off", holds=False), LevelChoice("strict", holds=True)]
    assert without_safety({"title": "a", "safety": {}}, policies) == {"title": "a"}


@given(SORTS)
def test_a_cursor_leads_on_at_its_own_level_only(sort: list[Any]) -> None:
    cursor = write_cursor({"sort": sort}, MODERATE)
    assert cursor.replace("-", "").replace("_", "").isalnum()  # Nothing to escape in an address.
    assert read_cursor(cursor, MODERATE) == sort
    assert read_cursor(cursor, STRICT) is None


def test_a_cursor_ends_with_the_thresholds_it_was_written_under() -> None:
    changed = load_policy("""
version: 1
levels: {moderate: {demote_from: 0.2, hide_from: 0.7, unscored: demote}}
contexts: [{level: moderate}]
""")
    cursor = write_cursor({"sort": [1.5, "a"]}, MODERATE)
    assert read_cursor(cursor, changed.decision_for("moderate")) is None


def encoded(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode()


KEY = MODERATE.cache_key


@pytest.mark.parametrize(
    "cursor",
    [
        None,
        "",
        "!",
        "ä",
        encoded("["),
        encoded("[" * 100_000),
        encoded("1"),
        encoded(json.dumps([KEY])),
        encoded(json.dumps([KEY, []])),
        encoded(json.dumps([KEY, {"a": 1}])),
        encoded(json.dumps([KEY, "text"])),
        encoded(json.dumps([KEY, [{"script": "1"}]])),
        encoded(json.dumps([KEY, [[1]]])),
        encoded(json.dumps([KEY, [1], 2])),
        encoded(f'["{KEY}", [NaN]]'),
    ],
)
def test_what_is_no_cursor_leads_to_the_first_page(cursor: str | None) -> None:
    assert read_cursor(cursor, MODERATE) is None


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_no_text_makes_reading_a_cursor_fail(text: str) -> None:
    assert read_cursor(text, MODERATE) is None


RECORD = {"probability": 0.5, "images": [{"reference": "file:///srv/a.png"}]}


@pytest.mark.parametrize(
    ("policy", "source", "expected"),
    [
        (POLICY, {"title": "a", "safety": RECORD}, {"title": "a"}),
        (POLICY, {"title": "a", "safety": [RECORD]}, {"title": "a"}),
        (POLICY, {"title": "a", "safety.images": [1], "safety.status": "x"}, {"title": "a"}),
        (POLICY, {"title": "a", "safety_2": 1, "a": {"safety": 1}}, None),
        (
            CATEGORIES,
            {"safety": {"nudity": RECORD, "by": "x"}, "gore": RECORD, "decisions": {}, "t": 1},
            {"safety": {"by": "x"}, "t": 1},
        ),
        (
            CATEGORIES,
            {"safety.nudity": RECORD, "safety": [{"nudity.images": 1, "by": "x"}, "y"]},
            {"safety": [{"by": "x"}, "y"]},
        ),
    ],
)
def test_users_get_a_source_without_the_record(
    policy: Policy, source: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    before = copy.deepcopy(source)
    assert without_safety(source, policy) == (before if expected is None else expected)
    assert source == before


KEYS = st.sampled_from(["safety", "nudity", "safety.nudity", "nudity.images", "gore", "title"])
SOURCES = st.dictionaries(
    KEYS,
    st.recursive(
        st.integers(), lambda inside: st.lists(inside) | st.dictionaries(KEYS, inside), max_leaves=5
    ),
)


@given(SOURCES)
def test_nothing_is_left_where_the_engine_would_find_the_record(source: dict[str, Any]) -> None:
    left = without_safety(source, CATEGORIES)
    for path in ("safety.nudity", "safety.nudity.images", "gore", "gore.images", "decisions"):
        assert list(places(left, path)) == []
    assert left.get("title") == source.get("title")


def test_a_hit_waits_if_it_has_no_score() -> None:
    hits = [
        {"_source": {}},
        {"_source": {"safety": {"probability": 0.0, "status": "scored"}}},
        {"_source": {"safety": {"status": "failed"}}},
    ]
    waiting = [is_waiting(hit) for hit in rerank(hits, POLICY.decision_for("off"))]
    assert waiting == [True, False, False]


def answered(
    status: int, kind: type[elasticsearch.ApiError] = elasticsearch.ApiError, message: str = "error"
) -> elasticsearch.ApiError:
    meta = elastic_transport.ApiResponseMeta(
        status,
        "1.1",
        elastic_transport.HttpHeaders(),
        0,
        elastic_transport.NodeConfig("http", "x", 1),
    )
    return kind(message, meta, {})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ContextError("no level"), 400),
        (UnsafeRequest("script", "no"), 400),
        (answered(400, elasticsearch.BadRequestError), 400),
        (opensearchpy.RequestError(400, "error", {}), 400),
        (answered(404, elasticsearch.NotFoundError), 404),
        (opensearchpy.NotFoundError(404, "error", {}), 404),
        (ServiceUnavailable("away"), 503),
        (elasticsearch.ConnectionError("away"), 503),
        (elasticsearch.ConnectionTimeout("slow"), 503),
        (opensearchpy.ConnectionError("N/A", "away", OSError()), 503),
        (opensearchpy.ConnectionTimeout("TIMEOUT", "slow", OSError()), 503),
        (answered(429), 503),
        (answered(503), 503),
        (answered(401), 500),  # The application's own credentials are no user's fault.
        (answered(409), 500),
        (MappingError("no fields"), 500),
        (answered(404, elasticsearch.NotFoundError, "index_not_found_exception"), 500),
        (opensearchpy.NotFoundError(404, "index_not_found_exception", {}), 500),
        (KeyError("x"), 500),
    ],
)
def test_an_error_has_a_status(error: Exception, status: int) -> None:
    assert status_of(error) == status
