"""Which indices lose something of a document when a score is added to it."""

from typing import Any

import pytest

from saferank.mappings.source import may_have, why_not_scorable

TEXT, VECTOR = {"type": "text"}, {"type": "dense_vector", "dims": 3}
UNUSED = {"type": "keyword", "index": False, "doc_values": False}
NEEDED = ("safety.images", "safety.probability", "image")


def reason(source: dict[str, Any], settings: dict[str, Any] | None = None, **mapping: Any) -> str:
    mapping = {"dynamic": "strict", **mapping}
    return why_not_scorable({**mapping, "_source": source}, settings or {}, NEEDED) or ""


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({"excludes": ["body"]}, "'body'"),
        ({"excludes": ["bo*"]}, "'body'"),
        ({"excludes": ["*.inner"]}, "'media.inner'"),
        ({"excludes": ["media"]}, "'media.inner', 'media.deep.er'"),
        ({"excludes": ["vector"]}, "'vector'"),
        ({"includes": ["image", "safety", "media", "vector", "named"]}, "'body'"),
        ({"includes": ["body", "media", "vector", "image", "safety.model", "named"]}, "images"),
        ({"includes": ["*"], "excludes": ["body", "vector"]}, "'body', 'vector'"),
        ({"excludes": ["named"]}, "'named'"),
        ({"excludes": ["safety.probability"]}, "'safety.probability'"),
        ({"excludes": ["image"]}, "'image'"),
        ({"excludes": ["copied"]}, "'copied'"),
        ({"excludes": ["column"]}, "'column'"),
    ],
)
def test_what_would_be_lost_is_named(source: dict[str, Any], named: str) -> None:
    properties = {
        "body": TEXT,
        "vector": VECTOR,
        "media": {"properties": {"inner": TEXT, "deep": {"properties": {"er": TEXT}}}},
        "named": {**UNUSED, "fields": {"words": TEXT}},
        "copied": {**UNUSED, "copy_to": "body"},
        "column": {"type": "keyword", "index": False},
    }
    assert named in reason(source, properties=properties)


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"excludes": ["raw"]},
        {"excludes": ["raw*", "blob", "bytes", "other"]},
        {"includes": ["image", "safety", "bod*"]},
        {"excludes": ["body.words"]},
    ],
)
def test_what_is_in_no_index_may_be_left_out(source: dict[str, Any]) -> None:
    properties = {
        "body": {**TEXT, "fields": {"words": TEXT}},
        "raw": UNUSED,
        "raw_text": {"type": "text", "index": False},
        "blob": {"type": "object", "enabled": False},
        "bytes": {"type": "binary"},
        "other": {"type": "alias", "path": "body"},
    }
    assert reason(source, properties=properties) == ""


@pytest.mark.parametrize(
    ("source", "mapping", "refused"),
    [
        ({"excludes": ["later"]}, {"dynamic": True}, True),
        ({"excludes": ["later"]}, {"dynamic": "runtime"}, False),
        ({"excludes": ["later"]}, {"dynamic": False}, False),
        ({"excludes": ["open.later"]}, {}, True),
        ({"excludes": ["shut.later"]}, {"dynamic": True}, False),
        ({"excludes": ["*.later"]}, {}, True),
        ({"excludes": ["other.*"]}, {}, False),
        ({"excludes": ["off.*"]}, {"dynamic": True}, False),
        ({"includes": ["image", "safety"]}, {"dynamic": True}, True),
        ({"includes": ["image", "safety", "open"]}, {}, False),
    ],
)
def test_a_field_that_may_still_come_counts(
    source: dict[str, Any], mapping: dict[str, Any], refused: bool
) -> None:
    properties = {
        "open": {"dynamic": True, "properties": {}},
        "shut": {"dynamic": False, "properties": {}},
        "off": {"enabled": False},
    }
    assert bool(reason(source, properties=properties, **mapping)) is refused


def test_vectors_stay_where_elasticsearch_puts_them_back() -> None:
    keeps = {"mapping": {"exclude_source_vectors": "true"}}
    properties = {"vector": VECTOR, "body": TEXT}
    assert reason({"excludes": ["vector"]}, keeps, properties=properties) == ""
    assert "'body' out" in reason({"excludes": ["vector", "body"]}, keeps, properties=properties)


@pytest.mark.parametrize(
    ("settings", "mapping", "words"),
    [
        ({"mode": "time_series"}, {}, "time series"),
        ({"mapping": {"source": {"mode": "disabled"}}}, {}, "no source"),
        ({}, {"_source": {"enabled": False}}, "no source"),
        ({}, {"_source": {"mode": "disabled"}}, "no source"),
        ({}, {"subobjects": False}, "subobjects"),
    ],
)
def test_an_index_that_can_hold_no_score_is_refused(
    settings: dict[str, Any], mapping: dict[str, Any], words: str
) -> None:
    assert words in (why_not_scorable(mapping, settings, NEEDED) or "")


@pytest.mark.parametrize("settings", [{}, {"mode": "logsdb"}, {"mode": "standard"}])
def test_an_index_that_makes_its_source_anew_loses_nothing(settings: dict[str, Any]) -> None:
    synthetic = {**settings, "mapping": {"source": {"mode": "synthetic"}}}
    assert why_not_scorable({"properties": {"body": TEXT}}, synthetic, NEEDED) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("image", True),
        ("media.url", True),
        ("picture", False),
        ("media.picture", False),
        ("image.picture", False),
        ("loose.any.thing", True),
        ("off.any", True),
        ("flat.any", True),
    ],
)
def test_whether_documents_may_have_a_field(path: str, expected: bool) -> None:
    properties = {
        "image": {"type": "keyword"},
        "media": {"properties": {"url": UNUSED}},
        "loose": {"dynamic": False, "properties": {"a": TEXT}},
        "off": {"enabled": False},
        "flat": {"type": "flattened"},
    }
    assert may_have({"properties": properties}, path) is expected
    assert may_have({"dynamic": False, "properties": properties}, "picture")
