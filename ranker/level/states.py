"""What state a document is in, once as Elasticsearch queries and once as numbers.

=========  =====================================================================================
allowed    a person decided that it is shown; nothing else counts
blocked    a person decided that it is not; nothing else but the level's ``blocked`` counts
           (either may be said of the document, or of copies of its images, which is its match;
           what is said of the document itself comes first)
failed     an image of it has no probability (it may still have one, of its other images)
not_read   an image of it has none because it is of a kind that is not read; may be failed as well
no_image   it has no image
unscored   it has no probability that counts, and no status says why
=========  =====================================================================================

A probability counts unless the policy names a model and the document was scored by another.

Nothing checks what others write into the fields. What nobody can read is never read as safe: a
decision that is not ``allow`` blocks, a status that is none of ``Status`` counts as failed, and a
probability outside 0..1 as 1. Of several values those count that are known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saferank.mappings.fields import SafetyFields
from saferank.mappings.float32 import as_float32_list
from saferank.mappings.overrides import Overrides
from saferank.mappings.record import Override, Status
from saferank.ranker.bodies import Query
from saferank.ranker.level.level import Level, Treatment
from saferank.ranker.level.thresholds import Interval, beyond

STATES = {
    "unscored": 1,
    "failed": 2,
    "not_read": 4,
    "no_image": 8,
    "allowed": 16,
    "blocked": 32,
}
"""The states that are told apart, each with its bit in ``States.codes``."""

# As plain text, which is what hits have and what compares fastest.
ALLOW, BLOCK = (override.value for override in Override)
SCORED, *UNUSUAL = STATUSES = tuple(status.value for status in Status)
FAILED = Status.FAILED.value


def any_of(conditions: Sequence[Query]) -> Query:
    """Documents that meet at least one of the conditions (one or more)."""
    if len(conditions) == 1:
        return conditions[0]
    return {"bool": {"should": list(conditions)}}


def none_of(conditions: Sequence[Query]) -> Query:
    """Documents that meet none of the conditions (one or more), in as few queries as it takes."""
    clauses: Query = {}
    for condition in conditions:
        parts = condition.get("bool", {})
        # What must not lack a probability stays so: an ``exists`` as a filter finds nothing in an
        # index where that is not mapped, and then nothing fails there (see ``unmapped_fails``).
        if parts.keys() == {"should"}:
            clauses.setdefault("must_not", []).extend(parts["should"])
        else:
            clauses.setdefault("must_not", []).append(condition)
    return {"bool": clauses}


@dataclass(frozen=True)
class StateQueries:
    """Queries that match documents by their state.

    Args:
        fields: names of the safety fields.
        model: identity that a probability must have to count, or None when any counts.
        overrides: those kept outside of the documents, or None when there are none.
    """

    fields: SafetyFields
    model: str | None = None
    overrides: Overrides | None = None

    def in_range(self, interval: Interval | None) -> list[Query]:
        """Queries of which a document matches one if its probability counts and is in there."""
        if interval is None:
            return []
        return [self._counting(query) for query in interval.queries(self.fields.probability)]

    @property
    def beyond(self) -> Query:
        """Documents whose probability counts, and counts as 1, since it lies outside 0..1."""
        return self._counting(any_of(beyond(self.fields.probability)))

    @property
    def scored(self) -> Query:
        """Documents with a probability that counts."""
        return self._counting(_exists(self.fields.probability))

    def status(self, *values: str) -> Query:
        """Documents with one of these statuses (one or more); unknown ones count as failed."""
        named = self._status_among(values)
        if FAILED not in values:
            return named
        others = self._status_among([status for status in STATUSES if status not in values])
        unknown = {"bool": {"filter": [_exists(self.fields.status)], "must_not": [others]}}
        return any_of([named, unknown])

    def _status_among(self, values: Sequence[str]) -> Query:
        if len(values) == 1:
            return {"term": {self.fields.status: values[0]}}
        return {"terms": {self.fields.status: list(values)}}

    @property
    def allowed(self) -> list[Query]:
        """Queries of which a document matches one if it is allowed; it may be blocked as well."""
        return [self.override(ALLOW), *self._allowed_by_match]

    @property
    def blocked(self) -> list[Query]:
        """Queries of which a document matches one if a person has decided and not allowed it."""
        overridden = _exists(self.fields.override)
        other = {"bool": {"filter": [overridden], "must_not": [self.override(ALLOW)]}}
        by_match: list[Query] = [
            {"bool": {"filter": [self._matched()], "must_not": [overridden, allowed]}}
            for allowed in self._allowed_by_match
        ]
        return [self.override(BLOCK), other, *by_match]

    @property
    def _allowed_by_match(self) -> list[Query]:
        """One query for what copies alone allow, or none where matches do not count."""
        if not self.fields.matches:
            return []
        unless = [self._matched(BLOCK), _exists(self.fields.override)]
        return [{"bool": {"filter": [self._matched(ALLOW)], "must_not": unless}}]

    def _matched(self, value: str | None = None) -> Query:
        matched = self.fields.matched
        return _exists(matched) if value is None else {"term": {matched: value}}

    @property
    def blocked_elsewhere(self) -> list[Query]:
        """Queries, one an index, for documents blocked outside of them, whatever they say."""
        return blocked_in({} if self.overrides is None else self.overrides.blocked)

    @property
    def unmapped_fails(self) -> Query:
        """No document; but an index in which the probability is not mapped fails on it.

        There nothing else would match, so that nothing would be hidden and nothing would tell. Of
        all queries without a script this one asks most cheaply for a field that no document needs.
        """
        nothing = {"terms": ["saferank"], "minimum_should_match_field": self.fields.probability}
        return {"terms_set": {self.fields.status: nothing}}

    def treated(self, level: Level, treatment: Treatment, *thresholds: Query) -> list[Query]:
        """Clauses of which a document matches one if the level treats it so.

        Args:
            level: the level.
            treatment: the treatment of the unusual states to look for.
            thresholds: clauses for probabilities that the level treats the same way.
        """
        conditions = [*thresholds, *self.unusual(level, treatment)]
        clauses = [self.undecided(*conditions)] if conditions else []
        return [*clauses, *self.blocked] if level.blocked is treatment else clauses

    def unusual(self, level: Level, treatment: Treatment) -> list[Query]:
        """Conditions that the level treats so in documents that no person has decided about."""
        states = level.treats(treatment)
        statuses = [status for status in UNUSUAL if status in states]
        conditions = [self.status(*statuses)] if statuses else []
        if "unscored" in states:
            others = [status for status in UNUSUAL if status not in states]
            accounted = [self.status(*others)] if others else []
            conditions.append({"bool": {"must_not": [self.scored, *accounted]}})
        return conditions

    @property
    def decided(self) -> Query:
        """Documents that a person has decided about."""
        return any_of(self._decided)

    @property
    def _decided(self) -> list[Query]:
        overridden = _exists(self.fields.override)
        return [overridden, self._matched()] if self.fields.matches else [overridden]

    def undecided(self, *conditions: Query) -> Query:
        """Documents that meet one of the conditions and that no person has decided about."""
        return {"bool": {"filter": [any_of(conditions)], "must_not": self._decided}}

    def override(self, value: str) -> Query:
        """Documents with this decision, among others if there are several."""
        return {"term": {self.fields.override: value}}

    def _counting(self, query: Query) -> Query:
        if self.model is None:
            return query
        return {"bool": {"filter": [query, {"term": {self.fields.model: self.model}}]}}


def blocked_in(blocked: Mapping[str, Sequence[str]]) -> list[Query]:
    """Queries, one an index, for documents by id; by name of an index, as ``Overrides.blocked``."""
    return [
        {"bool": {"filter": [{"term": {"_index": name}}, {"terms": {"_id": list(ids)}}]}}
        for name, ids in blocked.items()
    ]


def _exists(field: str) -> Query:
    return {"exists": {"field": field}}


@dataclass(frozen=True)
class States:
    """The states of N documents.

    Attributes:
        values: N probabilities as they count: as the documents have them if they lie in 0..1,
            else 1; None where there is none that counts.
        codes: N sums of bits of ``STATES``; 0 for the usual document, scored and undecided.
    """

    values: list[float | None]
    codes: bytearray

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]], model: str | None = None) -> States:
        """Read states from records with the keys of ``deciding_values``.

        Args:
            records: one a document. A key may be missing, null, a value, or a list of values, as
                hits have them. A probability that is no number counts as none.
            model: identity that a probability must have to count, or None when any counts.
        """
        states = [state_of(record, model) for record in records]
        return cls([value for value, _ in states], bytearray(code for _, code in states))

    @property
    def probabilities(self) -> list[float]:
        """N probabilities as the engine has them: rounded to float32, NaN for None."""
        return as_float32_list([math.nan if value is None else value for value in self.values])


def state_of(record: Mapping[str, Any], model: str | None) -> tuple[float | None, int]:
    """The value and the code in ``States`` of one document; see ``States.of``."""
    value = _probability(record, model)
    return value, _code(record, scored=value is not None)


def _code(row: Mapping[str, Any], *, scored: bool) -> int:
    status = _values(row.get("status"))
    override = _values(row.get("override")) or _values(row.get("matched"))
    code = 0
    for name in UNUSUAL:
        if name in status:
            code |= STATES[name]
    if status and not code and SCORED not in status:
        code = STATES["failed"]
    if not (code or scored):
        code = STATES["unscored"]
    # A document with both decisions is blocked: the query side sees it so, too.
    if override:
        allowed = ALLOW in override and BLOCK not in override
        code |= STATES["allowed" if allowed else "blocked"]
    return code


def _values(value: Any) -> list[Any]:
    """The values of a field as the engine takes them: lists in lists are one, null is none."""
    if isinstance(value, list):
        return [leaf for item in value for leaf in _values(item)]
    return [] if value is None else [value]


def _probability(row: Mapping[str, Any], model: str | None) -> float | None:
    """The highest value, as the engine takes it, or None; 1 if one lies outside 0..1."""
    if model is not None and model not in _values(row.get("model")):
        return None
    values = map(_number, _values(row.get("probability")))
    numbers = [number for number in values if number is not None]
    if not numbers:
        return None
    highest = max(numbers)
    if min(numbers) >= 0 and highest <= 1:
        return highest
    # What rounds to 0 or 1 is stored so.
    inside = all(0 <= stored <= 1 for stored in as_float32_list(numbers))
    return highest if inside else 1.0


def _number(value: Any) -> float | None:
    """A number, or text of one; the engine keeps no other value in a float field."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    except OverflowError:  # As a text of it would be.
        return math.inf if value > 0 else -math.inf
    return None if math.isnan(number) else number
