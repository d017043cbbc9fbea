"""Images in object stores and other file systems that fsspec reads."""

from __future__ import annotations

from saferank.errors import ConfigurationError, ErrorCode, ImageError
from saferank.indexer.fetch.deadline import deadline, within_deadline
from saferank.settings import FetchSettings


def read_store(reference: str, settings: FetchSettings) -> bytes:
    """Read from a store; its own configuration (keys, region, endpoint) applies.

    Raises:
        ConfigurationError: the extra is not installed.
        ImageError: ``not_found``, ``refused``, ``unreachable``, ``too_large`` or ``timeout``.
    """
    try:
        import fsspec
    except ImportError as error:
        raise ConfigurationError(
            "stores need an extra; install it with: pip install 'saferank[stores]'"
        ) from error

    def read() -> bytes:
        with fsspec.open(reference, "rb") as file:
            data: bytes = file.read(settings.max_bytes + 1)
            return data

    try:
        with deadline(settings.timeout):
            data = within_deadline(read)
    except FileNotFoundError as error:
        raise ImageError(ErrorCode.NOT_FOUND, f"the store has no {reference}") from error
    except PermissionError as error:
        raise ImageError(ErrorCode.REFUSED, f"the store refuses: {error}") from error
    except (ImportError, ValueError) as error:
        raise ConfigurationError(f"the store of {reference} cannot be used: {error}") from error
    except OSError as error:
        raise ImageError(ErrorCode.UNREACHABLE, f"the store failed: {error}") from error
    if len(data) > settings.max_bytes:
        raise ImageError(
            ErrorCode.TOO_LARGE,
            f"more than {settings.max_bytes:,} bytes; raise fetch.max_bytes to score it",
        )
    return data
