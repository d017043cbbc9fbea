from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.errors import ContextError, PolicyError
from saferank.ranker.level.level import Level, Treatment
from saferank.ranker.policy.load import load_policy
from saferank.ranker.policy.policy import Policy

POLICY = """\
version: 1
field: safety
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
demotion: {curve: exponential, floor: 0.1}
contexts:
  - {when: {audience: child}, level: strict, locked: true}
  - {when: {surface: image_search, region: [DE, NO]}, level: moderate, at_least: moderate}
  - {level: moderate}
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(POLICY)


def changed(old: str, new: str) -> str:
    assert POLICY.count(old) == 1, f"{old!r} must occur once"
    return POLICY.replace(old, new)


IMAGE_SEARCH = {"surface": "image_search", "region": "NO"}


@pytest.mark.parametrize(
    ("context", "level", "rule", "locked"),
    [
        ({}, "moderate", 3, False),
        (None, "moderate", 3, False),
        ({"requested": "off"}, "off", 3, False),
        ({"requested": "strict"}, "strict", 3, False),
        ({"audience": "child"}, "strict", 1, True),
        ({"audience": "child", "requested": "off"}, "strict", 1, True),
        ({"audience": "child", **IMAGE_SEARCH}, "strict", 1, True),
        ({"audience": "adult", "requested": "off"}, "off", 3, False),
        (IMAGE_SEARCH, "moderate", 2, False),
        ({**IMAGE_SEARCH, "requested": "off"}, "moderate", 2, False),
        ({**IMAGE_SEARCH, "requested": "strict"}, "strict", 2, False),
        ({**IMAGE_SEARCH, "region": "DE"}, "moderate", 2, False),
        ({**IMAGE_SEARCH, "region": "FR", "requested": "off"}, "off", 3, False),
        ({"surface": "image_search", "requested": "off"}, "off", 3, False),
    ],
)
def test_the_first_rule_that_matches_decides(
    policy: Policy, context: dict[str, str] | None, level: str, rule: int, locked: bool
) -> None:
    decision = policy.resolve(context)
    assert (decision.level_name, decision.context_rule, decision.locked) == (level, rule, locked)
    assert decision.categories[0].level is policy.levels[level]
    assert decision.requested == (context or {}).get("requested")


def test_at_least_wins_over_the_rules_own_looser_level() -> None:
    policy = load_policy(changed("- {level: moderate}", "- {level: 'off', at_least: strict}"))
    assert policy.resolve().level_name == "strict"


def test_a_locked_rule_still_keeps_its_minimum() -> None:
    policy = load_policy(
        changed("- {level: moderate}", "- {level: 'off', at_least: moderate, locked: true}")
    )
    assert policy.resolve({"requested": "strict"}).level_name == "moderate"


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"requested": "Off"}, "'Off'"),
        ({"requested": ""}, "''"),
        ({"requested": "none", "audience": "child"}, "off, moderate, strict"),
        ({"audiense": "child"}, "'audiense'"),
        ({"audience": None}, "must be text"),
        ({"requested": None}, "must be text"),
        ({"region": 49}, "must be text"),
    ],
)
def test_a_context_that_does_not_fit_is_an_error(
    policy: Policy, context: dict[str, str], said: str
) -> None:
    with pytest.raises(ContextError, match=said):
        policy.resolve(context)


LISTED = "attributes: {audience: [child, adult], surface: , region: }\ncontexts:"


def test_listed_attributes_limit_names_and_values() -> None:
    policy = load_policy(changed("contexts:", LISTED))
    assert policy.resolve({"audience": "adult"}).level_name == "moderate"
    assert policy.resolve({"region": "anything"}).level_name == "moderate"
    with pytest.raises(ContextError, match="'audience' cannot be 'kid'; it can be child, adult"):
        policy.resolve({"audience": "kid"})
    with pytest.raises(ContextError, match="audience, region, requested, surface"):
        policy.resolve({"page": "home"})


@pytest.mark.parametrize("later", ["{audience: teen}", "{audience: [child, teen]}"])
def test_entries_for_other_values_can_be_reached(later: str) -> None:
    entry = f"  - {{when: {later}, level: strict}}\n"
    policy = load_policy(changed("  - {level: moderate}\n", f"{entry}  - {{level: moderate}}\n"))
    assert policy.resolve({"audience": "teen"}).context_rule == 3


def test_a_level_by_name(policy: Policy) -> None:
    decision = policy.decision_for("strict")
    assert decision.categories[0].level is policy.levels["strict"]
    assert (decision.context_rule, decision.locked, decision.requested) == (None, False, None)
    with pytest.raises(ContextError, match="'strickt'"):
        policy.decision_for("strickt")


def test_the_stricter_of_two_levels_is_the_one_that_comes_later(policy: Policy) -> None:
    loose, *_, strict = policy.levels
    assert policy.stricter(loose, strict) == policy.stricter(strict, loose) == strict
    for pair in (("strickt", loose), (loose, "strickt")):
        with pytest.raises(ContextError, match="there is no level 'strickt'; the levels are"):
            policy.stricter(*pair)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("version: 1\n", "", 1, "version is missing"),
        ("version: 1", "version: 3", 1, "it can be 1 or 2, not 3"),
        ("field: safety", "field: safety.*", 2, "field: "),
        ("field: safety", "fields: safety", 2, "no such key; did you mean 'field'?"),
        ("field: safety", "levels: {}", 3, "'levels' is repeated"),
        ("  off:      {}", "  off:", 4, "levels.off"),
        ("  off:      {}", "  Off:      {}", 4, "levels.Off"),
        ("0.8, unscored: demote", "0.8, unscored: demote, unscored: hide", 5, "'unscored'"),
        ("0.8, unscored: demote", "0.8, unscored: vanish", 5, "levels.moderate.unscored"),
        ("0.8, unscored: demote", "0.8", 5, "levels.moderate: a level with a threshold must say"),
        ("off:      {}", "off:      {demote_from: 0.9}", 4, "a threshold must say"),
        ("off:      {}", "off:      {hide_from: 0.9}", 4, "a threshold must say"),
        ("0.8", "0.2", 5, "demote_from (0.2) must be below hide_from (0.2)"),
        ("hide_from: 0.8", "hide_form: 0.8", 5, "no such key; did you mean 'hide_from'?"),
        ("0.8", "1.01", 5, "levels.moderate.hide_from"),
        ("0.8", "-0.8", 5, "levels.moderate.hide_from"),
        ("0.8", "true", 5, "levels.moderate.hide_from"),
        ("0.8", "'0.8'", 5, "levels.moderate.hide_from"),
        ("0.8", "1e400", 5, "levels.moderate.hide_from"),
        ("{hide_from: 0.2, unscored: hide}", "{hide_from: 0.9, unscored: hide}", 6, "by hide_from"),
        ("{hide_from: 0.2, unscored: hide}", "{unscored: hide}", 6, "by hide_from"),
        ("unscored: hide", "unscored: hide, blocked: demote", 6, "by blocked"),
        ("exponential", "logistic", 7, "demotion.curve"),
        ("floor: 0.1", "floor: 0", 7, "demotion.floor"),
        ("floor: 0.1", "floor: 1.5", 7, "demotion.floor"),
        (
            "floor: 0.1",
            "flor: 0.1",
            7,
            "demotion.flor: there is no such key; did you mean",
        ),
        ("{audience: child}", "{requested: child}", 9, "cannot decide the rule"),
        ("{audience: child}", "{audience: []}", 9, "contexts (entry 1).when.audience"),
        ("level: strict, locked", "level: stricd, locked", 9, "no level 'stricd'"),
        ("locked: true", "locked: 1", 9, "contexts (entry 1).locked"),
        ("[DE, NO]", "[DE, 49]", 10, "contexts (entry 2).when.region (entry 2)"),
        ("at_least: moderate", "at_least: medium", 10, "contexts (entry 2).at_least"),
        ("surface: image_search, region: [DE, NO]", "audience: [child]", 10, "entry 1 matches"),
        ("  - {level: moderate}\n", "", 10, "the last entry must match every request"),
        ("- {level: moderate}", "- {when: {}, levl: moderate}", 11, "contexts (entry 3)"),
        ("contexts:", "attributes: {audience: kid}\ncontexts:", 10, "'child' is not among"),
        ("contexts:", "attributes: {audience: child}\ncontexts:", 11, "'surface' is not listed"),
        ("[DE, NO]", "&a [DE, *a]", 10, "contains itself"),
        ("[DE, NO]", "[DE, NO", 10, "not valid YAML"),
        ("[DE, NO]", "!!python/none x", 10, "tag"),
        ("0.8", "!!float x", 5, "does not fit"),
        ("field: safety", "3: safety", 2, "put it in quotes"),
        ("field: safety", "model: ''", 2, "model"),
    ],
)
def test_a_fault_is_named_with_its_line(old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(said)) as caught:
        load_policy(changed(old, new))
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n", "the policy"),
        ("- 1\n", "the policy"),
        ("a: 1\n---\nb: 1\n", "YAML"),
        ("\t\n-", "YAML"),
    ],
)
def test_what_is_no_policy_at_all(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        load_policy(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1\n", "", "line 1: version is missing"),
        (
            "field: safety",
            "fields: x",
            "line 2: fields: there is no such key; did you mean 'field'?",
        ),
        (
            "0.8",
            "7",
            "line 5: levels.moderate.hide_from: input should be less than or equal to 1, not 7",
        ),
        ("0.8", "0.1", "line 5: levels.moderate: demote_from (0.2) must be below hide_from (0.1)"),
        (
            "level: strict, locked",
            "level: x, locked",
            "line 9: contexts (entry 1).level: there is no level 'x'; "
            "the levels are off, moderate, strict",
        ),
    ],
)
def test_the_sentences(old: str, new: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(changed(old, new))
    assert str(caught.value) == message


BLOCK_STYLE = """\
version: 1
levels:
  loose:
    unscored: show
    hide_from: 0.5
  strict:
    unscored: hide
    hide_from: 0.9
  Odd: {}
