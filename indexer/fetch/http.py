"""Images by http and https."""

from __future__ import annotations

import re
import ssl
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpcore
import httpx

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.fetch.deadline import deadline, remaining
from saferank.indexer.fetch.network import CheckedBackend, Resolver, system_resolver
from saferank.indexer.fetch.packing import unpacked
from saferank.indexer.fetch.throttle import Throttle
from saferank.indexer.fetch.urls import host_of, read_url
from saferank.settings import FetchSettings

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WITH_IMAGE = frozenset({200, 201, 203, 206, 226})  # browsers show what comes with these
_TRY_AGAIN = frozenset({408, 425, 500, 502, 503, 504})
_LONGEST_VALIDATOR = 256
# What RFC 9110 takes for a field's value; a space at an end is none of it.
_FIELD_VALUE = re.compile(r"[!-~\x80-\xff]+(?:[ \t]+[!-~\x80-\xff]+)*")
_LONGEST_WAIT = 86_400.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image as it came.

    Attributes:
        data: its bytes, unpacked.
        etag: the server's name for this version, to ask later whether it changed.
        last_modified: the server's date of this version, as sent.
    """

    data: bytes
    etag: str | None = None
    last_modified: str | None = None


class HttpSource:
    """Fetches by http(s) over connections that are kept and shared between threads."""

    def __init__(
        self,
        settings: FetchSettings,
        resolver: Resolver = system_resolver,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._base = None if settings.base_url is None else read_url(settings.base_url)
        self._throttle = Throttle(settings)
        backend = CheckedBackend(settings, resolver)
        context = ssl_context or httpx.create_ssl_context()
        self._pool = (
            httpcore.HTTPProxy(settings.proxy, ssl_context=context, network_backend=backend)
            if settings.proxy
            else httpcore.ConnectionPool(
                ssl_context=context,
                max_connections=None,
                max_keepalive_connections=20,
                keepalive_expiry=15,
                network_backend=backend,
            )
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def host_of(self, reference: str) -> str:
        """The host that a reference leads to.

        Raises:
            ImageError: it leads to none.
        """
        return host_of(read_url(reference, self._base))

    def fetch(
        self, reference: str, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched | None:
        """Fetch an image, following redirects; every hop's address is checked.

        Args:
            reference: an http(s) URL, or one relative to ``fetch.base_url``.
            etag: as stored with the known version; None to fetch whatever there is. What no
                server can have sent is left out.
            last_modified: likewise.

        Returns:
            None when the server says that the known version is still the current one.

        Raises:
            ImageError: in every other case.
        """
        conditions = _conditions(etag, last_modified)
        url = read_url(reference, self._base)
        left = self._settings.timeout
        for _ in range(self._settings.max_redirects + 1):
            # Each hop waits for its own host's turn, and tells of that host alone.
            with self._throttle.slot(host_of(url)):
                began = time.monotonic()
                with deadline(left), _coded(url):
                    answer = self._ask(url, conditions)
                left -= time.monotonic() - began
            if not isinstance(answer, httpx.URL):
                return answer
            url = answer
        raise ImageError(
            ErrorCode.TOO_MANY_REDIRECTS,
            f"more than {self._settings.max_redirects} redirects, the last one to {url}",
        )

    def _ask(
        self, url: httpx.URL, conditions: list[tuple[bytes, bytes]]
    ) -> Fetched | httpx.URL | None:
        """One request: the image, where it is now, or None when it has not changed."""
        headers = [
            (b"Host", url.netloc),
            (b"User-Agent", self._settings.user_agent.encode()),
            (b"Accept", b"image/*,*/*;q=0.5"),
            (b"Accept-Encoding", b"identity"),
            *conditions,
        ]
        with self._stream(url, headers) as response:
            location = _location(response)
            if response.status in _REDIRECTS and location is not None:
                return read_url(location, url)
            if response.status == 304 and conditions:
                return None
            _check_status(response, url)
            return Fetched(
                self._read(response),
                _validator(response, b"etag"),
                _validator(response, b"last-modified"),
            )

    @contextmanager
    def _stream(
        self, url: httpx.URL, headers: list[tuple[bytes, bytes]]
    ) -> Iterator[httpcore.Response]:
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        with self._pool.stream(
            "GET", target, headers=headers, extensions={"timeout": {"pool": remaining()}}
        ) as response:
            yield response

    def _read(self, response: httpcore.Response) -> bytes:
        declared = _header(response, b"content-length") or ""
        if declared.isdecimal() and int(declared) > self._settings.max_bytes:
            raise self._too_large(f"{int(declared):,}")
        body = bytearray()
        encodings = _header(response, b"content-encoding") or ""
        for chunk in unpacked(response.iter_stream(), encodings):
            body += chunk
            if len(body) > self._settings.max_bytes:
                raise self._too_large(f"more than {self._settings.max_bytes:,}")
        return bytes(body)

    def _too_large(self, size: str) -> ImageError:
        return ImageError(
            ErrorCode.TOO_LARGE,
            f"the image has {size} bytes; raise fetch.max_bytes to score it",
        )


def _check_status(response: httpcore.Response, url: httpx.URL) -> None:
    status = response.status
    if status in _WITH_IMAGE:
        return
    message = f"{host_of(url)} answered with status {status}"
    if status in (404, 410):
        raise ImageError(ErrorCode.NOT_FOUND, message)
    if status == 429:
        raise ImageError(ErrorCode.RATE_LIMITED, message, retry_after=_retry_after(response))
    if status in _TRY_AGAIN or not 400 <= status < 500:
        raise ImageError(ErrorCode.UNREACHABLE, message, retry_after=_retry_after(response))
    raise ImageError(ErrorCode.REFUSED, message)


def _retry_after(response: httpcore.Response) -> float | None:
    """Seconds to wait, from the header's number or date; a day at most."""
    value = _header(response, b"retry-after")
    if value is None:
        return None
    try:
        wait = (
            float(value)
            if value.isdecimal()
            else parsedate_to_datetime(value).timestamp() - time.time()
        )
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), _LONGEST_WAIT)


