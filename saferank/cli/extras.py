"""Packages that a command needs, and which extra brings them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from saferank.errors import needing


def needs_extra(extra: str) -> AbstractContextManager[None]:
    """Say which extra a command needs when an import inside fails; see ``needing``."""
    return needing("this command", extra)