contexts:
  - level: loose
    when:
      region: DE
      requested: strict
  - level: loose
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  Odd: {}\n",
            "",
            "line 8: levels.strict.hide_from: level 'strict' shows documents that the looser level "
            "'loose' hides (by hide_from); list levels from loosest to strictest and hide no less "
            "in each next one, or keep levels that have no order in policies of their own "
            "(and 1 more fault)",
        ),
        (
            "hide_from: 0.9\n  Odd: {}\n",
            "hide_from: 0.4\n",
            "line 13: contexts (entry 1).when.requested: 'requested' is the user's choice, "
            "which cannot decide the rule",
        ),
        (
            "region: DE",
            "region: FR",
            "line 9: levels.Odd: string should match pattern '^[a-z][a-z0-9_-]*$', not 'Odd'",
        ),
    ],
)
def test_the_line_of_a_value_in_block_style(old: str, new: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(BLOCK_STYLE.replace(old, new))
    assert str(caught.value) == message


def test_an_empty_text_is_at_fault_in_its_first_line() -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy("\n")
    assert caught.value.line == 1


def test_all_faults_are_counted() -> None:
    text = changed("0.8", "7").replace("floor: 0.1", "floor: 7")
    with pytest.raises(PolicyError, match=r"levels.moderate.hide_from.*\(and 1 more fault\)$"):
        load_policy(text)
    with pytest.raises(PolicyError, match=r"\(and 2 more faults\)$"):
        load_policy(text.replace("version: 1", "version: 3"))


def test_a_file_is_named_in_its_faults(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY, encoding="utf-8")
    assert load_policy(file) == load_policy(str(file)) == load_policy(POLICY)
    file.write_text(changed("0.8", "0.1"), encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        load_policy(file)
    assert str(caught.value).startswith(f"{file}:5: levels.moderate: ")
    assert (caught.value.path, caught.value.line) == (str(file), 5)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="UTF-8"):
        load_policy(file)
    with pytest.raises(PolicyError, match=r"absent\.yaml: the policy cannot be read: No such file"):
        load_policy(tmp_path / "absent.yaml")


def test_treatments_follow_unscored_unless_stated(policy: Policy) -> None:
    kinds = ("unscored", "failed", "not_read", "no_image", "blocked")
    found = {name: [getattr(level, k) for k in kinds] for name, level in policy.levels.items()}
    assert found == {
        "off": ["show", "show", "show", "show", "hide"],
        "moderate": ["demote", "demote", "demote", "demote", "hide"],
        "strict": ["hide", "hide", "hide", "hide", "hide"],
    }
    stated = load_policy(changed("unscored: demote", "unscored: demote, failed: hide"))
    assert stated.levels["moderate"].failed is Treatment.HIDE
    assert stated.levels["moderate"].not_read is Treatment.HIDE
    assert stated.levels["moderate"].no_image is Treatment.DEMOTE
    apart = load_policy(changed("unscored: demote", "unscored: demote, not_read: show"))
    assert apart.levels["moderate"].failed is Treatment.DEMOTE
    assert apart.levels["moderate"].not_read is Treatment.SHOW
    assert Level(failed="hide").not_read is Treatment.HIDE


def test_thresholds_are_the_float32_that_the_engine_stores(policy: Policy) -> None:
    assert policy.levels["moderate"].demote_from == float(np.float32(0.2)) != 0.2
    zero = load_policy(changed("{hide_from: 0.2,", "{hide_from: -0.0,")).levels["strict"]
    assert str(zero.hide_from) == "0.0"


def test_the_fields_follow_the_policy() -> None:
    fields = load_policy(changed("field: safety", "field: a.b\noverride_field: safety")).fields
    assert (fields.probability, fields.override) == ("a.b.probability", "safety.override")


def test_a_cache_key_tells_results_apart(policy: Policy) -> None:
    key = policy.cache_key
    assert key({}) == key({"requested": "moderate"}) == key({"surface": "image_search"})
    assert len({key({}), key({"requested": "off"}), key({"audience": "child"})}) == 3
    edits = [
        ("0.8", "0.9"),
        ("floor: 0.1", "floor: 0.2"),
        ("field: safety", "field: other"),
        ("field: safety", "field: other\noverride_field: safety"),
        ("field: safety", "field: safety\nmodel: m"),
        ("field: safety", "field: safety\noverride_field: people"),
        ("unscored: demote", "unscored: show"),
    ]
    keys = {load_policy(changed(*edit)).cache_key() for edit in edits}
    assert len(keys | {key()}) == len(edits) + 1


def test_equal_requests_share_one_decision(policy: Policy) -> None:
    assert policy.resolve({}) is policy.resolve(None)
    assert policy.resolve({"requested": "off"}) is not policy.resolve({})


thresholds = st.none() | st.floats(0, 1, width=32)
KINDS = ("unscored", "failed", "not_read", "no_image", "blocked")
levels = st.builds(
    lambda hide, blur, treatments: Level(
        hide_from=hide,
        blur_from=None if None not in (blur, hide) and blur >= hide else blur,
        **dict(zip(KINDS, treatments, strict=True)),
    ),
    thresholds,
    thresholds,
    st.tuples(*[st.sampled_from(Treatment)] * len(KINDS)),
)


@given(levels, levels)
def test_levels_are_in_order_exactly_when_hiding_only_grows(looser: Level, stricter: Level) -> None:
    def hidden(level: Level, probability: float | None, kind: str | None) -> bool:
        over = probability is not None and level.hide_from is not None
        return (over and probability >= level.hide_from) or (
            kind is not None and getattr(level, kind) is Treatment.HIDE
        )

    probabilities = {level.hide_from for level in (looser, stricter)} | {None, 1.0}
    kinds = (None, *KINDS)
    grows = all(
        hidden(stricter, *state) or not hidden(looser, *state)
        for state in product(probabilities, kinds)
    )
    assert (stricter.hides_less_than(looser) is None) == grows


@given(levels, levels)
def test_levels_are_in_order_exactly_when_what_is_plain_only_shrinks(
    looser: Level, stricter: Level
) -> None:
    def treated(level: Level, probability: float | None, kind: str | None, how: Treatment) -> bool:
        start = level.hide_from if how is Treatment.HIDE else level.blur_from
        over = None not in (probability, start) and probability >= start
        return over or (kind is not None and getattr(level, kind) is how)

    def covered(level: Level, *state: Any) -> bool:
        return any(treated(level, *state, how) for how in (Treatment.BLUR, Treatment.HIDE))

    bounds = {bound for level in (looser, stricter) for bound in level.thresholds.values()}
    shrinks = all(
        covered(stricter, *state) or not treated(looser, *state, Treatment.BLUR)
        for state in product(bounds | {None, 1.0}, (None, *KINDS))
    )
    assert (stricter.blurs_less_than(looser) is None) == shrinks


def test_a_rule_that_is_never_reached_does_not_hide_a_missing_last_one() -> None:
    text = """\
version: 1
levels: {off: {}}
contexts:
  - {when: {audience: child}, level: off}
  - {when: {audience: child}, level: off}
"""
    with pytest.raises(PolicyError, match=r"never reached: .* \(and 1 more fault\)$"):
        load_policy(text)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("levels: [")
    with pytest.raises(PolicyError) as caught:
        load_policy(file)
    assert caught.value.path == str(file)


OF_CATEGORIES = """\
version: 2
categories:
  nudity: {field: safety, model: m}
  violence: {field: other}
levels:
  off: {}
  strict:
    nudity: {hide_from: 0.2, unscored: hide}
    violence: {blur_from: 0.5, unscored: show}
contexts: [{level: strict}]
"""


def test_a_level_says_something_about_each_category() -> None:
    decision = load_policy(OF_CATEGORIES).resolve()
    nudity, violence = decision.categories
    assert (nudity.name, nudity.fields.probability, nudity.model) == (
        "nudity",
        "safety.probability",
        "m",
    )
    assert (violence.level.blur_from, violence.model) == (0.5, None)
    off = load_policy(OF_CATEGORIES).decision_for("off")
    assert [category.level for category in off.categories] == [Level(), Level()]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("field: other", "field: safety", 4, "category 'nudity' has the scores of 'safety'"),
        ("    violence: {b", "    gore: {b", 9, "there is no category 'gore'"),
        ("off: {}", "off: {violence: {blur_from: 0.4, unscored: show}}", 9, "neither blurs nor"),
        ("off: {}", "off: {nudity: {hide_from: 0.1, unscored: show}}", 8, "by hide_from"),
        ("{field: other}", "{}", 4, "categories.violence.field is missing"),
        ("version: 2\n", "version: 2\nfield: safety\n", 2, "there is no such key"),
    ],
)
def test_a_fault_of_a_category_is_named_with_its_line(
    old: str, new: str, line: int, said: str
) -> None:
    with pytest.raises(PolicyError) as error:
        load_policy(OF_CATEGORIES.replace(old, new))
    assert error.value.line == line
    assert said in str(error.value)


def test_categories_decide_the_cache_key() -> None:
    edits = [("field: other", "field: more"), ("0.5", "0.6"), ("model: m", "model: n")]
    texts = [OF_CATEGORIES, *(OF_CATEGORIES.replace(*edit) for edit in edits)]
    assert len({load_policy(text).cache_key() for text in texts}) == 4
