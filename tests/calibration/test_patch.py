"""Policies with other thresholds: everything else stays, to the byte."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.calibration.patch import new_policy, patched
from saferank.errors import PolicyError, SaferankError
from saferank.mappings.fields import SafetyFields
from saferank.mappings.float32 import as_float32
from saferank.ranker import load_policy

POLICY = """\
# Ours since spring.
version: 1
levels:                       # from loosest to strictest
  off:      {}                # nothing
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}   # the usual
  strict:
    hide_from: 0.2            # see the minutes
    unscored: hide
demotion: {curve: exponential, floor: 0.1}
contexts:
  - {when: {audience: child}, level: strict, locked: true}
  - {level: moderate}
"""
LOW, HIGH = as_float32(0.15), as_float32(0.7654321)


def test_only_numbers_change_and_comments_come_above() -> None:
    found = patched(POLICY, "moderate", {"demote_from": LOW, "hide_from": HIGH}, ["why", "when"])
    expected = POLICY.replace("demote_from: 0.2", "demote_from: 0.15").replace(
        "hide_from: 0.8", "hide_from: 0.7654321"
    )
    expected = expected.replace(
        "  moderate:", "  # calibrated: why\n  # calibrated: when\n  moderate:"
    )
    assert found == expected


def test_the_next_time_replaces_what_it_said() -> None:
    once = patched(POLICY, "moderate", {"demote_from": LOW, "hide_from": HIGH}, ["first"])
    twice = patched(once, "moderate", {"demote_from": LOW, "hide_from": HIGH}, ["second"])
    assert twice == once.replace("first", "second")


def test_a_level_in_lines_of_its_own_keeps_them() -> None:
    found = patched(POLICY, "strict", {"demote_from": LOW, "hide_from": as_float32(0.19)}, ["why"])
    assert (
        "  # calibrated: why\n  strict:\n    demote_from: 0.15\n"
        "    hide_from: 0.19            # see the minutes\n    unscored: hide\n"
    ) in found


def test_a_threshold_that_is_no_more_leaves_no_trace() -> None:
    found = patched(POLICY, "moderate", {"demote_from": None, "hide_from": HIGH}, [])
    assert "  moderate: {hide_from: 0.7654321, unscored: demote}   # the usual\n" in found


@given(
    st.sampled_from(
        [
            "{demote_from: 0.1, hide_from: 0.9, unscored: show}",
            "{unscored: show, hide_from: 0.9, demote_from: 0.1}",
            "{unscored: show, hide_from: 0.9}",
            "{'demote_from': 0.1, \"unscored\": show}",
            "\n    unscored: show\n    hide_from: 0.9\n    demote_from: 0.1",
            "\n    demote_from: 0.1   # here\n\n    # and\n    unscored: show",
            "\n      {\n  hide_from: 0.9,\n   unscored: show }",
        ]
    ),
    st.one_of(st.none(), st.floats(0, 0.5, width=32)),
    st.one_of(st.none(), st.floats(0.625, 1, width=32)),
)
def test_every_way_of_writing_a_level_is_edited(
    written: str, low: float | None, high: float | None
) -> None:
    text = f"version: 1\nlevels:\n  off: {{}}\n  some: {written}\ncontexts: [{{level: some}}]\n"
    found = load_policy(patched(text, "some", {"demote_from": low, "hide_from": high}, ["why"]))
    assert found.levels["some"].demote_from == low
    assert found.levels["some"].hide_from == high
    assert found.levels["off"] == load_policy(text).levels["off"]


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        (POLICY, "none", "there is no level 'none'; there are off, moderate, strict"),
        (POLICY, "strict", "shows documents that the looser level"),
        (POLICY.replace("{}  ", "null"), "off", "levels.off"),
        ("- a\n", "off", "valid dictionary"),
    ],
)
def test_what_cannot_be_edited_is_refused(text: str, level: str, said: str) -> None:
    with pytest.raises(PolicyError) as raised:
        patched(text, level, {"demote_from": None, "hide_from": as_float32(0.9)}, [])
    assert said in str(raised.value)


def test_a_level_that_is_another_s_is_not_edited_there() -> None:
    text = (
        "version: 1\nlevels:\n  one: &same {hide_from: 0.5, unscored: hide}\n  two: *same\n"
        "contexts: [{level: one}]\n"
    )
    with pytest.raises(PolicyError, match="not written out where it stands"):
        patched(text, "two", {"demote_from": None, "hide_from": LOW}, [])
    with pytest.raises(PolicyError, match="cannot be edited"):
        patched(text, "one", {"demote_from": None, "hide_from": LOW}, [])


def test_a_new_policy_loads_and_says_why() -> None:
    text = new_policy("moderate", {"demote_from": LOW, "hide_from": HIGH}, ["why"])
    policy = load_policy(text)
    assert policy.resolve({}).level_name == "moderate"
    assert policy.levels["moderate"].hide_from == HIGH
    assert "  # calibrated: why\n" in text


SEVERAL = """\
version: 2
categories: {nudity: {field: safety}, violence: {field: safety_violence}}
levels:
  off: {}
  moderate:
    # calibrated: earlier
    nudity:   {demote_from: 0.2, hide_from: 0.8, unscored: demote}
    # calibrated: earlier, too
    violence: {blur_from: 0.3, hide_from: 0.9, unscored: show}   # the board said so
  strict: {nudity: {hide_from: 0.2, unscored: hide}, violence: {hide_from: 0.3, unscored: hide}}
contexts: [{level: moderate}]
"""
VIOLENCE = SafetyFields("safety_violence")


def test_of_several_categories_one_gets_the_thresholds() -> None:
    found = patched(
        SEVERAL, "moderate", {"demote_from": None, "hide_from": HIGH}, ["now"], VIOLENCE
    )
    assert found == SEVERAL.replace("hide_from: 0.9", "hide_from: 0.7654321").replace(
        "calibrated: earlier, too", "calibrated: now"
    )
    found = patched(
        SEVERAL, "strict", {"demote_from": None, "hide_from": as_float32(0.25)}, [], VIOLENCE
    )
    assert found == SEVERAL.replace(
        "violence: {hide_from: 0.3, unscored: hide}", "violence: {hide_from: 0.25, unscored: hide}"
    )


@pytest.mark.parametrize(
    ("level", "fields", "said"),
    [
        ("off", VIOLENCE, "'off' says nothing about the category 'violence'"),
        ("moderate", SafetyFields("drawing"), "reads 'safety.override', 'safety_violence.override"),
        ("strict", VIOLENCE, "looser level"),
    ],
)
def test_a_category_that_cannot_have_the_thresholds(
    level: str, fields: SafetyFields, said: str
) -> None:
    with pytest.raises(SaferankError, match=re.escape(said)):
        patched(SEVERAL, level, {"demote_from": None, "hide_from": as_float32(0.95)}, [], fields)


def test_a_new_policy_reads_the_fields_that_were_calibrated() -> None:
    fields = SafetyFields("safety_violence", "safety")
    policy = load_policy(new_policy("some", {"demote_from": LOW, "hide_from": HIGH}, [], fields))
    assert policy.about(fields).levels["some"].hide_from == HIGH
