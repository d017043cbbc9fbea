from __future__ import annotations

import pytest

from saferank.errors import ContextError, PolicyError
from saferank.ranker.policy.load import load_policy
from saferank.ranker.policy.tools import (
    ABSENT,
    OTHER,
    ContextChange,
    PolicyDiff,
    diff,
    explain_context,
    json_schema,
)

POLICY = """\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts:
  - {when: {audience: child}, level: strict, locked: true}
  - {when: {surface: images, region: [DE, FR]}, level: moderate, at_least: moderate}
  - {level: moderate}
"""


def changed(old: str, new: str) -> PolicyDiff:
    assert POLICY.count(old) == 1
    return diff(load_policy(POLICY), load_policy(POLICY.replace(old, new)))


def test_a_locked_entry_is_explained() -> None:
    policy = load_policy(POLICY)
    found = explain_context(policy, {"audience": "child", "requested": "off"})
    assert found.steps == [
        "entry 1 under contexts decides, because audience is child; its level is 'strict'",
        "the user asked for 'off', which is ignored: the entry is locked",
        "so the level is 'strict'",
    ]
    assert found.passed_over == []
    assert found.must_not == found.decision.hidden != []
    assert found.functions == []


def test_a_minimum_is_explained() -> None:
    policy = load_policy(POLICY)
    context = {"surface": "images", "region": "FR", "requested": "off"}
    found = explain_context(policy, context)
    assert found.steps == [
        "entry 2 under contexts decides, because surface is images, region is DE or FR; "
        "its level is 'moderate'",
        "the user asked for 'off'",
        "it has to be at least 'moderate'",
        "so the level is 'moderate'",
    ]
    assert [missing for _, missing in found.passed_over] == [["audience"]]
    assert len(found.functions) == 2


def test_the_last_entry_is_explained() -> None:
    found = explain_context(load_policy(POLICY), {"surface": "images"})
    assert found.steps == [
        "entry 3 under contexts decides, which matches every request; its level is 'moderate'",
        "so the level is 'moderate'",
    ]
    assert [missing for _, missing in found.passed_over] == [["audience"], ["region"]]
    with pytest.raises(ContextError):
        explain_context(load_policy(POLICY), {"surfase": "images"})


def test_equal_policies_do_not_differ() -> None:
    rewritten = POLICY.replace("audience: child", "audience: [child]") + "field: safety\n"
    assert not diff(load_policy(POLICY), load_policy(rewritten))


def test_a_changed_threshold() -> None:
    found = changed("hide_from: 0.8", "hide_from: 0.9")
    assert found.levels == {"moderate": {"hide_from": (pytest.approx(0.8), pytest.approx(0.9))}}
    assert found
    assert not found.contexts


def test_a_changed_setting() -> None:
    found = changed("version: 1", "version: 1\nmodel: m\ndemotion: {floor: 0.2}")
    assert found == PolicyDiff(settings={"model": (None, "m"), "demotion.floor": (0.1, 0.2)})
    moved = changed("version: 1", "version: 1\nfield: other")
    assert moved.settings == {"field": ("safety", "other"), "override_field": ("safety", "other")}


def test_a_changed_default_names_the_requests_that_feel_it() -> None:
    found = changed("- {level: moderate}", "- {level: strict}")
    contexts = [change.context for change in found.contexts]
    assert {(change.before, change.after) for change in found.contexts} == {("moderate", "strict")}
    assert all(context["requested"] == ABSENT for context in contexts)
    assert all(context["audience"] in (ABSENT, OTHER) for context in contexts)
    assert {c["surface"] for c in contexts if c["region"] == "DE"} == {ABSENT, OTHER}
    assert all("surface" not in c for c in contexts if c["region"] in (ABSENT, OTHER))
    assert {"audience": OTHER, "region": ABSENT, "requested": ABSENT} in contexts


