"""Running the gateway."""

from __future__ import annotations

import gc
import socket
from pathlib import Path

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from saferank.connection import connect_async
from saferank.errors import ConfigurationError
from saferank.gateway.app import LEVEL_HEADER, Gateway
from saferank.gateway.callers import CONTEXT_HEADER, Callers
from saferank.gateway.protocol import protocol_with_limits
from saferank.gateway.upstream import SERIALIZERS, HttpNode, OneTry
from saferank.ranker.policy.file import PolicyFile
from saferank.ranker.policy.policy import Policy
from saferank.settings import GatewaySettings, Settings


def make_gateway(settings: Settings, policy: Policy | PolicyFile) -> Gateway:
    """The gateway that settings describe.

    Raises:
        ConfigurationError: the callers' file, or how to reach Elasticsearch, cannot be used.
    """
    own = settings.gateway
    callers = Callers(own.callers, policy, required=own.require_caller)
    client = connect_async(
        settings,
        timeout=own.timeout,
        node_class=HttpNode,
        transport_class=OneTry,
        serializers=SERIALIZERS,
    )
    return Gateway(client, policy, callers, own)


def with_origins(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """The same application, for scripts in pages of these origins."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["DELETE", "GET", "HEAD", "POST", "PUT"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "X-Elastic-Client-Meta",
            "X-Opaque-Id",
            CONTEXT_HEADER,
        ],
        expose_headers=["X-Elastic-Product", LEVEL_HEADER],
    )


def server_config(
    gateway: Gateway,
    own: GatewaySettings,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Path | None = None,
    key: Path | None = None,
) -> uvicorn.Config:
    """How uvicorn is to serve a gateway.

    Args:
        gateway: the application.
        own: its settings.
        host: address to listen at.
        port: port there.
        certificate: PEM file, to speak TLS.
        key: PEM file of its key.
    """
    return uvicorn.Config(
        with_origins(gateway, own.origins) if own.origins else gateway,
        host=host,
        port=port,
        http=protocol_with_limits(read_seconds=own.read_timeout, write_seconds=own.write_timeout),
        ws="none",
        # Proxy headers can be forged: the address of a caller is that of its connection.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        limit_concurrency=own.connections,
        timeout_keep_alive=own.idle_timeout,
        timeout_graceful_shutdown=int(own.timeout) + 1,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


def serve(config: uvicorn.Config, *, share_port: bool = False) -> None:
    """Answer until the process is asked to end; what is being answered is finished then.

    Args:
        config: as ``server_config`` made it.
        share_port: whether others may listen at the same address; the system spreads the
            connections over them.

    Raises:
        ConfigurationError: the port cannot be shared.
    """
    sockets = [shared_socket(config.host, config.port)] if share_port else None
    # All that is there by now stays. To look for garbage in it took some 100 ms, in which every
    # request waited.
    gc.collect()
    gc.freeze()
    uvicorn.Server(config).run(sockets)


def shared_socket(host: str, port: int) -> socket.socket:
    """A socket that listens where others that are made so listen, too.

    Raises:
        ConfigurationError: the system has none, or the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, reuse_port=True)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be shared ({error}); choose another --port, or leave out "
            "--share-port"
        ) from error
