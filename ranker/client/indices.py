"""What an index must have to be searched under a policy, and whether its sources tell the truth.

Without the safety fields nothing would be hidden in an index, and nothing would tell. And hits are
judged by their ``_source``, which costs nothing, only where it says what the index says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from saferank.errors import MappingError, UnsafeRequest, shortened
from saferank.mappings.fields import DecidingFields
from saferank.mappings.template import how_to_install, types_of
from saferank.ranker.bodies import LISTS, Json, as_list, names

# Parameters of a field with which the index has the very values of the source.
_FAITHFUL = names(
    """
    coerce doc_values eager_global_ordinals fields ignore_malformed index meta store
    time_series_dimension time_series_metric type
    """
)


class Target(NamedTuple):
    """What a request reads.

    Attributes:
        names: index expression; None for all indices.
        expand_wildcards: what its patterns reach; None for what they usually do.
        point_in_time: id of one, in the place of an index expression.
    """

    names: str | None = None
    expand_wildcards: str | None = None
    point_in_time: str | None = None


def one_text(names: Any, key: str = "index") -> str | None:
    """Names, given as a list or as one text, as one text; None for none.

    Raises:
        UnsafeRequest: something else is given.
    """
    if names is None:
        return None
    if isinstance(names, str):
        text = names
    elif isinstance(names, LISTS) and all(isinstance(name, str) for name in names):
        text = ",".join(names)
    else:
        raise UnsafeRequest(key, f"names must be text, or a list of texts, not {shortened(names)}")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UnsafeRequest(key, f"{text!r} has half of a character, which no address can have")
    return text or None


def wanted_fields(fields: DecidingFields) -> list[str]:
    """What to ask ``field_caps`` for: the fields that decide, and the objects that they are in."""
    objects = {
        ".".join(parts[:length])
        for parts in (path.split(".") for path in fields.deciding)
        for length in range(1, len(parts))
    }
    return [*fields.deciding, *sorted(objects)]


def check_capabilities(answer: Json, fields: DecidingFields) -> frozenset[str]:
    """See that indices have the safety fields, from an answer of ``field_caps``.

    Returns:
        The names of the indices.

    Raises:
        MappingError: an index lacks a field, has it of another type, or in a nested object.
    """
    indices: list[str] = answer["indices"]
    if not indices:
        return frozenset()
    types = types_of(fields.deciding)
    for path in wanted_fields(fields):
        found = answer["fields"].get(path)
        if path in fields.matches:
            # An index of an earlier mapping has none, and no document in it is matched.
            found = {kind: of for kind, of in (found or {}).items() if kind != "unmapped"}
            if not found:
                continue
        if path in fields.deciding:
            _check_field(path, types[path], found, indices)
        elif found and "nested" in found:
            where = _first(found["nested"], indices)
            raise MappingError(
                f"index {where!r} has {path!r} as 'nested', whose objects are documents of their "
                "own, so nothing could be hidden; name another object as 'field' in the policy"
            )
    return frozenset(indices)


def _check_field(
    path: str, expected: str, found: Mapping[str, Any] | None, indices: list[str]
) -> None:
    for kind, capability in (found or {"unmapped": {}}).items():
        where = _first(capability, indices)
        if kind == "unmapped":
            raise MappingError(
                f"index {where!r} has no field {path!r}, so nothing could be hidden; "
                f"{how_to_install(where, path.rpartition('.')[0])}"
            )
        if kind != expected:
            raise MappingError(
                f"index {where!r} has {path!r} as {kind!r}, and it must be {expected!r}; "
                "name another object as 'field' in the policy, or re-index with the right mapping"
            )
        if not (capability["searchable"] and capability["aggregatable"]):
            raise MappingError(
                f"index {where!r} has {path!r} without an index or doc values; re-index it with "
                "the mapping that 'saferank mapping show' prints"
            )


def _first(capability: Mapping[str, Any], indices: list[str]) -> str:
    """The first index of a capability, which names none when it holds for all."""
    named = capability.get("indices") or indices
    return named if isinstance(named, str) else str(named[0])


def definition_parts(fields: DecidingFields) -> list[str]:
    """As ``filter_path`` of ``indices.get``: all that ``source_tells`` looks at, and no more."""
    tops = sorted({path.split(".")[0] for path in fields.deciding})
    return [
        "*.settings.index.mapping",
        "*.mappings._source",
        "*.mappings.runtime",
        "*.mappings.**.copy_to",
        *(f"*.mappings.properties.{top}*" for top in tops),
    ]


def source_tells(definition: Json, fields: DecidingFields) -> bool:
    """Whether the ``_source`` of a document says what the index has in its safety fields.

    Args:
        definition: of an index, as ``indices.get`` has it.
        fields: names of the safety fields.
    """
    mappings = definition.get("mappings", {})
    settings = definition.get("settings", {}).get("index", {}).get("mapping", {})
    return (
        settings.get("source", {}).get("mode") != "disabled"
        and "ignore_above" not in settings
        and mappings.get("_source", {}).keys() <= {"mode"}
        and mappings.get("runtime", {}).keys().isdisjoint(fields.deciding)
        and set(_copied_to(mappings)).isdisjoint(fields.deciding)
        and all(_is_faithful(mappings, path) for path in fields.deciding)
    )


def _copied_to(mapping: Any) -> Iterator[str]:
    """The fields that are given values of others, anywhere in a mapping."""
    if isinstance(mapping, list):
        for item in mapping:
            yield from _copied_to(item)
    elif isinstance(mapping, dict):
        for name, item in mapping.items():
            if name == "copy_to":
                yield from map(str, as_list(item))
            yield from _copied_to(item)


def _is_faithful(mapping: Json, path: str) -> bool:
    found = _definition(mapping, path)
    return (
        found is not None
        and "type" in found
        and found["type"] != "alias"
        and (found.keys() <= _FAITHFUL)
    )


def _definition(mapping: Json, path: str) -> Json | None:
    """The definition of a field; a name in a mapping may have dots in it."""
    properties: Json = mapping.get("properties", {})
    if path in properties:
        definition: Json = properties[path]
        return definition
    parts = path.split(".")
    for length in range(1, len(parts)):
        parent = properties.get(".".join(parts[:length]))
        if parent is not None:
            return _definition(parent, ".".join(parts[length:]))
    return None
