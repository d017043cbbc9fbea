"""``saferank mapping``: the safety fields on a cluster."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from saferank.cli.extras import check_ready
from saferank.connection import clear_errors, connect
from saferank.mappings import template
from saferank.mappings.fields import SafetyFields
from saferank.ranker.odd_values import odd_values
from saferank.settings import get_settings

_mapping = typer.Typer(help="The Elasticsearch fields that hold the scores.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_mapping, name="mapping")


@_mapping.command()
def install(
    index: Annotated[
        str | None, typer.Option(help="Add the fields to this live index or alias.")
    ] = None,
) -> None:
    """Put the component template on the cluster, or the fields into an index."""
    settings = get_settings()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        if index is None:
            template.install(client, SafetyFields.of(settings))
            done = f"component template {template.TEMPLATE_NAME!r} is installed"
        else:
            template.add_to_index(
                client, index, SafetyFields.of(settings), image_field=settings.image_field
            )
            done = (
                f"index {index!r} has the safety fields under {settings.field!r}\n"
                "Each scoring is a write that counts a document's _version up by one. Where the "
                "application gives versions of its own, leave room between them."
            )
    _print(done)


@_mapping.command()
def check(index: Annotated[str, typer.Argument(help="Index or alias.")]) -> None:
    """See whether an index has the safety fields as they must be, with values that can be read.

    Exit code 1 when a document has a value that nobody can read, as 'BLOCK' for 'block'.
    """
    settings = get_settings()
    fields = SafetyFields.of(settings)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        check_ready(client, index, settings)
        odd = odd_values(client, index, fields)
    _print(f"index {index!r} is ready")
    if odd:
        _print("It has values that nobody can read, which are never taken as safe; correct them:")
        for value in odd:
            _print(f"  {value}")
        raise typer.Exit(1)


@_mapping.command()
def show() -> None:
    """Print the component template as JSON."""
    typer.echo(json.dumps(template.component_template(SafetyFields.of(get_settings())), indent=2))


def _print(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