OF_TWO = """\
version: 2
categories: {nudity: {field: safety}, violence: {field: other}}
levels:
  moderate:
    nudity: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
    violence: {blur_from: 0.5, unscored: show}
contexts: [{level: moderate}]
"""
OF_ONE = """\
version: 1
levels:
  moderate: {demote_from: 0.2, hide_from: 0.9, unscored: demote}
contexts: [{level: moderate}]
"""


def test_a_policy_of_version_1_is_compared_with_the_category_of_its_fields() -> None:
    one, two = load_policy(OF_ONE), load_policy(OF_TWO)
    for before, after, way in ((one, two, 1), (two, one, -1)):
        found = diff(before, after)
        assert {name: values[::way] for name, values in found.settings.items()} == {
            "violence.field": (None, "other"),
            "violence.override_field": (None, "other"),
        }
        assert {name: values[::way] for name, values in found.levels["moderate"].items()} == {
            "nudity.hide_from": (pytest.approx(0.9), pytest.approx(0.8)),
            "violence.blur_from": (None, 0.5),
            "violence.unscored": (None, "show"),
            "violence.failed": (None, "show"),
            "violence.not_read": (None, "show"),
            "violence.no_image": (None, "show"),
            "violence.blocked": (None, "hide"),
        }
    without_violence = OF_TWO.replace(", violence: {field: other}", "").replace(
        "    violence: {blur_from: 0.5, unscored: show}\n", ""
    )
    assert not diff(load_policy(OF_ONE.replace("0.9", "0.8")), load_policy(without_violence))


def test_whether_copies_of_known_pictures_count_is_a_setting() -> None:
    assert diff(load_policy(OF_ONE), load_policy(f"{OF_ONE}matched: false\n")).settings == {
        "matched": (True, False)
    }


def test_an_unlocked_entry() -> None:
    found = changed(", locked: true", "")
    assert sorted(found.contexts, key=str) == [
        ContextChange({"audience": "child", "requested": "moderate"}, "strict", "moderate"),
        ContextChange({"audience": "child", "requested": "off"}, "strict", "off"),
    ]


def test_a_level_that_is_gone_and_an_attribute_that_is_new() -> None:
    before = "version: 1\nlevels: {a: {}, b: {}}\ncontexts: [{level: a}]\n"
    after = (
        "version: 1\nlevels: {a: {}}\n"
        "contexts: [{when: {x: y}, level: a, locked: true}, {level: a}]\n"
    )
    found = diff(load_policy(before), load_policy(after))
    assert found.levels["b"]["unscored"] == ("show", None)
    assert "hide_from" not in found.levels["b"]  # It had none.
    assert ContextChange({"x": ABSENT, "requested": "b"}, "b", None) in found.contexts
    assert ContextChange({"x": "y", "requested": ABSENT}, None, "a") in found.contexts


def test_too_many_kinds_of_request() -> None:
    values = ", ".join(f"v{number}" for number in range(100))
    when = ", ".join(f"{name}: [{values}]" for name in "abc")
    policy = load_policy(POLICY.replace("audience: child", when))
    with pytest.raises(PolicyError, match="more than the 200000"):
        diff(policy, policy)


def test_the_schema_describes_what_the_file_may_hold() -> None:
    schema = json_schema()
    one, several = (schema["$defs"][name] for name in ("OneCategoryPolicy", "CategoriesPolicy"))
    assert one["additionalProperties"] is several["additionalProperties"] is False
    assert set(one["required"]) == {"version", "levels", "contexts"}
    assert set(several["required"]) == {"version", "levels", "contexts", "categories"}
    assert schema["discriminator"]["propertyName"] == "version"
    rule = schema["$defs"]["ContextRule"]["properties"]["when"]["additionalProperties"]
    assert {option["type"] for option in rule["anyOf"]} == {"string", "array"}
    level = schema["$defs"]["Level"]["properties"]
    assert set(level) == {
        *("blur_from", "demote_from", "hide_from"),
        *("unscored", "failed", "not_read", "no_image", "blocked"),
    }
    assert schema["$defs"]["Treatment"]["enum"] == ["show", "blur", "demote", "hide"]
