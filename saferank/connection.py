"""Connecting to Elasticsearch, and saying clearly when that does not work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from elastic_transport import AsyncTransport, ConnectionTimeout, TlsError, Transport
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport.client_utils import DEFAULT
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    AuthenticationException,
    AuthorizationException,
    BadRequestError,
    Elasticsearch,
    NotFoundError,
)

from saferank.engines.engine import wrong_server
from saferank.engines.transports import AsyncOpenSearchTransport, OpenSearchTransport
from saferank.errors import ConfigurationError, ServiceUnavailable
from saferank.settings import Engine, Settings, shown

Client = TypeVar("Client", Elasticsearch, AsyncElasticsearch)


def connect(settings: Settings, *, timeout: float = 30.0) -> Elasticsearch:
    """Make a client. Nothing is sent yet, and ``GET /`` is never needed.

    Args:
        settings: the engine, its address, credentials and certificates are used.
        timeout: seconds for one request.

    Raises:
        ConfigurationError: they cannot be used, or not together.
    """
    return _connected(Elasticsearch, OpenSearchTransport, settings, timeout)


def connect_async(settings: Settings, *, timeout: float, **options: Any) -> AsyncElasticsearch:
    """The same for an asynchronous client; it needs the extra ``async``.

    Args:
        settings: see ``connect``.
        timeout: see ``connect``.
        options: more that ``AsyncElasticsearch`` takes.

    Raises:
        ConfigurationError: see ``connect``.
    """
    return _connected(
        AsyncElasticsearch,
        AsyncOpenSearchTransport,
        settings,
        timeout,
        **options,
    )


def _connected(
    kind: type[Client],
    to_opensearch: type[Transport] | type[AsyncTransport],
    settings: Settings,
    timeout: float,
    **more: Any,
) -> Client:
    if settings.engine is Engine.OPENSEARCH:
        more["transport_class"] = to_opensearch
    key, password = settings.elasticsearch_api_key, settings.elasticsearch_password
    user, authorities = settings.elasticsearch_user, settings.elasticsearch_ca_certs
    if (user is None) is not (password is None):
        raise ConfigurationError(
            "SAFERANK_ELASTICSEARCH_USER and SAFERANK_ELASTICSEARCH_PASSWORD need each other; set "
            "both, or an API key instead"
        )
    try:
        return kind(
            settings.elasticsearch_url,
            api_key=None if key is None else key.get_secret_value(),
            basic_auth=(user, password.get_secret_value()) if user and password else None,
            ca_certs=DEFAULT if authorities is None else str(authorities),
            request_timeout=timeout,
            max_retries=0,
            **more,
        )
    except (ValueError, OSError) as error:
        raise ConfigurationError(
            f"Elasticsearch cannot be asked at {shown(settings.elasticsearch_url)}: {error}; "
            "correct SAFERANK_ELASTICSEARCH_*"
        ) from error


@contextmanager
def clear_errors(where: str) -> Iterator[None]:
    """Turn the client's connection errors into one sentence.

    Args:
        where: the address to name in the message; credentials in it are not shown.

    Raises:
        ServiceUnavailable: no answer, no access, or not an Elasticsearch.
    """
    where = shown(where)
    try:
        yield
    except ConnectionTimeout as error:
        raise ServiceUnavailable(
            f"Elasticsearch at {where} did not answer in time; see whether it is overloaded"
        ) from error
    except TlsError as error:
        raise ServiceUnavailable(
            f"there is no safe connection to Elasticsearch at {where} ({_cause(error)}); set "
            "SAFERANK_ELASTICSEARCH_CA_CERTS to the file of the authority that signed its "
            "certificate, or correct the address"
        ) from error
    except TransportConnectionError as error:
        raise ServiceUnavailable(
            f"Elasticsearch at {where} cannot be reached ({_cause(error)}); start it, or set "
            "SAFERANK_ELASTICSEARCH_URL to where it runs"
        ) from error
    except (AuthenticationException, AuthorizationException) as error:
        raise ServiceUnavailable(
            f"Elasticsearch at {where} refuses access ({error.message}); set "
            "SAFERANK_ELASTICSEARCH_API_KEY to a key with the needed privileges"
        ) from error
    except ApiError as error:
        said = wrong_server(error)
        if said is None:
            raise
        raise ServiceUnavailable(f"the server at {where} {said}") from error


def index_exists(client: Elasticsearch, index: str) -> bool:
    """Whether there is an index or an alias of that name.

    Not by ``client.indices.exists``: it is a ``HEAD`` request, whose errors have no reason.
    """
    try:
        client.indices.get_alias(index=index)
    except NotFoundError:
        return False
    return True


def sources(
    client: Elasticsearch,
    index: str,
    query: Mapping[str, Any],
    sort: Sequence[Mapping[str, str]],
    *,
    page: int,
) -> Iterator[dict[str, Any]]:
    """The sources of all documents that a query finds, in order, a page at a time.

    Args:
        client: connected.
        index: to search.
        query: of it.
        sort: in which no two documents are equal.
        page: documents in one answer.
    """
    after: list[Any] | None = None
    while True:
        hits = client.search(
            index=index,
            query=query,
            sort=sort,
            search_after=after,
            size=page,
            track_total_hits=False,
            allow_partial_search_results=False,
        )["hits"]["hits"]
        yield from (hit["_source"] for hit in hits)
        if len(hits) < page:
            return
        after = hits[-1]["sort"]


def make_index(
    client: Elasticsearch, index: str, mappings: Mapping[str, Any], *, replicas: str = "0-1"
) -> None:
    """Make a small index of saferank's own, with one shard, unless it is there.

    Args:
        client: connected.
        index: its name.
        mappings: of the index; without them Elasticsearch would guess.
        replicas: their number by that of the nodes, see ``auto_expand_replicas``.
    """
    settings = {"number_of_shards": 1, "auto_expand_replicas": replicas}
    try:
        client.indices.create(index=index, mappings=mappings, settings=settings)
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise


def _cause(error: BaseException) -> str:
    """What the operating system or the TLS library said, without the layers above it."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return str(error)
