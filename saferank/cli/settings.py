"""``saferank settings``: what is set, and where it was said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic import BaseModel, SecretStr
from rich.markup import escape
from rich.table import Table

from saferank.cli.options import AsJson
from saferank.cli.output import make_console, print_json
from saferank.settings import SETTINGS_FILE, get_settings, variable_of

_DEFAULT = "default"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(settings)


def settings(
    changed: Annotated[
        bool, typer.Option("--changed", help="Only those that somebody has set.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print every setting with its value and where it comes from.

    Secrets and passwords in addresses are not printed.
    """
    found = {
        name: {"value": value, "said_by": source}
        for name, value, source in _settings(get_settings())
        if source != _DEFAULT or not changed
    }
    if as_json:
        print_json(found)
        return
    table = Table("setting", "value", "said by")
    for name, one in found.items():
        value = "" if one["value"] is None else str(one["value"])
        table.add_row(name, escape(value), one["said_by"])
    make_console().print(table)


def _settings(part: BaseModel, group: str = "") -> Iterator[tuple[str, Any, str]]:
    """Name, value as it may be shown, and source of each setting."""
    for name in type(part).model_fields:
        full, value = group + name, getattr(part, name)
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{full}.")
        else:
            said = name in part.model_fields_set
            yield full, _shown(value), _source(full) if said else _DEFAULT


def _source(name: str) -> str:
    """The variable that says a setting, alone or with its whole group; else the file does."""
    given = {variable.upper() for variable in os.environ}
    ways = [variable_of(name), variable_of(name.partition(".")[0])]
    return next((variable for variable in ways if variable in given), SETTINGS_FILE)


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_shown(one) for one in value]
    if isinstance(value, dict):
        return {key: "(secret)" if "password" in key else _shown(one) for key, one in value.items()}
    if isinstance(value, StrEnum):
        return value.value
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # The ``repr`` of an address has no password.
    return repr(value).strip("'\"") if isinstance(value, str) else str(value)
