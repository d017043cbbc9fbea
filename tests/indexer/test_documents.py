import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.indexer.documents import Document, reference_name
from saferank.indexer.keys import DocumentKey
from saferank.mappings.paths import values_at


@pytest.mark.parametrize(
    ("source", "path", "values"),
    [
        ({"image": "a"}, "image", ["a"]),
        ({"image": ["a", "b"]}, "image", ["a", "b"]),
        ({"image": None}, "image", []),
        ({"image": ["a", None, "", "  "]}, "image", ["a"]),
        ({}, "image", []),
        ({"media": {"url": "a"}}, "media.url", ["a"]),
        ({"media": [{"url": "a"}, {"url": ["b", "c"]}, {}]}, "media.url", ["a", "b", "c"]),
        ({"media.url": "a"}, "media.url", ["a"]),
        ({"media.large": {"url": "a"}}, "media.large.url", ["a"]),
        ({"media": "a"}, "media.url", []),
        ({"image": 0}, "image", [0]),
        ({"image": {"url": "a"}}, "image", [{"url": "a"}]),
    ],
)
def test_values_at(source: object, path: str, values: list[object]) -> None:
    assert list(values_at(source, path)) == values


@given(st.builds(DocumentKey, st.text(min_size=1), st.none() | st.text()))
def test_keys_travel_in_messages(key: DocumentKey) -> None:
    assert DocumentKey.from_json(key.to_json()) == key


@given(st.text(min_size=600), st.text(min_size=600))
def test_long_references_are_shortened_and_stay_apart(one: str, other: str) -> None:
    assert len(reference_name(one)) < 200
    assert (reference_name(one) == reference_name(other)) == (one == other)


def test_short_references_stay_as_they_are() -> None:
    assert reference_name("https://a/ä.png") == "https://a/ä.png"


@pytest.mark.parametrize("images", [None, "x", 3, {"a": 1}, [None, 3, {"probability": 1}]])
def test_foreign_image_objects_are_passed_over(images: object) -> None:
    assert list(Document(DocumentKey("1"), (), {"images": images}).images()) == []
