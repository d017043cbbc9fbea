"""The safety fields of hits, wherever a hit carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from saferank.mappings.fields import SafetyFields
from saferank.ranker.level.states import SCORED, States, state_of


def record_of(hit: Mapping[str, Any], fields: SafetyFields) -> dict[str, Any]:
    """The safety fields of a hit: from its ``fields`` where they are there, else its ``_source``.

    A hit that was asked for neither looks as if it had no probability.
    """
    paths = _layout(fields).paths
    found = hit.get("fields")
    if found and any(path in found for path in paths.values()):
        return {key: found.get(path) for key, path in paths.items()}
    source = hit.get("_source") or {}
    return {key: _lookup(source, path.split(".")) for key, path in paths.items()}


def states_of(
    hits: Sequence[Mapping[str, Any]],
    fields: SafetyFields,
    model: str | None = None,
    *,
    in_source: bool = False,
) -> States:
    """The states of the documents of hits; the same as of each hit's ``record_of``.

    Args:
        hits: N hits, in the form of Elasticsearch.
        fields: names of the safety fields.
        model: identity that a probability must have to count, or None when any counts.
        in_source: the ``_source`` is whole; ``fields`` has only what the application asked for.
    """
    root, layout = fields.root, _layout(fields)
    sources = [hit.get("_source") or {} for hit in hits]
    simple = layout.one_object and layout.dotted.isdisjoint(set().union(*sources))
    # The usual hit in one go: scored, undecided, with its safety object in the source.
    values: list[float | None] = [
        value
        if simple
        and type(safety := source.get(root)) is dict
        and type(value := safety.get("probability")) is float
        and value == value
        and "override" not in safety
        and ((status := safety.get("status")) is None or status == SCORED)
        and (model is None or safety.get("model") == model)
        and (in_source or "fields" not in hit)
        else None
        for hit, source in zip(hits, sources, strict=True)
    ]
    codes = bytearray(len(values))
    for number, value in enumerate(values):
        if value is None:
            hit, record = hits[number], sources[number].get(root, {})
            if not simple or type(record) is not dict or not (in_source or "fields" not in hit):
                record = record_of({"_source": hit.get("_source")} if in_source else hit, fields)
            values[number], codes[number] = state_of(record, model)
    return States(values, codes)


class _Layout(NamedTuple):
    """Where documents have their safety fields.

    Attributes:
        paths: what a record's keys are called in a document.
        dotted: the same names, as keys that a source can have with dots in them.
        one_object: whether one object at the top of the source has all of them.
    """

    paths: dict[str, str]
    dotted: frozenset[str]
    one_object: bool


@lru_cache(maxsize=64)
def _layout(fields: SafetyFields) -> _Layout:
    paths = dict(zip(("probability", "model", "status", "override"), fields.deciding, strict=True))
    one_object = "." not in fields.root and fields.override_root in (None, fields.root)
    return _Layout(paths, frozenset(fields.deciding), one_object)


def _lookup(value: Any, path: Sequence[str]) -> Any:
    """The value at a path of a source, whose keys may have dots in them; None if there is none."""
    if not path:
        return value
    if not isinstance(value, Mapping):
        return None
    for end in range(1, len(path) + 1):
        key = ".".join(path[:end])
        if key in value and (found := _lookup(value[key], path[end:])) is not None:
            return found
    return None
