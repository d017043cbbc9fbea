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

MODERATE = Decision(level_name="x", level=Level(demote_from=0.2, hide_from=0.8, unscored="demote"))


def hit(index: str, **safety: Any) -> dict[str, Any]:
    return {"_index": index, "_source": {"safety": safety}}


def unsure(reader: HitReader, hits: list[dict[str, Any]]) -> list[int]:
    told = reader.describe(hits, MODERATE)
    return reader.unsure(hits, told)


def test_a_hit_without_a_probability_is_sure_where_another_of_its_index_shows_one() -> None:
    hits = [hit("a", probability=0.1), hit("a"), hit("b"), hit("b", status="failed"), hit("a")]
    reader = HitReader.of({}, SafetyFields())
    assert unsure(reader, hits) == [2]
    assert unsure(reader, hits[1:]) == [0, 1, 3]
    assert unsure(reader, hits[:2]) == []


def test_doc_values_leave_nothing_out() -> None:
    reader = HitReader.of({"_source": False}, SafetyFields())
    assert unsure(reader, [{"_index": "a"}]) == []


NOTHING = {"probability": None, "model": None, "status": None, "override": None}


@pytest.mark.parametrize(
    ("hit", "expected"),
    [
        ({}, {}),
        ({"_source": {"safety": {"probability": 0.5}}}, {"probability": 0.5}),
        ({"_source": {"safety.probability": 0.5}}, {"probability": 0.5}),
        ({"_source": {"safety": {"status": "failed"}}}, {"status": "failed"}),
        ({"_source": {"safety": "gone"}}, {}),
        ({"fields": {"safety.probability": [0.5]}}, {"probability": [0.5]}),
        (
            {"fields": {"safety.override": ["allow"]}, "_source": {"safety": {"probability": 1}}},
            {"override": ["allow"]},
        ),
        (
            {"fields": {"title": ["x"]}, "_source": {"safety": {"probability": 0.0}}},
            {"probability": 0.0},
        ),
    ],
)
def test_the_safety_fields_of_a_hit(hit: dict[str, Any], expected: dict[str, Any]) -> None:
    assert deciding_values(hit, SafetyFields()) == {**NOTHING, **expected}


def test_other_field_names() -> None:
    hit = {"_source": {"a": {"b.probability": 0.5}, "people": {"override": "block"}}}
    fields = SafetyFields("a.b", "people")
    assert deciding_values(hit, fields) == {**NOTHING, "probability": 0.5, "override": "block"}


values = st.sampled_from([0.0, 0.5, 1, float("nan"), "0.7", None, [0.2, 0.9], "high"])
texts = st.sampled_from([None, "scored", "failed", "no_image", "allow", "block", "m", ["m"]])
parts = st.fixed_dictionaries(
    {}, optional={"probability": values, "status": texts, "override": texts, "model": texts}
)
PATHS = {key: f"safety.{key}" for key in ("probability", "status", "override", "model")}
sources = st.builds(
    lambda part, dotted: {"safety": part, **{PATHS[key]: value for key, value in dotted.items()}},
    parts | st.just("gone") | st.none(),
    st.just({}) | parts,
)
doc_values = st.dictionaries(
    st.sampled_from(["title", *PATHS.values()]), st.lists(values, max_size=2), max_size=2
)
hits = st.fixed_dictionaries({}, optional={"_source": sources, "fields": doc_values})


@given(st.lists(hits, max_size=5), st.none() | st.just("m"), st.booleans())
def test_many_hits_are_read_as_one_by_one(
    found: list[dict[str, Any]], model: str | None, in_source: bool
) -> None:
    fields = SafetyFields()
    seen = [{"_source": hit.get("_source")} if in_source else hit for hit in found]
    expected = States.of([deciding_values(hit, fields) for hit in seen], model)
    states = states_of(found, fields, model, in_source=in_source)
    assert states.values == expected.values
    assert states.codes == expected.codes
