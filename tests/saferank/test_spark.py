"""The columns of Spark have all that a document's scores have."""

from dataclasses import fields
from datetime import UTC, datetime

from saferank import spark
from saferank.mappings.record import ImageRecord, SafetyRecord


def test_columns_are_those_of_what_is_stored() -> None:
    assert set(spark._IMAGE) == {field.name for field in fields(ImageRecord)}
    stored = SafetyRecord("model", datetime.now(UTC), ()).to_document()
    # These follow from the images, and from what is known when a score is put into an index.
    later = {"digests", "matched", "matched_by"}
    assert {*spark._DOCUMENT, "images"} == set(stored) - later


def test_an_executor_gets_no_password() -> None:
    settings = spark.Settings(
        elasticsearch_api_key="key",  # type: ignore[arg-type]
        broker_url="redis://:secret@broker:6379/0",
        model="mine",
    )
    sent = spark._without_secrets(settings)
    assert (sent.model, sent.elasticsearch_api_key) == ("mine", None)
    assert "secret" not in str(sent.broker_url)
