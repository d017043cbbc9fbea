"""The safety fields of hits: asked for, read, explained, and taken out again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from saferank.mappings.fields import DecidingFields, SafetyFields
from saferank.mappings.paths import places
from saferank.ranker.bodies import Json, as_list
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.states import SCORED, States, state_of

KEY = "saferank"
"""Under this key each hit and each response says what was done and why."""


def deciding_values(hit: Mapping[str, Any], fields: SafetyFields) -> dict[str, Any]:
    """What a level looks at in a hit: from its ``fields`` what is there, the rest from ``_source``.

    All values of a field, as the index has them: a source may spell its path in several ways, with
    lists in it. A hit that has neither looks as if it had no probability.
    """
    found, source = hit.get("fields") or {}, hit.get("_source") or {}
    return {
        key: found[path] if path in found else [at[name] for at, name in places(source, path)]
        for key, path in _layout(fields).paths.items()
    }


def states_of(
    hits: Sequence[Mapping[str, Any]],
    fields: SafetyFields,
    model: str | None = None,
    *,
    in_source: bool | None = None,
) -> States:
    """The states of the documents of hits; the same as of each hit's ``deciding_values``.

    Args:
        hits: N hits, in the form of Elasticsearch.
        fields: names of the safety fields.
        model: identity that a probability must have to count, or None when any counts.
        in_source: True: the ``_source`` is whole, and ``fields`` has only what the application
            asked for. False: ``fields`` has all, and the ``_source`` is not looked at. None:
            whichever a hit has.
    """
    sources = [hit.get("_source") or {} for hit in hits]
    simple = in_source is not False and _one_object(sources, fields)
    values: list[float | None] = [None] * len(hits)
    if simple:
        values = _usual_values(hits, sources, fields.root, model, in_source=bool(in_source))
    codes = bytearray(len(values))
    for number, value in enumerate(values) if None in values else ():
        if value is None:
            hit, record = hits[number], sources[number].get(fields.root, {})
            by_source = simple and fields.matches and (in_source or "fields" not in hit)
            if not by_source or type(record) is not dict:
                record = deciding_values(_seen(hit, in_source), fields)
            values[number], codes[number] = state_of(record, model)
    return States(values, codes)


def _one_object(sources: Sequence[Mapping[str, Any]], fields: SafetyFields) -> bool:
    """Whether in each source one object at its top has all the safety fields that are there."""
    layout = _layout(fields)
    return layout.one_object and layout.dotted.isdisjoint(set().union(*sources))


def _usual_values(
    hits: Sequence[Mapping[str, Any]],
    sources: Sequence[Mapping[str, Any]],
    root: str,
    model: str | None,
    *,
    in_source: bool,
) -> list[float | None]:
    """The probabilities of the usual hits, scored and undecided, in one go; None for all others."""
    values: list[float | None] = []
    for hit, source in zip(hits, sources, strict=True):
        try:
            safety = source[root]
            value = safety["probability"]
            if not (
                type(value) is float
                and 0.0 <= value <= 1.0
                and "override" not in safety
                and ("matched" not in safety or safety["matched"] is None)
                and ("status" not in safety or safety["status"] == SCORED)
                and (model is None or safety["model"] == model)
                and (in_source or "fields" not in hit)
            ):
                value = None
        except (KeyError, TypeError):  # No such object, or none at all.
            value = None
        values.append(value)
    return values


def states_by_category(
    hits: Sequence[Mapping[str, Any]], decision: Decision, *, in_source: bool | None = None
) -> list[States]:
    """What ``Decision.describe`` takes: the states of the documents of hits, for each category."""
    return [
        states_of(hits, one.fields, one.model, in_source=in_source) for one in decision.categories
    ]


def deciding_record(hit: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    """What ``explain`` takes: the ``deciding_values`` of a hit, by category if these have names."""
    records = {one.name: deciding_values(hit, one.fields) for one in decision.categories}
    return records[None] if None in records else {str(name): one for name, one in records.items()}


def _seen(hit: Mapping[str, Any], in_source: bool | None) -> Mapping[str, Any]:
    """The part of a hit in which its safety fields are to be looked for."""
    if in_source is None:
        return hit
    part = "_source" if in_source else "fields"
    return {part: hit.get(part)}


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


_KEYS = ("probability", "model", "status", "override", "matched")


@lru_cache(maxsize=64)
def _layout(fields: SafetyFields) -> _Layout:
    paths = dict(zip(_KEYS, fields.deciding, strict=False))
    one_object = "." not in fields.root and fields.override_root in (None, fields.root)
    return _Layout(paths, frozenset(fields.deciding), one_object)


class HitReader(NamedTuple):
    """Knows where the hits of one request carry their safety fields.

    In their ``_source`` when that says what the index says and the request leaves it whole, which
    costs nothing. Else doc values are asked for, and taken out of the hits afterwards.

    Attributes:
        fields: names of the safety fields.
        in_source: whether the source has them; else doc values have.
        asked: doc values that the application did not ask for itself.
        added: fields that hits have only because of that.
        blind: the safety fields cannot be read: the application has one written in a format of its
            own, or takes parts out of the response.
    """

    fields: DecidingFields
    in_source: bool = True
    asked: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    blind: bool = False

    @classmethod
    def of(cls, body: Json, fields: DecidingFields, *, source_tells: bool = True) -> HitReader:
        """The reader for the hits of a search body.

        Args:
            body: as the application gives it.
            fields: names of the safety fields.
            source_tells: whether a ``_source`` that is whole says what the index says.
        """
        # With fields of scripts a source comes only where it is asked for.
        by_itself = "script_fields" not in body
        has_source = body.get("_source", by_itself) is True and "stored_fields" not in body
        if source_tells and has_source:
            return cls(fields)
        as_values = as_list(body.get("docvalue_fields"))
        if any(_matched(_formatted(as_values), path) for path in fields.deciding):
            return cls(fields, in_source=False, blind=True)
        asked = [path for path in fields.deciding if not _matched(as_values, path)]
        # A value that is asked for in both ways comes as 'fields' has it.
        others = [*as_list(body.get("fields")), *as_list(body.get("stored_fields"))]
        added = [path for path in asked if not _matched(others, path)]
        return cls(fields, in_source=False, asked=tuple(asked), added=tuple(added))

    def request(self, body: Json) -> Json:
        """The body, asking for what is needed."""
        if not self.asked:
            return body
        return {**body, "docvalue_fields": [*(body.get("docvalue_fields") or ()), *self.asked]}

    def describe(self, hits: Sequence[Json], decision: Decision) -> list[Json]:
        """What the decision does to each hit."""
        return decision.describe(states_by_category(hits, decision, in_source=self.in_source))

    def can_read(self, hits: Sequence[Json]) -> bool:
        """Whether the hits have what it reads; an index can be without sources."""
        return not self.in_source or None not in [hit.get("_source") for hit in hits]

    def clean(self, hits: Sequence[Json]) -> None:
        """Take out of the hits what the application did not ask for."""
        for hit in hits if self.added else ():
            found = hit.get("fields")
            if found:
                for path in self.added:
                    found.pop(path, None)
                if not found:
                    del hit["fields"]


def _matched(items: Sequence[Any], path: str) -> bool:
    """Whether a field is among those asked for, by name or by pattern."""
    return any(fnmatchcase(path, _name(item)) for item in items)


def _formatted(items: Sequence[Any]) -> list[Any]:
    return [item for item in items if isinstance(item, dict) and item.get("format") is not None]


def _name(item: Any) -> str:
    return str(item.get("field")) if isinstance(item, dict) else str(item)
