"""The safety fields of hits: asked for, read, explained, and taken out again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from saferank.mappings.fields import SafetyFields
from saferank.mappings.paths import value_at
from saferank.ranker.bodies import Json
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.states import SCORED, States, state_of
from saferank.ranker.level.verdicts import Rule

KEY = "saferank"
"""Under this key each hit and each response says what was done and why."""


def deciding_values(hit: Mapping[str, Any], fields: SafetyFields) -> dict[str, Any]:
    """What a level looks at in a hit: from its ``fields`` where they are there, else ``_source``.

    A hit that was asked for neither looks as if it had no probability.
    """
    paths = _layout(fields).paths
    found = hit.get("fields")
    if found and any(path in found for path in paths.values()):
        return {key: found.get(path) for key, path in paths.items()}
    source = hit.get("_source") or {}
    return {key: value_at(source, path) for key, path in paths.items()}


def states_of(
    hits: Sequence[Mapping[str, Any]],
    fields: SafetyFields,
    model: str | None = None,
    *,
    in_source: bool = False,
) -> States:
    """The states of the documents of hits; the same as of each hit's ``deciding_values``.

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
        and 0 <= value <= 1
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
                seen = {"_source": hit.get("_source")} if in_source else hit
                record = deciding_values(seen, fields)
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


@dataclass(frozen=True, slots=True)
class HitReader:
    """Knows where the hits of one request carry their safety fields.

    In their ``_source`` when the request leaves it whole, which costs nothing. Else doc values are
    asked for, and taken out of the hits afterwards.

    Attributes:
        fields: names of the safety fields.
        in_source: whether the source has them; else doc values have.
        asked: doc values that the application did not ask for itself.
    """

    fields: SafetyFields
    in_source: bool = True
    asked: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Json, fields: SafetyFields) -> HitReader:
        """The reader for the hits of a search body."""
        if body.get("_source", True) is True and "stored_fields" not in body:
            return cls(fields)
        patterns = [_name(item) for item in body.get("docvalue_fields") or ()]
        asked = [
            path
            for path in fields.deciding
            if not any(fnmatchcase(path, name) for name in patterns)
        ]
        return cls(fields, in_source=False, asked=tuple(asked))

    def request(self, body: Json) -> Json:
        """The body, asking for what is needed."""
        if not self.asked:
            return body
        return {**body, "docvalue_fields": [*(body.get("docvalue_fields") or ()), *self.asked]}

    def describe(self, hits: Sequence[Json], decision: Decision) -> list[Json]:
        """What the decision does to each hit."""
        states = states_of(hits, self.fields, decision.model, in_source=self.in_source)
        return list(decision.describe(states))

    def unsure(self, hits: Sequence[Json], told: Sequence[Json]) -> list[int]:
        """Places of hits that look unscored and may not be.

        An index can leave fields out of its sources; one that shows the probability of any of its
        documents does not.
        """
        if not self.in_source:
            return []
        unscored = [
            place
            for place, item in enumerate(told)
            if item["probability"] is None and item["rule"] == Rule.UNSCORED
        ]
        if not unscored:
            return []
        pairs = zip(hits, told, strict=True)
        seen = {hit["_index"] for hit, item in pairs if item["probability"] is not None}
        return [place for place in unscored if hits[place]["_index"] not in seen]

    def clean(self, hits: Sequence[Json]) -> None:
        """Take out of the hits what the application did not ask for."""
        for hit in hits if self.asked else ():
            found = hit.get("fields")
            if found:
                for path in self.asked:
                    found.pop(path, None)
                if not found:
                    del hit["fields"]


def _name(item: Any) -> str:
    return str(item.get("field")) if isinstance(item, dict) else str(item)
