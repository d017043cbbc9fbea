"""Options and arguments that several commands have: one name, one help text, one way to read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from saferank.settings import Settings, get_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""For programs instead of people."""

CategoryOption = Annotated[
    str | None,
    typer.Option("--category", help="Category, if there are several.", show_default="the first"),
]
"""For commands that are about one category alone."""

ContextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        metavar="ATTRIBUTE=VALUE",
        help="An attribute of the request; may be repeated.",
    ),
]
"""Read by ``parse_context``."""

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A built-in name, or the path of a model description.",
        show_default="SAFERANK_MODEL",
    ),
]
"""For commands that run a model themselves."""

PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="Policy file.", show_default="SAFERANK_POLICY"),
]
"""For commands that need a policy beside what they are about."""


def settings_about(category: str | None) -> Settings:
    """The settings for the category that was named; all of them if none was.

    Raises:
        ConfigurationError: there is no such category.
    """
    settings = get_settings()
    return settings if category is None else settings.of_category(category)


def parse_context(pairs: Iterable[str] | None) -> dict[str, str]:
    """Read ``ContextOption``.

    Raises:
        typer.BadParameter: one of the texts is not of the form ATTRIBUTE=VALUE.
    """
    context = {}
    for pair in pairs or ():
        attribute, equals, value = pair.partition("=")
        if not (attribute and equals):
            raise typer.BadParameter(
                f"{pair!r} is not of the form ATTRIBUTE=VALUE, as audience=child is",
                param_hint="--context",
            )
        context[attribute] = value
    return context


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
