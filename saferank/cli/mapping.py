"""``saferank mapping``: the safety fields on a cluster."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from saferank.connection import clear_errors, connect
from saferank.mappings import template
from saferank.mappings.fields import SafetyFields
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
            done = f"index {index!r} has the safety fields under {settings.field!r}"
    Console().print(done, markup=False, highlight=False)


@_mapping.command()
def check(index: Annotated[str, typer.Argument(help="Index or alias.")]) -> None:
    """See whether an index has the safety fields as they must be."""
    settings = get_settings()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        template.check_index(
            client, index, SafetyFields.of(settings), image_field=settings.image_field
        )
    Console().print(f"index {index!r} is ready", markup=False, highlight=False)


@_mapping.command()
def show() -> None:
    """Print the component template as JSON."""
    typer.echo(json.dumps(template.component_template(SafetyFields.of(get_settings())), indent=2))
