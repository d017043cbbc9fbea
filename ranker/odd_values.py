"""Values of the safety fields that nobody can read, counted: slips of people and foreign writers.

``level/states`` says what they count as, which is never safe. An index cannot refuse them: a
keyword takes every text, a float every number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from saferank.mappings.fields import SafetyFields
from saferank.ranker.bodies import Json
from saferank.ranker.level.states import ALLOW, BLOCK, FAILED, STATUSES, any_of
from saferank.ranker.level.thresholds import beyond

_SHOWN = 10
"""How many different values of a field are named."""


@dataclass(frozen=True, slots=True)
class OddValue:
    """A value, or a kind of values, that nobody can read.

    Attributes:
        field: full path of the field.
        what: the value in quotes, or what is odd about it.
        documents: how many have it.
        counts_as: how levels take it.
    """

    field: str
    what: str
    documents: int
    counts_as: str

    def __str__(self) -> str:
        documents = "document" if self.documents == 1 else "documents"
        return (
            f"{self.field} {self.what} in {self.documents} {documents}: counts as {self.counts_as}"
        )


def odd_values(client: Elasticsearch, index: str, fields: SafetyFields) -> list[OddValue]:
    """Count, with one request, the values that nobody can read.

    Args:
        client: a plain client.
        index: index, alias or pattern with the safety fields.
        fields: their names.
    """
    response = client.search(index=index, size=0, track_total_hits=False, aggs=_counting(fields))
    found = response["aggregations"]
    return [
        *_named(found["override"], fields.override, repr(BLOCK)),
        *_named(found["status"], fields.status, repr(FAILED)),
        *_filtered(found["beyond"], fields.probability, "outside 0..1", "1"),
        *_filtered(found["ignored"], fields.root, "with a malformed value", "without it"),
    ]


def _counting(fields: SafetyFields) -> Json:
    def others(field: str, known: tuple[str, ...]) -> Json:
        return {"terms": {"field": field, "exclude": list(known), "size": _SHOWN}}

    return {
        "override": others(fields.override, (ALLOW, BLOCK)),
        "status": others(fields.status, STATUSES),
        "beyond": {"filter": any_of(beyond(fields.probability))},
        "ignored": {"filter": {"terms": {"_ignored": list(fields.deciding)}}},
    }


def _named(found: Mapping[str, Any], field: str, counts_as: str) -> Iterator[OddValue]:
    for bucket in found["buckets"]:
        yield OddValue(field, repr(bucket["key"]), bucket["doc_count"], counts_as)
    if rest := found["sum_other_doc_count"]:
        yield OddValue(field, "of other unknown values", rest, counts_as)


def _filtered(
    found: Mapping[str, Any], field: str, what: str, counts_as: str
) -> Iterator[OddValue]:
    if documents := found["doc_count"]:
        yield OddValue(field, what, documents, counts_as)
