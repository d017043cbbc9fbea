"""Values at a dotted path of a document's source: read, put, removed.

A source may spell a path with nested objects, with dots in its keys (``{"media.url": …}``), or with
both, and any part of it may be a list. Elasticsearch takes all of these for the same field.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any


def places(
    source: object, path: str, *, through_lists: bool = True
) -> Iterator[tuple[dict[str, Any], str]]:
    """Where a path leads in a source.

    Yields:
        The object that holds the last key, and that key.
    """
    if isinstance(source, list):
        for item in source if through_lists else ():
            yield from places(item, path)
    elif isinstance(source, dict):
        dot = path.find(".")
        while dot >= 0:
            if (key := path[:dot]) in source:
                yield from places(source[key], path[dot + 1 :], through_lists=through_lists)
            dot = path.find(".", dot + 1)
        if path in source:
            yield source, path


def values_at(source: object, path: str) -> Iterator[Any]:
    """All values of a field in a source, in order; nulls and blank strings are no values."""
    for parent, key in places(source, path):
        yield from _leaves(parent[key])


def value_at(source: object, path: str) -> Any:
    """The first value of a field that is not null, as it stands; None if there is none.

    A list is given whole, and none is followed on the way.
    """
    for parent, key in places(source, path, through_lists=False):
        if parent[key] is not None:
            return parent[key]
    return None


def list_on_the_way(source: object, path: str) -> str | None:
    """The part of a path at which a source has a list, if it has one.

    There is no one object at such a path, and an update that puts one there replaces the list.
    """
    parts = path.split(".")
    for length in range(1, len(parts) + 1):
        for parent, key in places(source, ".".join(parts[:length]), through_lists=False):
            if isinstance(parent[key], list):
                return ".".join(parts[:length])
    return None


def remove_at(source: dict[str, Any], path: str) -> None:
    """Take a field out of a source, however it is spelled there; what is in lists stays."""
    for parent, key in list(places(source, path, through_lists=False)):
        del parent[key]


def put_at(source: dict[str, Any], path: str, values: Mapping[str, Any]) -> None:
    """Add values to the object at a path, which is made where there is none."""
    place = next(
        (
            parent[key]
            for parent, key in places(source, path, through_lists=False)
            if isinstance(parent[key], dict)
        ),
        None,
    )
    if place is None:
        place = source
        for name in path.split("."):
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
    place |= copy.deepcopy(dict(values))


def nested(path: str, value: Any) -> Any:
    """The value inside one object for each part of the path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def _leaves(value: object) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None and not (isinstance(value, str) and not value.strip()):
        yield value
