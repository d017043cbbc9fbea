"""Files that commands read and write; what goes wrong with one is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from saferank.cli.output import say
from saferank.errors import ConfigurationError, SaferankError


def read_text(path: Path) -> str:
    """Read a text that somebody named.

    Raises:
        ConfigurationError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} cannot be read: it is not UTF-8 text") from error


def read_json_object(path: Path, holds: str) -> dict[str, Any]:
    """Read a JSON object from a file that an option named.

    Args:
        path: of the file.
        holds: what the object is, for the error.

    Raises:
        typer.BadParameter: it cannot be read, or is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{path} is not a JSON object, which {holds} is")
    return value


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, making its folder, and say so.

    Raises:
        SaferankError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise SaferankError(f"{path} cannot be written: {error.strerror}") from error
    say(f"wrote {path}")
