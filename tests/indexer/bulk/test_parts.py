import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError
from hypothesis import given
from hypothesis import strategies as st

from saferank.indexer.bulk import parts
from saferank.indexer.bulk.parts import by_bytes, document_to_json, in_halves, to_json


def refusal(status: int) -> ApiError:
    node = NodeConfig("http", "127.0.0.1", 9200)
    return ApiError("refused", ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, node), {})


@given(st.lists(st.integers(0, 2 * parts.MOST_BYTES)))
def test_parts_hold_everything_in_order_and_no_more_than_fits(sizes: list[int]) -> None:
    found = list(by_bytes(sizes, lambda size: size))
    assert [size for part in found for size in part] == sizes
    assert all(sum(part) <= parts.MOST_BYTES or len(part) == 1 for part in found)
    # As few as can be in this order: no part could have taken the first of the next.
    assert all(sum(a) + b[0] > parts.MOST_BYTES for a, b in pairwise(found))


@pytest.mark.parametrize("status", [413, 429])
def test_what_is_too_much_goes_in_halves_and_each_item_once(status: int) -> None:
    calls = []

    def call(items: list[int]) -> list[int]:
        calls.append(len(items))
        if len(items) > 3:
            raise refusal(status)
        return [-item for item in items]

    assert in_halves(call, list(range(10))) == [-item for item in range(10)]  # type: ignore[arg-type]
    assert calls == [10, 5, 2, 3, 5, 2, 3]


@pytest.mark.parametrize(("status", "count"), [(413, 1), (429, 1), (400, 4), (503, 4)])
def test_what_smaller_parts_do_not_help_is_raised_at_once(status: int, count: int) -> None:
    calls = []

    def call(items: list[int]) -> list[int]:
        calls.append(len(items))
        raise refusal(status)

    with pytest.raises(ApiError):
        in_halves(call, [0] * count)  # type: ignore[arg-type]
    assert calls == [count]


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("write", [to_json, document_to_json])
@given(text=st.text(st.characters(exclude_categories=[])), number=NUMBERS)
def test_what_is_written_is_utf8_and_says_the_same(
    write: Callable[[object], bytes], text: str, number: float
) -> None:
    """Also half a surrogate pair, which JSON can hold and UTF-8 cannot, and any integer."""
    assert json.loads(write({"a": text, "n": number}).decode()) == {"a": text, "n": number}


def test_a_number_of_a_document_that_is_beyond_all_bounds_becomes_no_null() -> None:
    document = json.loads('{"n":1e999}')
    assert json.loads(document_to_json(document)) == document


def test_half_a_surrogate_pair_is_escaped() -> None:
    for write in to_json, document_to_json:
        assert write(["\ud83d", "한"]) == '["\\ud83d","한"]'.encode()
