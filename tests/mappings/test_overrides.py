"""People's overrides as they are stored."""

import json
from datetime import UTC, datetime

from saferank.mappings.overrides import OverrideRecord, Overrides, changed_document
from saferank.mappings.record import Override

AT = datetime(2026, 1, 2, tzinfo=UTC)
BLOCK = OverrideRecord(Override.BLOCK, "ann", AT, "asked to", ("a",))
ALLOW = OverrideRecord(Override.ALLOW, "ben", AT, None, ("a", "b"))


def test_they_are_read_back_as_they_were_stored() -> None:
    overrides = Overrides({"x": {"1": BLOCK}, "y": {"1": ALLOW}})
    stored = json.loads(json.dumps(overrides.to_document()))
    assert Overrides.from_document(stored) == overrides
    assert len(overrides) == 2
    assert Overrides.from_document(Overrides().to_document()) == Overrides()


def test_a_change_is_of_one_document_alone() -> None:
    before = Overrides({"x": {"1": BLOCK, "2": BLOCK}}).to_document()
    added = changed_document(before, "x", "3", ALLOW)
    changed = changed_document(added, "x", "2", None)
    assert Overrides.from_document(before).blocked == {"x": ["1", "2"]}
    assert Overrides.from_document(changed) == Overrides({"x": {"1": BLOCK, "3": ALLOW}})
    assert changed_document(before, "y", "1", None) == before


def test_what_a_newer_version_made_is_a_block_and_stays_as_it_is() -> None:
    newer = {**BLOCK.to_document(), "override": "blur", "until": "2027-01-01"}
    before = {"of": {"x": {"1": newer}, "y": {"1": BLOCK.to_document()}}, "since": 3}
    assert Overrides.from_document(before).blocked == {"x": ["1"], "y": ["1"]}
    changed = changed_document(before, "y", "1", None)
    assert changed == {"of": {"x": {"1": newer}}, "since": 3}


def test_a_block_under_any_name_of_the_index_comes_first() -> None:
    overrides = Overrides({"index": {"1": ALLOW}, "alias": {"1": BLOCK}})
    assert overrides.find(["index", "alias"], "1") is BLOCK
    assert overrides.find(["index"], "1") is ALLOW
    assert overrides.find(["other"], "1") is None


def test_an_allow_holds_for_the_images_that_were_seen_and_no_others() -> None:
    assert ALLOW.holds_for(["b"])
    assert ALLOW.holds_for([])
    assert not ALLOW.holds_for(["a", "c"])
    assert not ALLOW.holds_for(["a", None])
    assert BLOCK.holds_for(["c", None])
