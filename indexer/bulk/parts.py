"""Requests of a size that Elasticsearch and what stands before it take.

A number of documents says nothing about their bytes: a page of 500 may have 50 kB or 5 GB. So
what is sent is cut by bytes, and what is refused as too much goes again in two halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
from elastic_transport import JsonSerializer
from elasticsearch import ApiError

T = TypeVar("T")
R = TypeVar("R")

MOST_BYTES = 5 * 1024 * 1024
"""Of one request or page. Proxies commonly take 10 MB and more; a larger bulk is no faster."""

TOO_LARGE = 413
"""Status of a request that the server, or a proxy before it, does not take for its size."""
TOO_MANY = 429
"""The cluster is busy, or this very request takes too much of its memory."""

_SERIALIZER = JsonSerializer()


def to_json(value: object) -> bytes:
    """A value of ours as JSON; the client sends bytes as they are, so it is serialised once."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # Half a surrogate pair, which is rare.
        return document_to_json(value)


def document_to_json(document: object) -> bytes:
    """A whole document as JSON, to the last value.

    Half a surrogate pair is escaped, since UTF-8 has no form for it that every engine takes. A
    number beyond all bounds, like 1e999, stays one, which the engine refuses; msgspec writes null.
    """
    written = _SERIALIZER.dumps(document)
    if b"\xed" not in written:  # With which all halves begin.
        return written
    return written.decode("utf-8", "surrogatepass").encode("utf-8", "backslashreplace")


def json_size(value: object) -> int:
    """Bytes that a value takes as JSON."""
    return len(to_json(value))


def by_bytes(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut a sequence into parts of at most ``MOST_BYTES``; what is larger goes alone."""
    part: list[T] = []
    total = 0
    for item in items:
        total += size(item)
        if part and total > MOST_BYTES:
            yield part
            part, total = [], size(item)
        part.append(item)
    if part:
        yield part


def in_halves(call: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R]:
    """Call for all items at once; where that is too much, for each half of them.

    Raises:
        ApiError: what one item alone was answered with.
    """
    try:
        return call(items)
    except ApiError as error:
        if error.status_code not in (TOO_LARGE, TOO_MANY) or len(items) == 1:
            raise
    middle = len(items) // 2
    return in_halves(call, items[:middle]) + in_halves(call, items[middle:])
