"""Transports that send through a gateway what is no administration, with the key of a caller."""

from __future__ import annotations

import re
from typing import Any

from elastic_transport import AsyncTransport, Transport, TransportApiResponse
from elastic_transport.client_utils import DEFAULT, url_to_node_config

__all__ = ["asynchronous_through_gateway", "through_gateway"]

# What a gateway takes from nobody, and an application does without it: indices, templates, tasks.
_ADMINISTRATION = re.compile(
    "/[^/_][^/]*"  # An index itself.
    "|(/[^/]+)?/_(aliases|alias|close|open|settings|analyze|forcemerge|cache/clear)(/.*)?"
    "|/[^/]+/_mapping(/field/.*)?"
    "|/_(cluster|component_template|index_template|ingest|nodes|snapshot|tasks|template)(/.*)?"
    "|(/[^/]+)?/_(delete_by_query|update_by_query|reindex)"
)


def through_gateway(url: str, key: str) -> type[Transport]:
    """A class of transports; what they do not send there goes to their own node.

    Args:
        url: of the gateway.
        key: behind ``Authorization: ApiKey``.
    """

    class GatewayTransport(Transport):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.gateway = Transport([url_to_node_config(url)], **options)

        def perform_request(
            self, method: str, target: str, *, headers: Any = DEFAULT, **options: Any
        ) -> TransportApiResponse:
            if _is_administration(method, target):
                return super().perform_request(method, target, headers=headers, **options)
            return self.gateway.perform_request(
                method, target, headers=_with_key(headers, key), **options
            )

    return GatewayTransport


def asynchronous_through_gateway(url: str, key: str) -> type[AsyncTransport]:
    """The same for an asynchronous client."""

    class AsyncGatewayTransport(AsyncTransport):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.gateway = AsyncTransport([url_to_node_config(url)], **options)

        async def perform_request(  # type: ignore[override]
            self, method: str, target: str, *, headers: Any = DEFAULT, **options: Any
        ) -> TransportApiResponse:
            if _is_administration(method, target):
                return await super().perform_request(method, target, headers=headers, **options)
            return await self.gateway.perform_request(
                method, target, headers=_with_key(headers, key), **options
            )

        async def close(self) -> None:
            await self.gateway.close()
            await super().close()

    return AsyncGatewayTransport


def _is_administration(method: str, target: str) -> bool:
    path = target.partition("?")[0]
    asked_of_gateway = (method, path.rpartition("/")[2]) == ("GET", "_mapping") or method == "HEAD"
    return not asked_of_gateway and _ADMINISTRATION.fullmatch(path) is not None


def _with_key(headers: Any, key: str) -> dict[str, str]:
    given = {} if headers is DEFAULT else dict(headers)
    return {**given, "authorization": f"ApiKey {key}"}
