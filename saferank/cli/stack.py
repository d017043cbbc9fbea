"""``saferank stack``: a private Elasticsearch or OpenSearch node and broker for trying out."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table

from saferank.cli.extras import needs_extra
from saferank.cli.options import AsJson
from saferank.cli.output import make_console, print_json, say
from saferank.settings import Engine

if TYPE_CHECKING:
    from saferank.local import Service, Stack

_stack = typer.Typer(
    help="A private search engine and a Valkey broker on this machine, for trying out.",
    no_args_is_help=True,
)


_Name = Annotated[
    str | None,
    typer.Option(help="Name of a separate stack with its own data, such as one for each project."),
]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_stack, name="stack")


@_stack.command()
def up(
    name: _Name = None,
    engine: Annotated[
        Engine | None, typer.Option(help="Engine to start; by default elasticsearch.")
    ] = None,
    heap: Annotated[str, typer.Option(help="Java heap of the node, such as 512m or 2g.")] = "512m",
) -> None:
    """Start an engine and a broker in the background; the first start downloads the engine."""
    with needs_extra("local"):
        from saferank import local

    console = make_console()
    with make_console(stderr=True).status("looking for a running stack") as progress:
        stack = local.up(name=name, engine=engine, heap=heap, report=progress.update)
    _show(stack.services)
    env, end = local.command_of("env", name), local.command_of("down", name)
    console.print(f'\nUse it in this shell:  [bold]eval "$({env})"[/bold]')
    console.print(f"Stop it:               [bold]{end}[/bold]")


@_stack.command()
def down(
    name: _Name = None,
    erase: Annotated[
        bool, typer.Option("--erase", help="Also delete the stack's indices and logs.")
    ] = False,
) -> None:
    """Stop the engine and the broker."""
    with needs_extra("local"):
        from saferank import local

    with make_console(stderr=True).status("stopping the services"):
        was_running = local.down(name=name, erase=erase)
    say("The stack is stopped." if was_running else "No stack was running.")


@_stack.command()
def status(name: _Name = None, as_json: AsJson = False) -> None:
    """Show which services run, and where; exits with 1 unless both do."""
    with needs_extra("local"):
        from saferank import local

    services = local.recorded_services(name=name)
    whole = bool(services) and all(service.running for service in services)
    if as_json:
        states = {
            service.name: {
                "running": service.running,
                "address": service.url,
                "process": service.pid,
            }
            for service in services
        }
        print_json({"running": whole, "services": states})
    elif services:
        _show(services)
    if not whole:
        _say_that_it_does_not_run(name)


@_stack.command()
def env(name: _Name = None) -> None:
    """Print the environment variables that make every command use the stack."""
    for variable, value in _running_stack(name).environment.items():
        typer.echo(f"export {variable}={shlex.quote(value)}")


def _running_stack(name: str | None) -> Stack:
    with needs_extra("local"):
        from saferank import local

    stack = local.status(name=name)
    if stack is None:
        _say_that_it_does_not_run(name)
    return stack


def _say_that_it_does_not_run(name: str | None) -> NoReturn:
    from saferank import local

    start = local.command_of("up", name)
    say(f"The stack does not run; start it with: {start}", make_console(stderr=True))
    raise typer.Exit(1)


def _show(services: Iterable[Service]) -> None:
    table = Table("service", "address", "process id")
    for service in services:
        table.add_row(service.name, service.url, str(service.pid) if service.running else "stopped")
    make_console().print(table)
