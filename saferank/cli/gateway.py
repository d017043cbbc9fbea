"""``saferank gateway``: Elasticsearch's own HTTP, made safe; ``callers``: who may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from saferank.cli.extras import needs_extra
from saferank.cli.options import PolicyOption, parse_context
from saferank.cli.output import warn
from saferank.errors import ConfigurationError
from saferank.ranker import PolicyFile
from saferank.settings import get_settings

_callers = typer.Typer(help="The callers of the gateway.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command and the group to the command line."""
    app.command(name="gateway")(gateway)
    app.add_typer(_callers, name="callers")


def gateway(
    upstream: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where Elasticsearch answers.",
            show_default="SAFERANK_ELASTICSEARCH_URL",
        ),
    ] = None,
    policy: PolicyOption = None,
    callers: Annotated[
        Path | None,
        typer.Option(help="Callers' file.", show_default="SAFERANK_GATEWAY__CALLERS"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 9280,
    share_port: Annotated[
        bool,
        typer.Option(
            "--share-port",
            help="Let other gateways listen there, too: each is one process on one core.",
        ),
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file of a certificate, to speak TLS.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(help="Lowest level to log; info has a line for each request."),
    ] = "info",
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics there.")
    ] = None,
    metrics_address: Annotated[str, typer.Option(help="Address to serve them at.")] = "127.0.0.1",
) -> None:
    """Serve Elasticsearch's HTTP API in front of it, and make every search safe.

    Clients in any language use http://127.0.0.1:9280 as they use Elasticsearch. What is not known
    to be safe is refused. It runs until Ctrl-C or SIGTERM, and finishes its open requests.
    """
    settings = get_settings()
    if upstream is not None:
        settings = settings.model_copy(update={"elasticsearch_url": upstream})
    if callers is not None:
        own = settings.gateway.model_copy(update={"callers": callers})
        settings = settings.model_copy(update={"gateway": own})
    if (certificate is None) is not (key is None):
        raise ConfigurationError("--certificate and --key need each other; give both")
    rules = PolicyFile(policy or settings.policy)
    with needs_extra("gateway"):
        import aiohttp  # noqa: F401

        from saferank.gateway.serve import make_gateway, serve, server_config
        from saferank.indexer.operate.logs import configure_logging
    if certificate is None and host not in ("127.0.0.1", "::1", "localhost"):
        warn(
            f"{host} can be reached from other machines; give --certificate, or let a proxy "
            "with TLS stand before it"
        )
    configure_logging(log_level.upper(), json=settings.log_format == "json")
    made = make_gateway(settings, rules)
    if metrics_port is not None:
        try:
            made.figures.serve(metrics_address, metrics_port)
        except OSError as error:
            raise ConfigurationError(
                f"metrics cannot be served at {metrics_address}:{metrics_port}: {error.strerror}; "
                "choose another --metrics-port"
            ) from error
    serve(
        server_config(
            made, settings.gateway, host=host, port=port, certificate=certificate, key=key
        ),
        share_port=share_port,
    )


@_callers.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Id of the key, as logs have it.")],
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="ATTRIBUTE=VALUE", help="Context of all its requests."),
    ] = None,
    says: Annotated[
        list[str] | None,
        typer.Option(metavar="ATTRIBUTE", help="Context attributes that its requests may set."),
    ] = None,
    writes: Annotated[bool, typer.Option("--writes", help="Let it change documents.")] = False,
    explained: Annotated[
        bool, typer.Option("--explained", help="Let its hits say what was done and why.")
    ] = False,
    callers: Annotated[
        Path | None,
        typer.Option(
            help="Callers' file.", show_default="SAFERANK_GATEWAY__CALLERS, or callers.toml"
        ),
    ] = None,
) -> None:
    """Create an API key for a caller of the gateway, and print it once.

    Clients use it as their encoded API key.
    """
    with needs_extra("gateway"):
        from saferank.gateway.callers import Rights, add_key
    known = parse_context(context)
    rights = Rights(context=known, says=tuple(says or ()), writes=writes, explained=explained)
    file = callers or get_settings().gateway.callers or Path("callers.toml")
    typer.echo(add_key(file, name, rights))
