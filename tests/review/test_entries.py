"""What follows from a chain of entries, without an engine."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.errors import MappingError
from saferank.mappings.overrides import OverrideRecord
from saferank.mappings.record import Override
from saferank.review.entries import Act, Entry, Item, Standing, live

ITEM = Item("images", "a/b c", "shop")
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
OUTSIDE = OverrideRecord(Override.BLOCK, "cli", AT - timedelta(days=1), "law")


def chain(
    *said: tuple[str, Act], wanted: int = 1, undo: dict[int, int] | None = None
) -> list[Entry]:
    """Entries in the order said; ``undo`` names at which number which one is undone."""
    undoes = undo or {}
    return [
        Entry(
            item=ITEM,
            act=act,
            by=by,
            token=f"t{number}",
            number=number,
            at=AT + timedelta(seconds=number),
            undoes=undoes.get(number),
            opinions=wanted,
            digests=("d",),
        )
        for number, (by, act) in enumerate(said, start=1)
    ]


def word(standing: Standing) -> str | None:
    return None if standing.override is None else standing.override.override.value


def test_an_entry_is_read_back_as_it_was_stored() -> None:
    entry = replace(chain(("ann", Act.ALLOW))[0], before=OUTSIDE, probability=0.25, batch="b")
    assert Entry.from_document(json.loads(json.dumps(entry.to_document()))) == entry


def test_what_a_newer_version_noted_is_not_passed_over() -> None:
    newer = {**chain(("ann", Act.ALLOW))[0].to_document(), "act": "withdraw"}
    with pytest.raises(MappingError, match=r"'withdraw' about document 'a/b c'.* update"):
        Entry.from_document(newer)


def test_items_that_differ_have_other_keys() -> None:
    assert Item("a", "b").key != Item("a", "b", "c").key
    assert Item("a", "bc").key != Item("ab", "c").key
    assert len(Item("a", "ü" * 500).key) == 40


def test_of_one_opinion_the_last_decision_holds() -> None:
    standing = Standing.of(chain(("ann", Act.BLOCK), ("ben", Act.ALLOW)))
    assert word(standing) == "allow"
    assert standing.override is not None
    assert (standing.override.by, standing.override.digests) == ("ben", ("d",))
    assert standing.decided


def test_an_undo_brings_back_what_was_said_before() -> None:
    said = chain(("ann", Act.BLOCK), ("ben", Act.ALLOW), ("ben", Act.UNDO), undo={3: 2})
    assert word(Standing.of(said)) == "block"
    all_undone = [*said, replace(said[2], number=4, by="ann", undoes=1)]
    standing = Standing.of(all_undone)
    assert word(standing) is None
    assert not standing.decided
    assert standing.is_open_to("ann")
    assert standing.spoken_at == said[2].at


def test_an_override_of_others_holds_again_when_all_is_undone() -> None:
    first, second, undo = chain(
        ("ann", Act.ALLOW), ("ann", Act.UNDO), ("ann", Act.ALLOW), undo={2: 1}
    )
    first = replace(first, before=OUTSIDE)
    assert word(Standing.of([first])) == "allow"
    assert Standing.of([first, second]).override == OUTSIDE
    # The second time there was none any more.
    again = replace(undo, before=None)
    gone = replace(second, number=4, undoes=3)
    assert Standing.of([first, second, again, gone]).override is None


def test_what_reviewers_never_spoke_of_is_not_theirs() -> None:
    standing = Standing.of(chain(("app", Act.REPORT), ("ann", Act.SKIP)))
    assert standing.spoken_at is None
    assert Standing.of(chain(("app", Act.REPORT), ("ann", Act.BLOCK))).spoken_at is not None


def test_of_two_opinions_a_block_holds_at_once_and_an_allow_when_two_agree() -> None:
    one_block = Standing.of(chain(("ann", Act.BLOCK), wanted=2))
    assert (word(one_block), one_block.waiting) == ("block", True)
    one_allow = Standing.of(chain(("ann", Act.ALLOW), wanted=2))
    assert (word(one_allow), one_allow.waiting) == (None, True)
    assert not one_allow.is_open_to("ann")
    assert one_allow.is_open_to("ben")
    twice = Standing.of(chain(("ann", Act.ALLOW), ("ann", Act.ALLOW), wanted=2))
    assert (word(twice), twice.waiting) == (None, True)
    agreed = Standing.of(chain(("ann", Act.ALLOW), ("ben", Act.ALLOW), wanted=2))
    assert (word(agreed), agreed.waiting) == ("allow", False)
    split = Standing.of(chain(("ann", Act.ALLOW), ("ben", Act.BLOCK), wanted=2))
    assert (word(split), split.waiting) == ("block", True)
    third = Standing.of(chain(("ann", Act.ALLOW), ("ben", Act.BLOCK), ("cem", Act.ALLOW), wanted=2))
    assert (word(third), third.waiting) == ("allow", False)


def test_a_report_is_answered_by_a_decision_and_asked_again_when_that_is_undone() -> None:
    said = chain(("app", Act.REPORT), ("ann", Act.BLOCK), ("ann", Act.UNDO), undo={3: 2})
    assert len(Standing.of(said[:1]).reports) == 1
    assert Standing.of(said[:2]).reports == ()
    assert len(Standing.of(said).reports) == 1
    reported_again = chain(("ann", Act.BLOCK), ("app", Act.REPORT))
    standing = Standing.of(reported_again)
    assert (word(standing), len(standing.reports)) == ("block", 1)
    assert standing.is_open_to("ann")


def test_who_skips_is_not_asked_until_something_new_is_said() -> None:
    said = chain(("ann", Act.SKIP), ("app", Act.REPORT))
    assert not Standing.of(said[:1]).is_open_to("ann")
    assert Standing.of(said[:1]).is_open_to("ben")
    assert Standing.of(said).is_open_to("ann")


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "ben", "cem"]), st.sampled_from(list(Act)), st.integers(1, 12)
    ),
    max_size=12,
)


@given(ACTS, st.sampled_from([1, 2]))
def test_any_chain_has_a_standing_that_a_decision_then_settles_or_blocks(
    said: list[tuple[str, Act, int]], wanted: int
) -> None:
    entries = [
        replace(entry, undoes=undoes if entry.act is Act.UNDO else None)
        for entry, (_, _, undoes) in zip(
            chain(*((by, act) for by, act, _ in said), wanted=wanted), said, strict=True
        )
    ]
    before = Standing.of(entries)
    block = replace(
        chain(("dan", Act.BLOCK), wanted=wanted)[0], number=100, at=AT + timedelta(days=1)
    )
    after = Standing.of([*entries, block])
    assert not after.reports
    assert wanted == 2 or (word(after) == "block" and after.decided)
    # Undone, all is as it was.
    undo = replace(block, act=Act.UNDO, number=101, undoes=100)
    undone = Standing.of([*entries, block, undo])
    assert undone.override == before.override
    assert undone.opinions == before.opinions
    assert undone.reports == before.reports
    assert block not in live([*entries, block, undo])
