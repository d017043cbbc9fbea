"""What a safe client asks of the client that an application gave it, whichever engine that is for.

The plans of a safe client are calls of Elasticsearch's client. An engine says by which such client
they are sent, and puts what comes back, answers and errors, in the form that the application's own
client has.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, Self

from elastic_transport import (
    ApiResponse,
    AsyncTransport,
    HeadApiResponse,
    Transport,
    TransportError,
)
from elastic_transport.client_utils import DefaultType
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch, UnsupportedProductError
from elasticsearch.serializer import CompatibilityModeJsonSerializer

from saferank.engines.json_text import json_text
from saferank.engines.transports import (
    AsyncClientTransport,
    ClientTransport,
)
from saferank.errors import ConfigurationError, ServiceUnavailable

if TYPE_CHECKING:
    from opensearchpy import AsyncOpenSearch, OpenSearch


class OpenSearchClient(Protocol):
    """A client of OpenSearch, as type checkers tell it whose package need not be there."""

    @property
    def transport(self) -> Any:
        """What sends its requests."""

    @property
    def create_pit(self) -> Any:
        """What it calls the opening of a point in time."""


class Engine(Protocol):
    """What stands between a safe client and the client that an application gave it.

    Attributes:
        client: the application's own.
        sender: one of Elasticsearch, as plain or asynchronous as that; it raises every error.
        ignored: statuses that the application takes for no errors.
        options_in_calls: whether a call is the place for options of its own.
    """

    options_in_calls: bool
    client: Any
    sender: Any
    ignored: Collection[int]

    @property
    def serializing(self) -> Any:
        """As much of the client's transport as its bulk helpers need; it can send nothing."""

    def options(self, **options: Any) -> Self:
        """The same with options for its requests, as ``Elasticsearch.options`` takes them."""

    def keywords(self, call: str, given: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call, all of them by name."""

    def written(self, search: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a search as the sender takes them at least cost; not changed."""

    def answer(self, response: Any) -> Any:
        """A response of the sender as the application's client gives it."""

    def error(self, error: Exception) -> Exception:
        """An error of the sender as the application's client raises it."""


def engine_of(client: Any) -> Engine:
    """The engine that a client is for.

    Raises:
        ConfigurationError: it is a client of neither.
    """
    if isinstance(client, Elasticsearch | AsyncElasticsearch):
        return ElasticsearchEngine(client)
    if _is_of_opensearch(client):
        return OpenSearchEngine(client)
    raise ConfigurationError(
        f"a safe client takes a client of Elasticsearch or of OpenSearch; {client!r} is neither"
    )


def wrong_server(error: ApiError) -> str | None:
    """What is wrong with a server that is none for this client; None for any other error."""
    if isinstance(error, UnsupportedProductError) or error.status_code == _NOT_ACCEPTABLE:
        return (
            "does not say that it is Elasticsearch 8 or newer; for OpenSearch give a safe client "
            "one of opensearch-py, and set SAFERANK_ENGINE=opensearch for commands and workers"
        )
    if error.message == "media_type_header_exception":
        installed = version("elasticsearch")
        return (
            f"is older than the client {installed} and refuses it; run: "
            f"pip install 'elasticsearch<{installed.partition('.')[0]}'"
        )
    return _too_old(error)


def _too_old(error: ApiError) -> str | None:
    """What an OpenSearch lacks that has no place of a document to sort by."""
    if error.status_code != _BAD_REQUEST or _NO_PLACES not in str(error.body):
        return None
    return (
        "is an OpenSearch without an order of documents in a point in time, as version 2 is; "
        "workers, backfills, reindexing and sorted pages of a point in time need version 3"
    )


_BAD_REQUEST = 400
_NO_PLACES = "No mapping found for [_shard_doc]"
_NOT_ACCEPTABLE = 406
"""What other engines, and Elasticsearch 7, answer to a client of Elasticsearch 8 or 9."""


_JSON = CompatibilityModeJsonSerializer.mimetype


class ElasticsearchEngine:
    """An engine whose client sends the plans itself."""

    options_in_calls = False

    def __init__(self, client: Elasticsearch | AsyncElasticsearch) -> None:
        self.client = client
        ignored = client._ignore_status
        self.ignored: Collection[int] = (
            () if ignored is None or isinstance(ignored, DefaultType) else ignored
        )
        self.sender = client.options(ignore_status=()) if self.ignored else client
        self._default = _default_of(client)

    @property
    def serializing(self) -> Any:
        """Its serializers."""
        return SimpleNamespace(serializers=self.client.transport.serializers)

    def options(self, **options: Any) -> Self:
        """The client's own."""
        return type(self)(self.client.options(**options))

    def keywords(self, call: str, given: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """As they are: the client takes them by name only."""
        if given:
            raise TypeError(f"{call}() takes keyword arguments only; {given[0]!r} has no name")
        return dict(named)

    def written(self, search: dict[str, Any]) -> dict[str, Any]:
        """With the body as text, or as they are: see ``_default_of``."""
        if self._default is None:
            return search
        text = json_text(search.get("body"), self._default)
        return search if text is None else {**search, "body": text}

    def answer(self, response: Any) -> Any:
        """As it is."""
        return response

    def error(self, error: Exception) -> Exception:
        """As it is, but for a server that is none for this client: that is one sentence."""
        said = wrong_server(error) if isinstance(error, ApiError) else None
        return error if said is None else ServiceUnavailable(f"the server {said}")


def _default_of(client: Elasticsearch | AsyncElasticsearch) -> Callable[[Any], Any] | None:
    """What a client's serializer makes of values that JSON has no form for.

    None where bodies are to be left to the client: the application chose how they are written, or
    there is a search or a transport that may look into them, as the one that translates for
    OpenSearch.
    """
    search = getattr(client.search, "__func__", None)
    if search not in _SEARCHES or type(client.transport) not in (Transport, AsyncTransport):
        return None
    serializer = client.transport.serializers.serializers.get(_JSON)
    return serializer.default if type(serializer) is CompatibilityModeJsonSerializer else None


_SEARCHES = (Elasticsearch.search, AsyncElasticsearch.search)


# What may be given for a request where the client takes it; the rest is said when it is made.
_PER_REQUEST = frozenset(
    {"api_key", "basic_auth", "bearer_auth", "headers", "ignore_status", "opaque_id"}
    | {"request_timeout"}
)


class OpenSearchEngine:
    """An engine whose client sends what Elasticsearch's client makes of the plans."""

    options_in_calls = True
    ignored: Collection[int] = ()

    def __init__(self, client: OpenSearch | AsyncOpenSearch) -> None:
        from opensearchpy import OpenSearch

        self.client = client
        self.sender: Elasticsearch | AsyncElasticsearch
        if isinstance(client, OpenSearch):
            self.sender = Elasticsearch(_transport=ClientTransport(client))
        else:
            self.sender = AsyncElasticsearch(_transport=AsyncClientTransport(client))

    @property
    def serializing(self) -> Any:
        """Its serializer."""
        return SimpleNamespace(serializer=self.client.transport.serializer)

    def options(self, **options: Any) -> Self:
        """The same client, and a sender with the options.

        Raises:
            ConfigurationError: the client takes such an option only when it is made.
        """
        for name in options.keys() - _PER_REQUEST:
            raise ConfigurationError(f"give {name!r} to the OpenSearch client when it is made")
        result = type(self)(self.client)
        ignored = options.pop("ignore_status", self.ignored)
        result.ignored = (ignored,) if isinstance(ignored, int) else ignored
        result.sender = self.sender.options(**options)
        return result

    def keywords(self, call: str, given: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """By the names that the client gives to arguments without one."""
        if not given:
            return dict(named)
        names = list(inspect.signature(getattr(self.client, call)).parameters)
        by_name = dict(zip(names, given, strict=False))
        for name in by_name.keys() & named.keys():
            raise TypeError(f"{call}() got multiple values for argument {name!r}")
        return {**by_name, **named}

    def written(self, search: dict[str, Any]) -> dict[str, Any]:
        """As they are: the body is still to be translated."""
        return search

    def answer(self, response: Any) -> Any:
        """The body alone; whether something exists as true or false."""
        if isinstance(response, HeadApiResponse):
            return bool(response)
        return response.body if isinstance(response, ApiResponse) else response

    def error(self, error: Exception) -> Exception:
        """By the status; that of the client itself where there was no answer."""
        from opensearchpy import exceptions

        if isinstance(error, ApiError):
            if (said := _too_old(error)) is not None:
                return ServiceUnavailable(f"the server {said}")
            kind = exceptions.HTTP_EXCEPTIONS.get(error.status_code, exceptions.TransportError)
            return kind(error.status_code, error.message, error.body)
        if isinstance(error, TransportError) and error.errors:
            return error.errors[0]
        return error


def _is_of_opensearch(client: Any) -> bool:
    # Who has such a client has imported its package.
    package = sys.modules.get("opensearchpy")
    kinds = [getattr(package, name, None) for name in ("OpenSearch", "AsyncOpenSearch")]
    return isinstance(client, tuple(kind for kind in kinds if kind is not None))
