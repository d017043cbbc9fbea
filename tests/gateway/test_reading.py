from __future__ import annotations

import pytest

from saferank.gateway.answers import Refused
from saferank.gateway.reading import json_lines, json_object


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b'{"size": 1, "query": {"a": 1, "b": 2, "a": 1}}',
            "the body has the key 'a' twice in one",
        ),
        (b'{"size": 1, "s\\u0069ze": 2}', "the body has the key 'size' twice in one object"),
        (b'{"size": NaN}', "the body is not JSON: NaN is not a JSON number"),
        (b'{"size": 1', "the body is not JSON"),
        (b"[]", "the body is not a JSON object"),
        (b"[" * 100_000, "the body goes deeper than can be followed"),
    ],
)
def test_the_message_says_what_is_wrong_with_a_body(data: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        json_object(data)


def test_a_key_may_come_again_in_another_object() -> None:
    assert json_object(b'{"a": {"a": [{"a": 1}, {"a": 2}]}}') == {"a": {"a": [{"a": 1}, {"a": 2}]}}


def test_the_line_with_a_key_twice_is_named() -> None:
    with pytest.raises(Refused, match="line 2 of the body has the key 'a' twice"):
        json_lines(b'{"a": 1}\n{"a": 1, "a": 1}\n')
