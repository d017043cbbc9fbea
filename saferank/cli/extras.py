"""What the commands have in common."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from elasticsearch import NotFoundError
from rich.console import Console
from rich.table import Column, Table

from saferank.errors import ConfigurationError
from saferank.mappings import check_index, lacking
from saferank.mappings.fields import SafetyFields
from saferank.settings import get_settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from saferank.indexer.copies import Copies
    from saferank.settings import Settings

CategoryOption = Annotated[
    str | None,
    typer.Option(
        "--category", help="The category that is meant, of several.", show_default="the first"
    ),
]
"""The option of commands that are about one category alone."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The option of commands that print for people or for programs."""


def whole_table(*headers: str, title: str | None = None) -> Table:
    """A table that leaves nothing out: in a narrow terminal long words go on in the next line.

    Ids are copied from it.
    """
    columns = (Column(header, overflow="fold") for header in headers)
    return Table(*columns, title=title, title_justify="left")


def print_json(value: object) -> None:
    """Print for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table_console() -> Console:
    """Where tables are printed: in a file or a pipe, which have no width, as wide as they are."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=1_000)


def settings_about(category: str | None) -> Settings:
    """The settings for the category that somebody named; all of them unless one is.

    Raises:
        ConfigurationError: there is no such category.
    """
    settings = get_settings()
    return settings if category is None else settings.of_category(category)


def copies_of(client: Elasticsearch, settings: Settings) -> Copies | None:
    """What brings decisions to copies, where the settings want that.

    Raises:
        ConfigurationError: the extra for it is not installed.
    """
    if settings.known is None:
        return None
    with needs_extra("indexer"):
        from saferank.indexer.copies import Copies

        return Copies.of(client, settings)


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Say which extra to install when an import inside fails.

    Raises:
        ConfigurationError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("saferank"):
            raise
        raise ConfigurationError(
            f"this command needs {error.name!r}, which is not installed: "
            f"pip install 'saferank[{extra}]'"
        ) from error


@contextmanager
def index_named(index: str) -> Iterator[None]:
    """Say that an index that somebody named is not there.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        yield
    except NotFoundError as error:
        raise ConfigurationError(
            f"there is no index {index!r}; create it first, or correct the name"
        ) from error


def check_ready(client: Elasticsearch, index: str, settings: Settings) -> None:
    """See that an index can be scored, and warn where none of its documents has an image.

    Raises:
        MappingError: see ``check_index``.
    """
    field = settings.image_field
    for fields in SafetyFields.each(settings):
        check_index(client, index, fields, image_field=field)
    for name in lacking(client, index, field):
        warn(
            f"the mapping of index {name!r} has no field {field!r}, so none of its documents has "
            "an image there; set SAFERANK_IMAGE_FIELD to the field that has them"
        )


def warn(sentence: str) -> None:
    """Print to standard error what is not as somebody may think."""
    Console(stderr=True).print(
        f"saferank: {sentence}", style="yellow", markup=False, highlight=False, soft_wrap=True
    )


def print_error(sentence: str) -> None:
    """Print to standard error what ends the command."""
    Console(stderr=True).print(
        f"saferank: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True
    )


def parse_query(text: str | None) -> dict[str, Any] | None:
    """Read an Elasticsearch query from an option.

    Raises:
        typer.BadParameter: it is not a JSON object.
    """
    if text is None:
        return None
    try:
        query = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--query") from error
    if not isinstance(query, dict):
        raise typer.BadParameter("an Elasticsearch query is a JSON object", param_hint="--query")
    return query
