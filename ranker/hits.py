"""The safety fields of hits: asked for, read, explained, and taken out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from saferank.mappings.fields import SafetyFields
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.verdicts import Rule
from saferank.ranker.records import states_of

Json = dict[str, Any]

KEY = "saferank"
"""Under this key each hit and each response says what was done and why."""


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
