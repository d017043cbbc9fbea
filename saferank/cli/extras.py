"""What the commands have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from saferank.errors import ConfigurationError


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
