"""A safe client over an OpenSearch client gives and raises what that client does."""

from __future__ import annotations

import socket
import threading
from typing import Any

import opensearchpy
import pytest
from elastic_transport import (
    ApiResponseMeta,
    HeadApiResponse,
    HttpHeaders,
    NodeConfig,
    SerializationError,
)
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    BadRequestError,
    Elasticsearch,
    UnsupportedProductError,
)

from saferank.engines.engine import ElasticsearchEngine, OpenSearchEngine, engine_of
from saferank.errors import ConfigurationError, ServiceUnavailable, UnsafeRequest
from saferank.ranker.client.client import AsyncSafeSearch, SafeSearch
from saferank.ranker.policy.load import load_policy

POLICY = load_policy("version: 1\nlevels: {off: {}}\ncontexts: [{level: off}]\n")
NOWHERE = opensearchpy.OpenSearch("http://127.0.0.1:9", max_retries=0)


def meta(status: int) -> ApiResponseMeta:
    return ApiResponseMeta(status, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "a", 1))


def test_each_client_has_its_engine() -> None:
    assert isinstance(engine_of(Elasticsearch("http://127.0.0.1:9")), ElasticsearchEngine)
    assert isinstance(engine_of(NOWHERE), OpenSearchEngine)
    with pytest.raises(ConfigurationError, match="9' is neither"):
        engine_of("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("kind", "client", "said"),
    [
        (SafeSearch, AsyncElasticsearch("http://127.0.0.1:9"), "make it with AsyncSafeSearch"),
        (AsyncSafeSearch, Elasticsearch("http://127.0.0.1:9"), "make it with SafeSearch"),
        (AsyncSafeSearch, NOWHERE, "give AsyncSafeSearch an asynchronous client"),
    ],
)
def test_a_client_that_does_not_fit_is_refused_when_the_safe_one_is_made(
    kind: Any, client: Any, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        kind(client, POLICY)


@pytest.mark.parametrize("none", ["policy.yaml", None, {"version": 1}])
def test_what_is_no_policy_is_refused_when_the_client_is_made(none: Any) -> None:
    with pytest.raises(ConfigurationError, match="a safe client needs a policy, not "):
        SafeSearch(NOWHERE, none)


def test_an_engine_that_is_away_is_an_error_of_its_client() -> None:
    with pytest.raises(opensearchpy.ConnectionError, match="refused"):
        SafeSearch(NOWHERE, POLICY).search(index="a", body={})


async def test_so_it_is_for_the_asynchronous_one() -> None:
    async with AsyncSafeSearch(opensearchpy.AsyncOpenSearch("http://127.0.0.1:9"), POLICY) as safe:
        with pytest.raises(opensearchpy.ConnectionError):
            await safe.count(index="a")


@pytest.mark.parametrize("asked", [Elasticsearch, opensearchpy.OpenSearch])
def test_an_answer_that_is_no_json_is_no_fault_of_the_request(asked: type[Any]) -> None:
    """As a proxy gives one that cuts it off: neither client then says anything of the request."""

    def serve(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            connection.recv(65536)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"
            connection.sendall(head + b'{"hits":')

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        client = asked(f"http://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises((SerializationError, opensearchpy.SerializationError)) as caught:
            SafeSearch(client, POLICY).search(index="a", body={})
    assert '{"hits":' in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, opensearchpy.RequestError),
        (404, opensearchpy.NotFoundError),
        (409, opensearchpy.ConflictError),
        (429, opensearchpy.TransportError),
    ],
)
def test_an_error_has_the_class_status_and_body_that_the_client_gives(
    status: int, kind: type[Exception]
) -> None:
    body = {"error": {"type": "some_exception"}, "status": status}
    error = OpenSearchEngine(NOWHERE).error(ApiError("some_exception", meta(status), body))
    assert type(error) is kind
    assert error.args == (status, "some_exception", body)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ApiError("not supported", meta(406), {}), "is Elasticsearch 8 or newer; for OpenSearch"),
        (UnsupportedProductError("unknown", meta(200), {}), "SAFERANK_ENGINE=opensearch"),
        (BadRequestError("media_type_header_exception", meta(400), {}), "pip install 'elasticsear"),
    ],
)
def test_a_server_that_is_none_for_the_client_is_said_in_one_sentence(
    error: ApiError, said: str
) -> None:
    told = ElasticsearchEngine(Elasticsearch("http://127.0.0.1:9")).error(error)
    assert isinstance(told, ServiceUnavailable)
    assert said in str(told)


def test_an_opensearch_without_an_order_of_documents_is_said_in_one_sentence() -> None:
    reason = "No mapping found for [_shard_doc] in order to sort on"
    error = BadRequestError("search_phase_execution_exception", meta(400), {"error": reason})
    for engine in (ElasticsearchEngine(Elasticsearch("http://a:1")), OpenSearchEngine(NOWHERE)):
        told = engine.error(error)
        assert isinstance(told, ServiceUnavailable)
        assert "need version 3" in str(told)


def test_any_other_error_is_as_it_was() -> None:
    error = BadRequestError("parsing_exception", meta(400), {})
    assert ElasticsearchEngine(Elasticsearch("http://127.0.0.1:9")).error(error) is error


def test_whether_something_exists_is_a_truth() -> None:
    engine = OpenSearchEngine(NOWHERE)
    assert engine.answer(HeadApiResponse(meta(200))) is True
    assert engine.answer(HeadApiResponse(meta(404))) is False


def test_arguments_without_a_name_are_those_of_the_client() -> None:
    engine = OpenSearchEngine(NOWHERE)
    assert engine.keywords("get", ("a", "1"), {"routing": "b"}) == {
        "index": "a",
        "id": "1",
        "routing": "b",
    }
    assert engine.keywords("search", ({}, "a"), {}) == {"body": {}, "index": "a"}
    with pytest.raises(TypeError, match="multiple values for argument 'index'"):
        engine.keywords("get", ("a",), {"index": "b"})
    with pytest.raises(TypeError, match="keyword arguments only"):
        ElasticsearchEngine(Elasticsearch("http://127.0.0.1:9")).keywords("get", ("a",), {})


def test_options_are_those_that_a_request_can_have() -> None:
    engine = OpenSearchEngine(NOWHERE).options(request_timeout=5, ignore_status=404)
    assert (engine.client, engine.ignored) == (NOWHERE, (404,))
    with pytest.raises(ConfigurationError, match="'max_retries' to the OpenSearch client"):
        engine.options(max_retries=3)


def test_a_safe_client_is_taken_for_the_kind_of_client_that_it_is_made_of() -> None:
    safe = SafeSearch(NOWHERE, POLICY)
    assert isinstance(safe, opensearchpy.OpenSearch)
    assert not isinstance(safe, Elasticsearch)
    with pytest.raises(UnsafeRequest, match=r"\.client\.get_all_pits"):
        safe.get_all_pits()
    with pytest.raises(AttributeError, match="no_such_call"):
        safe.no_such_call()
