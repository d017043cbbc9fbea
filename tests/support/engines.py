"""The engine under test, and what the tests take for granted that it does not have."""

from __future__ import annotations

import os
from typing import Any

from elastic_transport import TransportApiResponse
from elasticsearch import AsyncElasticsearch, Elasticsearch

from saferank.engines.transports import AsyncOpenSearchTransport, OpenSearchTransport
from saferank.settings import Engine

ENGINE = Engine(os.environ.get("SAFERANK_ENGINE", Engine.ELASTICSEARCH))


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
    return {name: _without_vectors(item) for name, item in body.items()}


def use_engine() -> None:
    """Let every client that a test makes for itself reach the engine under test."""
    if ENGINE is Engine.OPENSEARCH:
        Elasticsearch.__init__.__kwdefaults__["transport_class"] = _OpenSearchTransport
        AsyncElasticsearch.__init__.__kwdefaults__["transport_class"] = AsyncOpenSearchTransport
