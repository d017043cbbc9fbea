"""What is asked about indices, and what the answers are taken to mean."""

from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import MappingError
from saferank.mappings.fields import DecidingFields, SafetyFields
from saferank.mappings.template import component_template
from saferank.ranker.client.indices import (
    check_capabilities,
    definition_parts,
    one_text,
    source_tells,
    wanted_fields,
)

Json = dict[str, Any]
FIELDS = DecidingFields.of(SafetyFields())
FLOAT = {"float": {"type": "float", "searchable": True, "aggregatable": True}}
KEYWORD = {"keyword": {"type": "keyword", "searchable": True, "aggregatable": True}}
OBJECT = {"object": {"type": "object", "searchable": False, "aggregatable": False}}
CAPABILITIES: Json = {
    "safety": OBJECT,
    "safety.probability": FLOAT,
    "safety.model": KEYWORD,
    "safety.status": KEYWORD,
    "safety.override": KEYWORD,
}


@pytest.mark.parametrize(
    ("names", "text"), [("a,b", "a,b"), (["a", "b"], "a,b"), (None, None), ([], None), ("", None)]
)
def test_names_are_one_text(names: Any, text: str | None) -> None:
    assert one_text(names) == text


def test_the_objects_around_the_fields_are_asked_for_too() -> None:
    fields = SafetyFields("media.safety", "people")
    paths = [f"media.safety.{name}" for name in ("probability", "model", "status")]
    objects = ["media", "media.safety", "people"]
    deciding = [*paths, "people.override", "media.safety.matched"]
    assert wanted_fields(fields) == [*deciding, *objects]
    assert definition_parts(fields)[-2:] == [
        "*.mappings.properties.media*",
        "*.mappings.properties.people*",
    ]


def test_an_index_of_an_earlier_mapping_needs_no_matches() -> None:
    capabilities = {
        path: found for path, found in CAPABILITIES.items() if path not in FIELDS.matches
    }
    answer = {"indices": ["a"], "fields": capabilities}
    assert check_capabilities(answer, FIELDS) == {"a"}
    (matched,) = FIELDS.matches
    keyword = CAPABILITIES["safety.override"]
    mixed = {**keyword, "unmapped": {"type": "unmapped", "indices": ["a"]}}
    answer = {"indices": ["a", "b"], "fields": {**capabilities, matched: mixed}}
    assert check_capabilities(answer, FIELDS) == {"a", "b"}


def test_indices_that_have_the_fields_are_named() -> None:
    answer = {"indices": ["a", "b"], "fields": CAPABILITIES}
    assert check_capabilities(answer, FIELDS) == {"a", "b"}
    assert check_capabilities({"indices": [], "fields": {}}, FIELDS) == set()


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
        (
            "safety",
            {**OBJECT, "nested": {"type": "nested", "indices": ["b"]}},
            "index 'b' has 'safety' as 'nested'",
        ),
    ],
)
def test_fields_that_are_not_as_they_must_be(path: str, found: Json | None, message: str) -> None:
    fields = {name: value for name, value in {**CAPABILITIES, path: found}.items() if value}
    with pytest.raises(MappingError, match=message):
        check_capabilities({"indices": ["a", "b"], "fields": fields}, FIELDS)


MAPPINGS: Json = component_template()["template"]["mappings"]
PROPERTIES: Json = MAPPINGS["properties"]["safety"]["properties"]


def definition(settings: Json | None = None, **mappings: Any) -> Json:
    found = {"mappings": {**MAPPINGS, **mappings}}
    return found if settings is None else {**found, "settings": {"index": {"mapping": settings}}}


def with_probability(**parameters: Any) -> Json:
    changed = {**PROPERTIES, "probability": {"type": "float", **parameters}}
    return definition(properties={"safety": {"properties": changed}})


FLAT = {f"safety.{name}": value for name, value in PROPERTIES.items()}


@pytest.mark.parametrize(
    "found",
    [
        definition(),
        definition(subobjects=False, properties=FLAT),
        definition({"source": {"mode": "synthetic"}, "coerce": "false"}),
        definition(_source={"mode": "stored"}),
        definition(runtime={"hour": {"type": "long"}}),
        definition(properties={**MAPPINGS["properties"], "a": {"copy_to": ["b"]}}),
        with_probability(store=True, coerce=False),
    ],
)
def test_a_source_tells_what_the_index_has(found: Json) -> None:
    assert source_tells(found, FIELDS)


@pytest.mark.parametrize(
    "found",
    [
        {},
        definition(properties={}),
        definition(_source={"excludes": ["safety"]}),
        definition(_source={"includes": ["title"]}),
        definition(_source={"enabled": False}),
        definition({"source": {"mode": "disabled"}}),
        definition({"ignore_above": "3"}),
        definition(runtime={"safety.override": {"type": "keyword"}}),
        definition(properties={**MAPPINGS["properties"], "a": {"copy_to": "safety.override"}}),
        definition(
            dynamic_templates=[{"a": {"mapping": {"copy_to": ["x", "safety.probability"]}}}]
        ),
        with_probability(null_value=1),
        with_probability(script="emit(1)"),
        with_probability(type="alias", path="score"),
    ],
)
def test_a_source_does_not_tell_what_the_index_has(found: Json) -> None:
    assert not source_tells(found, FIELDS)
