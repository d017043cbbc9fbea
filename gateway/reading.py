"""Bytes of a request → an address in parts, parameters, JSON; what is ambiguous is refused.

What is sent to Elasticsearch is made from what is read here, and from nothing else of the request.
So no second reading of the same bytes can differ from the one that was made safe.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from saferank.errors import shortened
from saferank.gateway.answers import Refused, malformed
from saferank.ranker.bodies import Json

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_MOST_PARAMETERS = 100
_OBJECT_TYPES = ("application/json", "application/vnd.elasticsearch+json")
_LINE_TYPES = (
    *_OBJECT_TYPES,
    "application/x-ndjson",
    "application/vnd.elasticsearch+x-ndjson",
)


def segments(raw_path: bytes) -> tuple[str, ...]:
    """The parts of a path between its slashes, each decoded by itself, once.

    A part may have an encoded slash in it, as ids have; it stays one part.

    Raises:
        Refused: a part is empty, a dot or two, or no text.
    """
    if raw_path == b"/":
        return ()
    start, *parts = raw_path.split(b"/")
    if start or not parts or b"" in parts:
        raise malformed("the path has an empty part; write it with single slashes, none at its end")
    decoded = tuple(_text(part, "path") for part in parts)
    if not {".", ".."}.isdisjoint(decoded):
        raise malformed("a part of the path is '.' or '..', which clients resolve; nothing is so")
    return decoded


def parameters(query_string: bytes) -> dict[str, str]:
    """The parameters of an address.

    Raises:
        Refused: they are no text, too many, or one is given twice.
    """
    if not query_string:
        return {}
    _check_escapes(query_string, "query string")
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError as error:
        raise malformed(f"the query string cannot be read: {error}") from error
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise malformed(f"parameter {twice!r} is given twice")
    return found


def wants_pretty(query_string: bytes) -> bool:
    """Whether an answer is for people's eyes, even if the rest of the address cannot be read."""
    return b"pretty" in query_string and b"pretty=false" not in query_string


def _text(part: bytes, where: str) -> str:
    _check_escapes(part, where)
    try:
        text = unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        raise malformed(f"the {where} is not UTF-8") from error
    if _CONTROL.search(text):
        raise malformed(f"the {where} has a control character in it")
    return text


def _check_escapes(text: bytes, where: str) -> None:
    """See that each percent sign begins an escape."""
    for escape in text.split(b"%")[1:]:
        if len(escape) < 2 or not _HEX.issuperset(escape[:2]):
            raise malformed(f"the {where} has a '%' that begins no escape; write it as '%25'")


def check_type(content_type: str | None, *, lines: bool) -> None:
    """See that a body is sent as JSON.

    Args:
        content_type: the header, or the parameter ``source_content_type``.
        lines: whether it may be one JSON text a line.

    Raises:
        Refused: it is another format, such as YAML or CBOR, or in another encoding.
    """
    kind, *options = (part.strip().lower() for part in (content_type or "").split(";"))
    encoding = [
        option.partition("=")[2].strip('" ') for option in options if option.startswith("charset")
    ]
    if kind not in (_LINE_TYPES if lines else _OBJECT_TYPES) or not {"utf-8"}.issuperset(encoding):
        raise Refused(
            HTTPStatus.NOT_ACCEPTABLE,
            "media_type_header_exception",
            f"Content-Type {content_type!r} is not supported; send JSON as 'application/json'"
            + (" or 'application/x-ndjson'" if lines else ""),
        )


def unpacked(data: bytes, encoding: str | None, most: int) -> bytes:
    """A body without its ``Content-Encoding``.

    Args:
        data: as it came.
        encoding: the header.
        most: bytes that it may have.

    Raises:
        Refused: another encoding than gzip, more bytes, or damaged.
    """
    if encoding is None or encoding.strip().lower() in ("", "identity"):
        return data
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "media_type_header_exception",
            f"Content-Encoding {encoding!r} is not supported; send gzip, or the body as it is",
        )
    try:
        plain = ungzipped(data, most)
    except ValueError as error:
        raise malformed(f"the body is {error}") from error
    if len(plain) > most:
        raise too_large(most)
    return plain


def ungzipped(data: bytes, most: int) -> bytes:
    """What is packed as gzip; of more than ``most`` bytes the first ``most + 1``.

    Raises:
        ValueError: it is damaged, or something comes behind it.
    """
    reader = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = reader.decompress(data, most + 1)
    except zlib.error as error:
        raise ValueError(f"no gzip: {error}") from error
    if len(plain) <= most and (not reader.eof or reader.unused_data):
        raise ValueError("not one whole gzip member")
    return plain


def too_large(most: int) -> Refused:
    """The refusal of a body with too many bytes."""
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "content_too_long_exception",
        f"the body has more than {most} bytes, which is the most that is taken here",
    )


def json_object(data: bytes) -> Json:
    """A body that is one JSON object.

    Raises:
        Refused: it is none.
    """
    return _object(_decoded(data), "the body")


def json_lines(data: bytes) -> list[Json]:
    """A body of JSON objects, one a line; a blank line is an empty object.

    Raises:
        Refused: a line is none, or the last does not end.
    """
    *lines, last = _decoded(data).split("\n")
    if last.strip():
        raise malformed("the body must end with a line break")
    return [
        _object(line, f"line {number} of the body") if line.strip() else {}
        for number, line in enumerate(lines, start=1)
    ]


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise malformed("the body is not UTF-8") from error


def _object(text: str, what: str) -> Json:
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_number)
    except RecursionError:
        raise malformed(f"{what} goes deeper than can be followed") from None
    except _KeyTwice as error:
        raise malformed(f"{what} has the key {error} twice in one object") from None
    except ValueError as error:
        raise malformed(f"{what} is not JSON: {error}") from error
    if not isinstance(value, Mapping):
        raise malformed(f"{what} is not a JSON object")
    return dict(value)


def _pairs(pairs: list[tuple[str, Any]]) -> Json:
    found: Json = {}
    for key, value in pairs:
        if key in found:
            raise _KeyTwice(shortened(key))
        found[key] = value
    return found


class _KeyTwice(Exception):
    """An object has a key twice: JSON allows it, and nobody knows which one is meant."""


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
