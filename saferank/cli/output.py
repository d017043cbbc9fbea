"""What commands print: sentences and tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Column, Table


def make_console(*, stderr: bool = False) -> Console:
    """Where a command prints.

    Without a terminal (a pipe, a file) there is no width to fit, so nothing is cut or wrapped.
    """
    console = Console(stderr=stderr)
    return (
        console
        if console.is_terminal or "COLUMNS" in os.environ
        else Console(stderr=stderr, width=1_000)
    )


def say(sentence: str, console: Console | None = None) -> None:
    """Print a sentence for people, exactly as it is, on one line."""
    (console or Console()).print(sentence, markup=False, highlight=False, soft_wrap=True)


def warn(sentence: str) -> None:
    """Print to standard error what may surprise, though the command goes on."""
    _say_in("yellow", sentence)


def print_error(sentence: str) -> None:
    """Print to standard error why the command failed."""
    _say_in("red", sentence)


def _say_in(colour: str, sentence: str) -> None:
    Console(stderr=True).print(
        f"saferank: {sentence}", style=colour, markup=False, highlight=False, soft_wrap=True
    )


def print_json(value: object) -> None:
    """Print for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def whole_table(*headers: str, title: str | None = None) -> Table:
    """A table that leaves nothing out: in a narrow terminal, long words continue on the next line.

    For tables with ids, which people copy.
    """
    columns = (Column(header, overflow="fold") for header in headers)
    return Table(*columns, title=title, title_justify="left")


def print_rows(headers: Sequence[str], rows: Iterable[Sequence[object]], *, as_json: bool) -> None:
    """Print a list: a table for people, or an object a row, whose keys are the headers."""
    if as_json:
        print_json([dict(zip(headers, row, strict=True)) for row in rows])
        return
    table = whole_table(*headers)
    for row in rows:
        table.add_row(*map(_cell, row))
    make_console().print(table, markup=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
