"""The engine under test, and what the tests take for granted that it does not have."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from elastic_transport import TransportApiResponse
from elasticsearch import AsyncElasticsearch, Elasticsearch

from saferank.engines.transports import AsyncOpenSearchTransport, OpenSearchTransport
from saferank.local import elasticsearch, opensearch
from saferank.local.processes import Service
from saferank.settings import Engine

ENGINE = Engine(os.environ.get("SAFERANK_ENGINE", Engine.ELASTICSEARCH))
_LOCAL = opensearch if ENGINE is Engine.OPENSEARCH else elasticsearch
VERSION = os.environ.get("SAFERANK_TEST_VERSION", _LOCAL.VERSION)


def start_node(folder: Path) -> Service:
    """A node of the engine under test, whose data are in a folder."""
    return _LOCAL.start_node(folder, version=VERSION)


class _OpenSearchTransport(OpenSearchTransport):
    """Makes indices without the types of fields that OpenSearch lacks."""

    def perform_request(
        self, method: str, target: str, *, body: Any = None, **options: Any
    ) -> TransportApiResponse:
        return super().perform_request(method, target, body=_without_vectors(body), **options)


def _without_vectors(body: Any) -> Any:
    """A definition with numbers in the place of vectors, which nothing searches by."""
    if not isinstance(body, dict):
        return body
    if body.get("type") == "dense_vector":
        return {"type": "float"}
    kept = {name: item for name, item in body.items() if name != "time_series_dimension"}
    return {name: _without_vectors(item) for name, item in kept.items()}


def left_out(test: str) -> str | None:
    """Why a test does not run on this engine, or None."""
    if re.search(ASKS_NO_NODE, test):
        return None
    return next((reason for reason, pattern in LEFT_OUT if re.search(pattern, test)), None)


ASKS_NO_NODE = r"as_good_as_a_list|of_all_kinds|rules_in_front|every_level_takes_hybrid"
"""Tests of what is sent: they run whatever the engine can do with it."""

LEFT_OUT: list[tuple[str, str]] = []
if VERSION.startswith("8."):
    LEFT_OUT = [
        ("it has no retriever that diversifies", r"\[[\w-]*diversify|test_hybrid.*diversify"),
        ("it leaves vectors out of the source that partial updates lose", r"in_the_source_may"),
    ]
if ENGINE is Engine.OPENSEARCH:
    LEFT_OUT = [
        ("it has no vectors without a plug-in", r"\[[\w-]*(knn|neighbours)|in_the_source_may"),
        ("it has no retrievers", r"\[[\w-]*retriever|test_hybrid"),
        ("it has no runtime fields", r"\[[\w-]*runtime_mappings|-runtime\]"),
        ("it has no other source than the stored one", r"damage_is_refused\[settings[67]-.*source"),
        ("it has no time series", r"damage_is_refused\[.*time series"),
        ("it has no subobjects", r"damage_is_refused\[.*subobjects"),
    ]
    if VERSION.startswith("2."):
        LEFT_OUT += [
            (
                "it has no order of documents in a point in time",
                r"point_in_time_by_opensearchs|paging_in_a_point_in_time|test_dsl_iteration_and_count"
                r"|test_index_backfill|test_reindex\.",
            ),
            ("no registry has its search pipelines' processors", r"default_search_pipeline"),
            ("it has no query over combined fields", r"\[[\w-]*combined_fields"),
            ("its 'include' fails for what is behind all words", r"recipe_for_tags"),
        ]
    else:
        LEFT_OUT += [("it has an order of documents in a point in time", r"in_version_2")]


def use_engine() -> None:
    """Let every client that a test makes for itself reach the engine under test."""
    if ENGINE is Engine.OPENSEARCH:
        Elasticsearch.__init__.__kwdefaults__["transport_class"] = _OpenSearchTransport
        AsyncElasticsearch.__init__.__kwdefaults__["transport_class"] = AsyncOpenSearchTransport
