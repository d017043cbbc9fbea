"""Addresses as browsers read them (WHATWG URL), where httpx wants more of them.

Documents were written for browsers: with the host in any alphabet, slashes the wrong way round, a
path alone. Which addresses may be connected to is decided elsewhere, by what a name leads to.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import httpx
import idna

from saferank.errors import ErrorCode, ImageError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_PASSED_OVER = str.maketrans("", "", "\t\n\r")
_AROUND = "".join(map(chr, range(0x21)))
_START = re.compile(r"(https?:)?[/\\]{2,}|https?:[/\\]?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<user>[^/]*@)?(?P<host>\[[^/]*\]|[^/:]*)")
_NOT_IN_HOSTS = re.compile(r"[\x00-\x20\x7f#%/:<>?@\[\\\]^|]")
_HIGHEST_PORT = 65535


def is_relative(reference: str) -> bool:
    """Whether a reference has no scheme, so that it needs a base."""
    return _SCHEME.match(reference) is None


def read_url(reference: str, base: httpx.URL | None = None) -> httpx.URL:
    """Read an http(s) address, its host in ASCII.

    Args:
        reference: an address, or what is left of one beside the base.
        base: where the reference stands.

    Raises:
        ImageError: ``unsupported_reference``, or ``forbidden_address`` when it leads to another
            scheme.
    """
    try:
        text = _tidied(reference)
        url = base.join(text) if base else httpx.URL(text)
    except (httpx.InvalidURL, idna.IDNAError, ValueError) as error:
        raise ImageError(
            ErrorCode.UNSUPPORTED_REFERENCE, f"the URL cannot be read: {error}"
        ) from error
    if url.scheme not in ("http", "https"):
        raise ImageError(
            ErrorCode.FORBIDDEN_ADDRESS, f"a redirect leads to {url.scheme!r}, not to http(s)"
        )
    if not url.raw_host or b"%" in url.raw_host or (url.port or 0) > _HIGHEST_PORT:
        raise ImageError(ErrorCode.UNSUPPORTED_REFERENCE, "the URL names no proper host and port")
    return url


def host_of(url: httpx.URL) -> str:
    """The host as it is looked up: ``url.host`` would try to write it in its own alphabet."""
    return url.raw_host.decode("ascii")


def _tidied(reference: str) -> str:
    """Write a reference as httpx wants it."""
    text = reference.strip(_AROUND).translate(_PASSED_OVER)
    if not is_relative(text) and not text.lower().startswith(("http:", "https:")):
        return text
    place = re.search(r"[?#]|$", text)
    assert place is not None  # the end, at least
    head, tail = text[: place.start()].replace("\\", "/"), text[place.start() :]
    start = _START.match(head)
    if start is None:
        return head + tail
    rest = head[start.end() :]
    authority = _AUTHORITY.match(rest)
    assert authority is not None  # it may be empty
    user, host = authority["user"] or "", _in_ascii(authority["host"])
    scheme = (_SCHEME.match(head) or [""])[0]
    return f"{scheme}//{user}{host}{rest[authority.end() :]}{tail}"


def _in_ascii(host: str) -> str:
    """Write a host as browsers look it up: by UTS 46, which knows symbols as well as letters.

    Raises:
        ValueError: it cannot be a host.
    """
    if host.startswith("["):
        return host
    name = unquote(host, errors="strict")
    if not name.isascii():
        name = idna.uts46_remap(name, std3_rules=False, transitional=False)
        name = ".".join(map(_label_in_ascii, name.split(".")))
    if (found := _NOT_IN_HOSTS.search(name)) is not None:
        raise ValueError(f"{found[0]!r} in its host")
    return name


def _label_in_ascii(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
