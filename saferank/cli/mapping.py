"""``saferank mapping``: the safety fields on a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from saferank.cli.indices import check_ready
from saferank.cli.output import say, warn
from saferank.connection import clear_errors, connect
from saferank.mappings import template
from saferank.mappings.fields import SafetyFields
from saferank.mappings.next_index import next_indices_without_fields
from saferank.ranker.odd_values import odd_values
from saferank.settings import get_settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_mapping = typer.Typer(help="The Elasticsearch fields that hold the scores.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_mapping, name="mapping")


@_mapping.command()
def install(
    index: Annotated[
        str | None,
        typer.Argument(help="Live index or alias.", show_default="only the component template"),
    ] = None,
    as_option: Annotated[str | None, typer.Option("--index", hidden=True)] = None,
) -> None:
    """Add the safety fields to an index, or install the component template on the cluster."""
    index = index or as_option  # Earlier versions took only the option.
    settings = get_settings()
    every = SafetyFields.each(settings)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        if index is None:
            template.install(client, *every)
            done = f"component template {template.TEMPLATE_NAME!r} is installed"
        else:
            for fields in every:
                template.add_to_index(client, index, fields, image_field=settings.image_field)
            roots = ", ".join(repr(field) for field in settings.model_by_field)
            done = (
                f"index {index!r} has the safety fields under {roots}\n"
                "Each scoring is a write, and raises the document's _version by one.\n"
                "If your application sets versions itself, leave room between them."
            )
        later = [] if index is None else _later(client, index, every)
    say(done)
    for sentence in later:
        warn(sentence)


@_mapping.command()
def check(index: Annotated[str, typer.Argument(help="Index or alias.")]) -> None:
    """Check that an index has the right safety fields, with readable values.

    Exits with 1 when a document has an unreadable value, such as 'BLOCK' for 'block', or when the
    index template of a data stream or a rollover alias lacks the fields.
    """
    settings = get_settings()
    every = SafetyFields.each(settings)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        check_ready(client, index, settings)
        odd = [value for fields in every for value in odd_values(client, index, fields)]
        later = _later(client, index, every)
    say(f"index {index!r} is ready")
    if odd:
        say("It has values that nobody can read, which are never taken as safe; correct them:")
        for value in odd:
            say(f"  {value}")
    for sentence in later:
        warn(sentence)
    if odd or later:
        raise typer.Exit(1)


@_mapping.command()
def show() -> None:
    """Print the component template as JSON."""
    every = SafetyFields.each(get_settings())
    typer.echo(json.dumps(template.component_template(*every), indent=2))


def _later(client: Elasticsearch, index: str, every: Iterable[SafetyFields]) -> list[str]:
    """What keeps later indices from having the fields of any category, each sentence once."""
    sentences = (
        sentence
        for fields in every
        for sentence in next_indices_without_fields(client, index, fields)
    )
    return list(dict.fromkeys(sentences))
