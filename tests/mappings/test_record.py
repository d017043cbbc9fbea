from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.errors import ErrorCode
from saferank.mappings import ImageRecord, SafetyFields, SafetyRecord, component_template
from saferank.mappings.record import StoredRecord, reference_name

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def record(*images: ImageRecord) -> SafetyRecord:
    return SafetyRecord("m", NOW, images)


def test_the_highest_probability_counts() -> None:
    document = record(
        ImageRecord("a", probability=0.25), ImageRecord("b", probability=0.75)
    ).to_document()
    assert document["probability"] == 0.75
    assert document["status"] == "scored"
    assert document["error"] is None


def test_zero_is_a_probability() -> None:
    document = record(ImageRecord("a", probability=0.0)).to_document()
    assert document["probability"] == 0.0
    assert document["status"] == "scored"


def test_one_failed_image_makes_the_document_failed_and_keeps_what_the_others_say() -> None:
    document = record(
        ImageRecord("a", probability=0.5), ImageRecord("b", error=ErrorCode.TRUNCATED)
    ).to_document()
    assert document["status"] == "failed"
    assert document["error"] == "truncated"
    assert document["probability"] == 0.5


@pytest.mark.parametrize(
    ("errors", "status", "error"),
    [
        (["kind_not_read"], "not_read", "kind_not_read"),
        (["kind_not_read", None], "not_read", "kind_not_read"),
        (["kind_not_read", "not_an_image", "truncated"], ["failed", "not_read"], "not_an_image"),
        (["truncated", "kind_not_read"], ["failed", "not_read"], "truncated"),
        (["truncated", "not_an_image"], "failed", "truncated"),
    ],
)
def test_what_is_not_read_is_told_from_what_failed(
    errors: list[str | None], status: str | list[str], error: str
) -> None:
    images = [
        ImageRecord(str(place), probability=0.5)
        if code is None
        else ImageRecord(str(place), error=ErrorCode(code))
        for place, code in enumerate(errors)
    ]
    found = record(*images)
    document = found.to_document()
    assert (document["status"], document["error"]) == (status, error)
    assert found.status == (status if isinstance(status, str) else "failed")
    assert StoredRecord(document).says(found)


def test_no_image_is_neither_scored_nor_failed() -> None:
    document = record().to_document()
    assert document["status"] == "no_image"
    assert document["probability"] is None


def test_a_document_holds_exactly_the_fields_that_scoring_owns_and_all_are_mapped() -> None:
    mapped = component_template()["template"]["mappings"]["properties"]["safety"]["properties"]
    assert set(record().to_document()) == set(SafetyFields.INDEXER_OWNED)
    assert set(SafetyFields.INDEXER_OWNED) < set(mapped)


def test_time_has_a_zone_and_milliseconds() -> None:
    assert record().to_document()["scored_at"] == "2026-01-02T03:04:05.678+00:00"


@given(
    st.builds(
        ImageRecord,
        st.text(),
        sha256=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
        probability=st.none() | st.floats(0, 1, width=32),
        error=st.none() | st.sampled_from(ErrorCode),
        frames=st.none() | st.integers(1),
        frame_count=st.none() | st.integers(1),
        partial=st.booleans(),
        etag=st.none() | st.text(),
        last_modified=st.none() | st.text(),
    )
)
def test_image_records_read_back_as_stored(image: ImageRecord) -> None:
    assert ImageRecord.from_document(image.to_document()) == image
    assert None not in image.to_document().values()
    assert set(image.to_document()) <= {field.name for field in fields(image)}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"reference": 3},
        {"reference": "a", "error": "nonsense"},
        {"reference": "a", "probability": -1},
        {"reference": "a", "probability": 1.5},
        {"reference": "a", "probability": "high"},
        {"reference": "a", "probability": [0.5]},
        {"reference": "a", "probability": 0.5, "sha256": ["00"]},
        {"reference": "a", "probability": 0.5, "etag": 7},
        {"reference": "a", "probability": 0.5, "last_modified": {}},
    ],
)
def test_a_foreign_image_object_is_refused(values: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        ImageRecord.from_document(values)


@given(st.text(min_size=600), st.text(min_size=600))
def test_long_references_are_shortened_and_stay_apart(one: str, other: str) -> None:
    assert len(reference_name(one)) < 200
    assert (reference_name(one) == reference_name(other)) == (one == other)


def test_a_reference_with_half_a_surrogate_pair_has_a_name() -> None:
    one, other = (reference_name(half + "x" * 600) for half in ("\ud83d", "\ude00"))
    assert one != other
    assert one.startswith("\ud83d")


def test_short_references_stay_as_they_are() -> None:
    assert reference_name("https://a/ä.png") == "https://a/ä.png"


@pytest.mark.parametrize("images", [None, "x", 3, {"a": 1}, [None, 3, {"probability": 1}]])
def test_foreign_image_objects_are_passed_over(images: object) -> None:
    assert list(StoredRecord({"images": images}).images) == []


def test_what_others_put_in_place_of_a_score_counts_as_absent() -> None:
    for values in ({}, {"model": 3, "scored_at": 5}, {"model": None, "scored_at": "yesterday"}):
        stored = StoredRecord(values)
        assert (stored.model, stored.scored_at) == (None, None)
    assert StoredRecord({"scored_at": "2026-01-02"}).scored_at == datetime(2026, 1, 2, tzinfo=UTC)


def test_the_time_alone_says_nothing_new() -> None:
    same = record(ImageRecord("a", probability=0.5))
    stored = StoredRecord(same.to_document())
    assert stored.says(same)
    assert stored.says(replace(same, scored_at=datetime.now(UTC)))
    assert not stored.says(record(ImageRecord("a", probability=0.6)))
    assert not StoredRecord({**stored.values, "scored_at": None}).says(same)
