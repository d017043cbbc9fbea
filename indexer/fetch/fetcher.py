"""Fetch the bytes of an image, wherever its reference leads."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Self

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.fetch.data_uri import is_data_uri, read_data_uri
from saferank.indexer.fetch.files import read_file
from saferank.indexer.fetch.http import Fetched, HttpSource
from saferank.indexer.fetch.network import Resolver, system_resolver
from saferank.indexer.fetch.stores import read_store
from saferank.indexer.fetch.urls import is_relative
from saferank.settings import FetchSettings

__all__ = ["Fetched", "Fetcher"]


class Fetcher:
    """Fetches images within the limits of the settings; may be shared between threads.

    What kind of file came is for the decoder to find out: names and headers are not believed.

    Args:
        settings: limits, and what is switched on.
        resolver: looks host names up; the system's unless given.
        ssl_context: whom to trust; the usual authorities unless given.
    """

    def __init__(
        self,
        settings: FetchSettings,
        *,
        resolver: Resolver = system_resolver,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._http = HttpSource(settings, resolver, ssl_context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def host_of(self, reference: str) -> str | None:
        """The host that serves an image; empty for a file, and for what leads to none.

        None for a data URI: it is its own image.
        """
        reference = reference.strip()
        if is_data_uri(reference):
            return None
        try:
            return self._http.host_of(reference) if self._is_http(reference) else ""
        except ImageError:
            return ""

    def close(self) -> None:
        """Close the connections that were kept."""
        self._http.close()

    def fetch(self, reference: str) -> Fetched:
        """Fetch an image.

        Args:
            reference: an http(s) URL, or one relative to ``fetch.base_url``; a ``file:`` URL or
                a path, if folders are allowed; a ``data:`` URI; a URL of a store that is switched
                on.

        Raises:
            ImageError: with the reference, and ``retry_after`` when the server gave it.
        """
        fetched = self.fetch_if_changed(reference)
        assert fetched is not None  # nothing was known of it
        return fetched

    def fetch_if_changed(
        self, reference: str, *, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched | None:
        """Fetch an image unless its server says that the known version still holds.

        Args:
            reference: as for ``fetch``.
            etag: from the ``Fetched`` of the known version.
            last_modified: likewise.

        Returns:
            None when it has not changed. Only http(s) can tell.

        Raises:
            ImageError: as for ``fetch``.
        """
        try:
            return self._fetch(reference, etag, last_modified)
        except ImageError as error:
            error.reference = reference
            raise

    def _fetch(self, reference: str, etag: str | None, last_modified: str | None) -> Fetched | None:
        reference = reference.strip()
        scheme, colon, _ = reference.partition(":")
        scheme = scheme.lower() if colon else ""
        if self._is_http(reference):
            return self._http.fetch(reference, etag, last_modified)
        if is_data_uri(reference):
            return Fetched(read_data_uri(reference, self._settings.max_bytes))
        if scheme in self._settings.stores and "::" not in reference:
            return Fetched(read_store(reference, self._settings))
        if self._settings.file_roots and (scheme == "file" or "://" not in reference):
            return Fetched(read_file(reference, self._settings))
        raise ImageError(
            ErrorCode.UNSUPPORTED_REFERENCE,
            f"{reference[:80]!r} is not an http(s) or data URL; relative URLs need fetch.base_url, "
            "paths need fetch.file_roots, stores need fetch.stores",
        )

    def _is_http(self, reference: str) -> bool:
        """Whether it is fetched by http(s): a relative reference is, beside a base URL."""
        if is_relative(reference):
            return bool(reference) and self._settings.base_url is not None
        return reference.lower().startswith(("http:", "https:"))
