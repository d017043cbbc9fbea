"""Files of who may come in: TOML with digests of their secrets, for the owner's eyes alone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from saferank.errors import ConfigurationError


def digest_of(secret: str) -> str:
    """SHA-256 in hex, which is all of a secret that such a file has."""
    return hashlib.sha256(secret.encode()).hexdigest()


def quoted(text: str) -> str:
    """A text as TOML has it."""
    # A TOML string is one of JSON, but for DEL, which JSON may leave as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def append_table(path: Path, lines: Sequence[str]) -> None:
    """Add a table to a file, which is made if need be.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write("\n".join([*lines, "", ""]))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
