from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.mappings.fields import SafetyFields
from saferank.ranker.hits import HitReader, deciding_values, states_of
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Level
from saferank.ranker.level.states import States

MODERATE = Decision.of("x", Level(demote_from=0.2, hide_from=0.8, unscored="demote"))
FIELDS = MODERATE.fields


def test_doc_values_are_asked_for_where_the_source_does_not_tell() -> None:
    fields = SafetyFields()
    scripts = {"script_fields": {"a": {"script": "1"}}}
    for whole in ({}, {"_source": True}, {**scripts, "_source": True}):
        assert HitReader.of(whole, fields) == HitReader(fields)
    bodies: list[Any] = [{"_source": False}, {"stored_fields": []}, scripts]
    for body, tells in (({}, False), *((body, True) for body in bodies)):
        reader = HitReader.of(body, fields, source_tells=tells)
        assert not reader.in_source
        assert reader.asked == reader.added == fields.deciding
        asked = reader.request(body)["docvalue_fields"]
        assert asked == list(fields.deciding)


OWN = {
    "_source": False,
    "fields": ["title", {"field": "safety.prob*"}],
    "stored_fields": ["*.model"],
}


def test_what_the_application_asks_for_stays_in_the_hits() -> None:
    reader = HitReader.of({**OWN, "docvalue_fields": ["safety.status"]}, FIELDS)
    assert reader.asked == (
        "safety.probability",
        "safety.model",
        "safety.override",
        "safety.matched",
    )
    assert reader.added == ("safety.override", "safety.matched")
    hits = [{"fields": {"safety.probability": [0.5], "safety.override": ["allow"]}}]
    reader.clean(hits)
    assert hits == [{"fields": {"safety.probability": [0.5]}}]
    reader.clean(only := [{"fields": {"safety.override": ["allow"]}}])
    assert only == [{}]


def test_a_field_in_a_format_of_its_own_cannot_be_read() -> None:
    for field in ("safety.probability", "safety.*"):
        formatted = {"_source": False, "docvalue_fields": [{"field": field, "format": "0.0"}]}
        reader = HitReader.of(formatted, FIELDS)
        assert reader.blind
        assert reader.request(formatted) is formatted


def test_hits_without_a_source_cannot_be_read_by_it() -> None:
    assert HitReader(FIELDS).can_read([{"_source": {}}])
    assert not HitReader(FIELDS).can_read([{"_source": {}}, {"_id": "1"}])
    assert HitReader(FIELDS, in_source=False).can_read([{"_id": "1"}])


def test_doc_values_are_read_without_a_look_at_the_source() -> None:
    hit = {"_source": {"safety": {"probability": 0.9}}, "fields": {"safety.status": ["scored"]}}
    reader = HitReader.of({"_source": False}, FIELDS)
    (told,) = reader.describe([hit], MODERATE)
    assert (told["action"], told["rule"]) == ("demoted", "unscored")


NOTHING: dict[str, list[Any]] = {
    key: [] for key in ("probability", "model", "status", "override", "matched")
}


@pytest.mark.parametrize(
    ("hit", "expected"),
    [
        ({}, {}),
        ({"_source": {"safety": {"probability": 0.5}}}, {"probability": [0.5]}),
        ({"_source": {"safety.probability": 0.5}}, {"probability": [0.5]}),
        ({"_source": {"safety": {"status": "failed"}}}, {"status": ["failed"]}),
        ({"_source": {"safety": "gone"}}, {}),
        ({"_source": {"safety": [{"probability": 0.5}]}}, {"probability": [0.5]}),
        (
            {"_source": {"safety": [{"probability": [0.5]}, {"probability": 0.7}]}},
            {"probability": [[0.5], 0.7]},
        ),
        (
            {"_source": {"safety": {"probability": 0.5}, "safety.probability": 0.7}},
            {"probability": [0.5, 0.7]},
        ),
        ({"fields": {"safety.probability": [0.5]}}, {"probability": [0.5]}),
        (
            {"fields": {"safety.override": ["allow"]}, "_source": {"safety": {"probability": 1}}},
            {"override": ["allow"], "probability": [1]},
        ),
        (
            {"fields": {"title": ["x"]}, "_source": {"safety": {"probability": 0.0}}},
            {"probability": [0.0]},
        ),
    ],
)
def test_the_safety_fields_of_a_hit(hit: dict[str, Any], expected: dict[str, Any]) -> None:
    assert deciding_values(hit, SafetyFields()) == {**NOTHING, **expected}


def test_other_field_names() -> None:
    hit = {"_source": {"a": {"b.probability": 0.5}, "people": {"override": "block"}}}
    fields = SafetyFields("a.b", "people")
    expected = {**NOTHING, "probability": [0.5], "override": ["block"]}
    assert deciding_values(hit, fields) == expected


values = st.sampled_from([0.0, 0.5, 1, float("nan"), "0.7", None, [0.2, [0.9]], "high", ""])
texts = st.sampled_from(
    [None, "scored", "failed", "not_read", "no_image", "allow", "block", "m", ["m"]]
)
TEXTS = ("status", "override", "matched", "model")
parts = st.fixed_dictionaries({}, optional={"probability": values, **dict.fromkeys(TEXTS, texts)})
PATHS = {key: f"safety.{key}" for key in ("probability", *TEXTS)}
sources = st.builds(
    lambda part, dotted: {"safety": part, **{PATHS[key]: value for key, value in dotted.items()}},
    parts | st.just("gone") | st.none() | st.lists(parts, max_size=2),
    st.just({}) | parts,
)
doc_values = st.dictionaries(
    st.sampled_from(["title", *PATHS.values()]), st.lists(values, max_size=2), max_size=2
)
hits = st.fixed_dictionaries({}, optional={"_source": sources, "fields": doc_values})


@given(
    st.lists(hits, max_size=5), st.none() | st.just("m"), st.none() | st.booleans(), st.booleans()
)
def test_many_hits_are_read_as_one_by_one(
    found: list[dict[str, Any]], model: str | None, in_source: bool | None, matches: bool
) -> None:
    fields, seen = SafetyFields(matches=matches), found
    if in_source is not None:
        part = "_source" if in_source else "fields"
        seen = [{part: hit.get(part)} for hit in found]
    expected = States.of([deciding_values(hit, fields) for hit in seen], model)
    states = states_of(found, fields, model, in_source=in_source)
    assert states.values == expected.values
    assert states.codes == expected.codes
