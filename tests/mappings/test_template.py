from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from saferank.mappings import SafetyFields, component_template


def _properties(fields: SafetyFields) -> dict[str, Any]:
    return component_template(fields)["template"]["mappings"]["properties"]


def _at(properties: dict[str, Any], path: str) -> dict[str, Any]:
    *parents, last = path.split(".")
    for parent in parents:
        properties = properties[parent]["properties"]
    return properties[last]


def test_every_field_that_queries_name_is_mapped_with_its_type() -> None:
    fields = SafetyFields()
    properties = _properties(fields)
    types = {
        fields.probability: "float",
        fields.model: "keyword",
        fields.status: "keyword",
        fields.error: "keyword",
        fields.scored_at: "date",
        fields.override: "keyword",
        fields.images: "object",
    }
    assert {path: _at(properties, path)["type"] for path in types} == types
    assert properties["safety"]["dynamic"] == "strict"


def test_a_second_object_for_scores_leaves_the_decisions_where_they_are() -> None:
    properties = _properties(SafetyFields("safety_v2", "safety"))
    assert "override" not in properties["safety_v2"]["properties"]
    assert set(properties["safety"]["properties"]) == {
        "override",
        "override_by",
        "override_at",
        "override_reason",
    }


def test_a_second_object_may_lie_inside_the_first() -> None:
    properties = _properties(SafetyFields("safety.v2", "safety"))
    assert _at(properties, "safety.v2.probability")["type"] == "float"
    assert _at(properties, "safety.override") == {"type": "keyword"}


_name = st.text("abc_", min_size=1, max_size=3)


@given(st.lists(_name, min_size=1, max_size=4).map(".".join))
def test_a_dotted_name_becomes_nested_objects(root: str) -> None:
    assert _at(_properties(SafetyFields(root)), f"{root}.probability")["type"] == "float"


def test_templates_do_not_share_state() -> None:
    component_template()["template"]["mappings"]["properties"].clear()
    assert "safety" in _properties(SafetyFields())
