from hypothesis import given
from hypothesis import strategies as st

from saferank.indexer.keys import DocumentKey


@given(st.builds(DocumentKey, st.text(min_size=1), st.none() | st.text()))
def test_keys_travel_in_messages(key: DocumentKey) -> None:
    assert DocumentKey.from_json(key.to_json()) == key
