"""Scroll ids, as their holders might change them."""

from __future__ import annotations

import pytest

from saferank.errors import UnsafeRequest
from saferank.mappings.fields import DecidingFields, SafetyFields
from saferank.ranker.client.scrolls import ScrollToken
from saferank.ranker.hits import HitReader
from saferank.ranker.level.decision import Decision

KEY = b"a long random text"
FIELDS = DecidingFields.of(SafetyFields())
READERS = [
    HitReader(FIELDS),
    HitReader(FIELDS, in_source=False),
    HitReader(FIELDS, in_source=False, added=("safety.model", "safety.status")),
    HitReader(FIELDS, in_source=False, blind=True),
]


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_a_token_tells_what_it_was_made_of(hiding: Decision, reader: HitReader) -> None:
    made = ScrollToken.of("id/with/slashes==", hiding, reader)
    token = ScrollToken.parse(made.signed(KEY), KEY)
    assert token == made
    assert token.reader(FIELDS) == reader
    token.check(hiding)
    assert ScrollToken.parse(token.renewed("next").signed(KEY), KEY).scroll_id == "next"


def test_a_token_of_another_level_is_refused(hiding: Decision, demoting: Decision) -> None:
    token = ScrollToken.of("id", demoting, HitReader(FIELDS))
    with pytest.raises(UnsafeRequest, match="another level"):
        token.check(hiding)


@pytest.mark.parametrize("text", ["", "id", "saferank", "saferank/", "a/b/c/d/e", None, 7])
def test_what_is_no_token_is_refused(text: object) -> None:
    with pytest.raises(UnsafeRequest, match="not begun through a safe client"):
        ScrollToken.parse(text, KEY)


def test_parts_of_tokens_cannot_be_put_together(hiding: Decision, open_level: Decision) -> None:
    strict = ScrollToken.of("strict-id", hiding, READERS[0]).signed(KEY).split("/")
    loose = ScrollToken.of("loose-id", open_level, READERS[2]).signed(KEY).split("/")
    assert len(strict) == len(loose) == 5
    for mixture in range(1, 31):
        parts = [(loose if mixture >> place & 1 else strict)[place] for place in range(5)]
        if parts in (strict, loose):
            continue
        with pytest.raises(UnsafeRequest, match="not signed by this client"):
            ScrollToken.parse("/".join(parts), KEY)


def test_a_token_of_another_key_is_refused(hiding: Decision) -> None:
    token = ScrollToken.of("id", hiding, READERS[0]).signed(b"another key")
    with pytest.raises(UnsafeRequest, match="give the clients of all processes the same 'secret='"):
        ScrollToken.parse(token, KEY)
