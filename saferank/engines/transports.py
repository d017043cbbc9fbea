"""Transports under Elasticsearch's client that reach an OpenSearch.

``OpenSearchTransport`` goes there itself; ``ClientTransport`` lets the client that an application
made for OpenSearch send, with its connections, retries and signatures. Each has an asynchronous
sister.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from elastic_transport import (
    ApiResponseMeta,
    AsyncTransport,
    ConnectionTimeout,
    HttpHeaders,
    NodeConfig,
    SerializationError,
    TlsError,
    Transport,
    TransportApiResponse,
    TransportError,
)
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport.client_utils import DEFAULT, DefaultType

from saferank.engines.opensearch import Request, Restore, translated

if TYPE_CHECKING:
    from opensearchpy import AsyncOpenSearch, OpenSearch

_COMPATIBLE = re.compile(r"application/vnd\.elasticsearch\+([a-z-]+); *compatible-with=\d+")
# Without this name Elasticsearch's client takes no answer.
_PRODUCT = {"x-elastic-product": "Elasticsearch"}
# Elasticsearch's client wants to know a node; it never asks this one.
_NO_NODE = NodeConfig("http", "opensearch", 9200)


class OpenSearchTransport(Transport):
    """Sends what Elasticsearch's client says to an OpenSearch."""

    def perform_request(
        self, method: str, target: str, *, body: Any = None, headers: Any = DEFAULT, **options: Any
    ) -> TransportApiResponse:
        """As ``Transport.perform_request``; also raises ``UnsafeRequest``, see ``translated``."""
        request, restore = translated(Request.of(method, target, body))
        sent = {"body": request.body, "headers": _plain(headers, request.body), **options}
        return _restored(super().perform_request(request.method, request.target, **sent), restore)


class AsyncOpenSearchTransport(AsyncTransport):
    """The same, awaited."""

    async def perform_request(  # type: ignore[override]
        self, method: str, target: str, *, body: Any = None, headers: Any = DEFAULT, **options: Any
    ) -> TransportApiResponse:
        """As ``OpenSearchTransport.perform_request``."""
        request, restore = translated(Request.of(method, target, body))
        sent = {"body": request.body, "headers": _plain(headers, request.body), **options}
        answer = await super().perform_request(request.method, request.target, **sent)
        return _restored(answer, restore)


class ClientTransport(Transport):
    """Has an OpenSearch client send what Elasticsearch's client says.

    Args:
        client: its retries, time-outs and signatures hold.
    """

    def __init__(self, client: OpenSearch) -> None:
        super().__init__([_NO_NODE])
        self._client = client

    def perform_request(
        self, method: str, target: str, *, body: Any = None, headers: Any = DEFAULT, **options: Any
    ) -> TransportApiResponse:
        """As ``OpenSearchTransport.perform_request``; numbers of retries are left to the client."""
        request, restore = translated(Request.of(method, target, body))
        try:
            sent = _as_sent(request, headers, options, self._client)
            answer = self._client.transport.perform_request(**sent)
        except Exception as error:
            return _refused(error)
        return _answered(answer, restore)


class AsyncClientTransport(AsyncTransport):
    """The same with an asynchronous OpenSearch client."""

    def __init__(self, client: AsyncOpenSearch) -> None:
        super().__init__([_NO_NODE])
        self._client = client

    async def perform_request(  # type: ignore[override]
        self, method: str, target: str, *, body: Any = None, headers: Any = DEFAULT, **options: Any
    ) -> TransportApiResponse:
        """As ``ClientTransport.perform_request``."""
        request, restore = translated(Request.of(method, target, body))
        try:
            sent = _as_sent(request, headers, options, self._client)
            answer = await self._client.transport.perform_request(**sent)
        except Exception as error:
            return _refused(error)
        return _answered(answer, restore)


def _plain(headers: Mapping[str, str] | DefaultType, body: Any) -> dict[str, str]:
    """Headers with types that OpenSearch knows."""
    given = {} if isinstance(headers, DefaultType) else dict(headers)
    plain = {
        name: _COMPATIBLE.sub(r"application/\1", value) if name.lower() in _OF_TYPE else value
        for name, value in given.items()
    }
    if body is not None and "content-type" not in map(str.lower, plain):
        plain["content-type"] = "application/json"
    return plain


_OF_TYPE = ("accept", "content-type")


def _restored(answer: TransportApiResponse, restore: Restore) -> TransportApiResponse:
    meta = answer.meta
    headers = HttpHeaders({**meta.headers, **_PRODUCT})
    told = ApiResponseMeta(meta.status, meta.http_version, headers, meta.duration, meta.node)
    body = answer.body
    if body is not None and 200 <= meta.status < 300:
        body = restore(body)
    return TransportApiResponse(told, body)


def _as_sent(
    request: Request, headers: Any, options: Mapping[str, Any], client: OpenSearch | AsyncOpenSearch
) -> dict[str, Any]:
    """The arguments with which an OpenSearch client's transport sends a request."""
    body = request.body
    if isinstance(body, list | tuple):
        write = client.transport.serializer.dumps
        body = "".join(f"{write(line)}\n" for line in body)
    timeout = options.get("request_timeout", DEFAULT)
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.parameters),
        "body": body,
        "headers": _plain(headers, body),
        "timeout": None if timeout is DEFAULT else timeout,
    }


def _answered(answer: Any, restore: Restore) -> TransportApiResponse:
    """What the client gives for an answer: its body, or whether there is one."""
    if isinstance(answer, bool):
        return _response(200 if answer else 404, None)
    return _response(200, restore(answer) if answer else answer)


def _refused(error: Exception) -> TransportApiResponse:
    """What the client raises for an answer that is an error, as an answer again.

    Raises:
        TransportError: there was no answer, or it cannot be read; it carries the client's error.
    """
    # Imported by now: the error is one of its own.
    from opensearchpy import exceptions as own

    if isinstance(error, own.TransportError):
        if isinstance(error.status_code, int):
            return _response(error.status_code, error.info)
        raise _kind_of(error)(str(error), errors=(error,)) from error
    if isinstance(error, own.SerializationError):
        # It carries the text of an answer that cannot be read, or what cannot be written.
        doing = "deserialize" if isinstance(error.args[0], str) else "serialize"
        raise SerializationError(f"Unable to {doing}: {error}", errors=(error,)) from error
    raise error


def _kind_of(error: Exception) -> type[TransportError]:
    from opensearchpy import exceptions as own

    if isinstance(error, own.ConnectionTimeout):
        return ConnectionTimeout
    return TlsError if isinstance(error, own.SSLError) else TransportConnectionError


def _response(status: int, body: Any) -> TransportApiResponse:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(_PRODUCT), 0.0, _NO_NODE)
    return TransportApiResponse(meta, body)
