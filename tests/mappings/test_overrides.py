"""People's overrides as they are stored."""

import json
from datetime import UTC, datetime

from saferank.mappings.overrides import OverrideRecord, Overrides
from saferank.mappings.record import Override

AT = datetime(2026, 1, 2, tzinfo=UTC)
BLOCK = OverrideRecord(Override.BLOCK, "ann", AT, "asked to", ("a",))
ALLOW = OverrideRecord(Override.ALLOW, "ben", AT, None, ("a", "b"))


def test_they_are_read_back_as_they_were_stored() -> None:
    overrides = Overrides().with_one("x", "1", BLOCK).with_one("y", "1", ALLOW)
    stored = json.loads(json.dumps(overrides.to_document()))
    assert Overrides.from_document(stored) == overrides
    assert len(overrides) == 2
    assert Overrides.from_document(Overrides().to_document()) == Overrides()


def test_a_change_is_of_one_document_alone() -> None:
    overrides = Overrides().with_one("x", "2", BLOCK).with_one("x", "1", BLOCK)
    changed = overrides.with_one("x", "3", ALLOW).with_one("x", "2", None)
    assert overrides.blocked == {"x": ["1", "2"]}
    assert changed.blocked == {"x": ["1"]}
    assert changed.with_one("x", "1", None).blocked == {}


def test_a_block_under_any_name_of_the_index_comes_first() -> None:
    overrides = Overrides().with_one("index", "1", ALLOW).with_one("alias", "1", BLOCK)
    assert overrides.find(["index", "alias"], "1") is BLOCK
    assert overrides.find(["index"], "1") is ALLOW
    assert overrides.find(["other"], "1") is None


def test_an_allow_holds_for_the_images_that_were_seen_and_no_others() -> None:
    assert ALLOW.holds_for(["b"])
    assert ALLOW.holds_for([])
    assert not ALLOW.holds_for(["a", "c"])
    assert not ALLOW.holds_for(["a", None])
    assert BLOCK.holds_for(["c", None])
