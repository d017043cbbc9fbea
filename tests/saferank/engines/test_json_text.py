"""A body as text says what the client's own serializer would have written, or is left to it."""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from elasticsearch.serializer import JsonSerializer, OrjsonSerializer
from hypothesis import given
from hypothesis import strategies as st

from saferank.engines.engine import ElasticsearchEngine
from saferank.engines.json_text import json_text
from saferank.engines.transports import AsyncOpenSearchTransport, OpenSearchTransport

SERIALIZER = JsonSerializer()


class Colour(StrEnum):
    RED = "red"


@dataclass
class Point:
    x: int = 1


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters()),
    st.dates(),
    st.datetimes(),
    st.decimals(),
    st.uuids(),
    st.sampled_from([Colour.RED, np.float32(0.1), np.float64(0.1), np.int64(3), Point(), b"x"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(0, 9)), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_the_text_says_what_the_client_would_write(body: dict[str, Any]) -> None:
    text = json_text(body, SERIALIZER.default)
    if text is not None:
        assert json.loads(text) == json.loads(SERIALIZER.dumps(body))


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        -math.inf,
        2**64,
        "half of a character: \ud83d",
        {1: "a key that is no text"},
        Point(),
        {"a", "set"},
        None,
    ],
)
def test_what_would_be_written_otherwise_is_left_to_the_client(value: Any) -> None:
    assert json_text({"query": {"term": {"a": value}}}, SERIALIZER.default) is None


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.20000000298023224, "0.20000000298023224"),
        (-0.0, "-0.0"),
        ("grün", '"grün"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), '"2026-01-02T03:04:05+00:00"'),
        (Decimal("1.5"), "1.5"),
        (np.float64(0.1), "0.1"),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ((1, True), "[1,true]"),
        (Colour.RED, '"red"'),
    ],
)
def test_what_json_has_no_form_for_is_written_as_the_client_does(value: Any, written: str) -> None:
    text = json_text({"a": value}, SERIALIZER.default)
    assert text is not None
    assert text.decode() == '{"a":' + written + "}"


def test_an_application_that_chose_its_serializer_keeps_it() -> None:
    search = {"index": "a", "body": {"size": 1}}
    engine = ElasticsearchEngine(Elasticsearch("http://127.0.0.1:9"))
    assert engine.written(search) == {"index": "a", "body": b'{"size":1}'}
    assert engine.options(request_timeout=1).written(search)["body"] == b'{"size":1}'
    for own in (OrjsonSerializer(), type("Own", (JsonSerializer,), {})()):
        chosen = Elasticsearch("http://127.0.0.1:9", serializer=own)
        assert ElasticsearchEngine(chosen).written(search) is search
    assert search == {"index": "a", "body": {"size": 1}}


class Looking(Elasticsearch):
    """Looks into the bodies of its searches."""

    def search(self, **arguments: Any) -> Any:  # type: ignore[override]
        """Search."""
        return super().search(**arguments)


def test_a_client_with_a_search_of_its_own_gets_the_body_as_it_was() -> None:
    search = {"body": {"size": 1}}
    assert ElasticsearchEngine(Looking("http://127.0.0.1:9")).written(search) is search
    patched = Elasticsearch("http://127.0.0.1:9")
    patched.search = print  # type: ignore[assignment]
    assert ElasticsearchEngine(patched).written(search) is search


def test_a_search_without_a_body_is_sent_without_one() -> None:
    engine = ElasticsearchEngine(Elasticsearch("http://127.0.0.1:9"))
    assert engine.written({"index": "a"}) == {"index": "a"}


def test_a_body_that_is_still_to_be_translated_stays_an_object() -> None:
    search = {"index": "a", "body": {"size": 1}}
    for kind, transport in (
        (Elasticsearch, OpenSearchTransport),
        (AsyncElasticsearch, AsyncOpenSearchTransport),
    ):
        client = kind("http://127.0.0.1:9", transport_class=transport)
        assert ElasticsearchEngine(client).written(search) is search
