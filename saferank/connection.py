"""Connecting to Elasticsearch, and saying clearly when that does not work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout
from elasticsearch import (
    AuthenticationException,
    AuthorizationException,
    Elasticsearch,
    UnsupportedProductError,
)

from saferank.errors import ServiceUnavailable
from saferank.settings import Settings


def connect(settings: Settings, *, timeout: float = 30.0) -> Elasticsearch:
    """Make a client. Nothing is sent yet, and ``GET /`` is never needed.

    Args:
        settings: ``elasticsearch_url`` and, if set, ``elasticsearch_api_key`` are used.
        timeout: seconds for one request.
    """
    return Elasticsearch(
        settings.elasticsearch_url,
        api_key=settings.elasticsearch_api_key,
        request_timeout=timeout,
        max_retries=0,
    )


@contextmanager
def clear_errors(where: str) -> Iterator[None]:
    """Turn the client's connection errors into one sentence.

    Args:
        where: the address to name in the message.

    Raises:
        ServiceUnavailable: no answer, no access, or not an Elasticsearch.
    """
    try:
        yield
    except ConnectionTimeout as error:
        raise ServiceUnavailable(
            f"Elasticsearch at {where} did not answer in time; see whether it is overloaded"
        ) from error
    except TransportConnectionError as error:
        raise ServiceUnavailable(
            f"Elasticsearch at {where} cannot be reached; start it, or set "
            "SAFERANK_ELASTICSEARCH_URL to where it runs"
        ) from error
    except (AuthenticationException, AuthorizationException) as error:
        raise ServiceUnavailable(
            f"Elasticsearch at {where} refuses access ({error.message}); set "
            "SAFERANK_ELASTICSEARCH_API_KEY to a key with the needed privileges"
        ) from error
    except UnsupportedProductError as error:
        raise ServiceUnavailable(
            f"the server at {where} does not say that it is Elasticsearch 8 or newer; "
            "saferank needs one"
        ) from error
