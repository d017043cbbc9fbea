"""Packages that a command needs, and which extra brings them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