@contextmanager
def _coded(url: httpx.URL) -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise ImageError(
            ErrorCode.TIMEOUT, f"{host_of(url)} took too long; raise fetch.timeout to allow more"
        ) from error
    except zlib.error as error:
        raise ImageError(ErrorCode.UNREADABLE, f"the packed body is damaged: {error}") from error
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        OSError,
        ValueError,  # h11's, on numbers of thousands of digits
    ) as error:
        raise ImageError(
            ErrorCode.UNREACHABLE, f"the exchange with {host_of(url)} failed: {error}"
        ) from error


def _validator(response: httpcore.Response, name: bytes) -> str | None:
    """A header that will be stored with the document, unless it is absurdly long."""
    value = _header(response, name)
    return value if value is not None and len(value) <= _LONGEST_VALIDATOR else None


def _conditions(etag: str | None, last_modified: str | None) -> list[tuple[bytes, bytes]]:
    """The headers that ask for a changed image only.

    Anybody who writes to a document may have written its validators, and a request that cannot be
    sent would count against the host.
    """
    values = {b"If-None-Match": etag, b"If-Modified-Since": last_modified}
    return [
        (name, value.encode("latin-1"))
        for name, value in values.items()
        if value and len(value) <= _LONGEST_VALIDATOR and _FIELD_VALUE.fullmatch(value)
    ]


def _location(response: httpcore.Response) -> str | None:
    """Where a redirect leads: UTF-8 where it is not plain ASCII, as in browsers."""
    value = _header(response, b"location")
    if value is None:
        return None
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


def _header(response: httpcore.Response, name: bytes) -> str | None:
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("latin-1").strip()
    return None
