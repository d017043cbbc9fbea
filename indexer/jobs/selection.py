"""Which documents a job is for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from saferank.errors import ErrorCode
from saferank.indexer.documents import Json
from saferank.mappings import SafetyFields, Status


class Only(StrEnum):
    """Kinds of documents to select."""

    MISSING = "missing"
    """Never scored, or failed for a reason that may have passed."""
    STALE = "stale"
    """Scored by another model."""
    FAILED = "failed"
    """At least one image failed; those that crashed workers are left out."""
    NOT_READ = "not_read"
    """At least one image is of a kind that was not read, as far as the document tells."""
    CHANGED = "changed"
    """Scored for other images than they name now; ``jobs.changed`` finds them."""
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a backfill is for.

    Attributes:
        only: kind of documents.
        query: an Elasticsearch query that they must match too, or None.
    """

    only: Only = Only.MISSING
    query: Json | None = None

    @property
    def name(self) -> str:
        """A short name; the same selection always has the same."""
        if self.query is None or self.only is Only.CHANGED:
            return self.only.value
        text = json.dumps(self.query, sort_keys=True, separators=(",", ":"))
        return f"{self.only.value}.{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def to_query(
        self,
        fields: SafetyFields,
        model: str,
        since: datetime | None = None,
        *,
        failed_before: datetime | None = None,
    ) -> Json:
        """Build the Elasticsearch query.

        Args:
            fields: names of the safety fields.
            model: identity of the model that scores now.
            since: leave out what this model scored at or after this time.
            failed_before: take what failed for a transient reason before this time for not scored;
                None to leave it as it is.
        """
        retried = _failed_for_now(fields, failed_before)
        conditions: list[Json] = [] if self.query is None else [self.query]
        unless: list[Json] = []
        match self.only:
            case Only.MISSING:
                never: Json = {"bool": {"must_not": {"exists": {"field": fields.status}}}}
                conditions.append({"bool": {"should": [never, *retried]}})
            case Only.STALE:
                conditions.append({"exists": {"field": fields.model}})
                unless.append({"term": {fields.model: model}})
            case Only.FAILED:
                conditions.append({"term": {fields.status: Status.FAILED.value}})
                unless.append({"term": {fields.error: ErrorCode.WORKER_LOST.value}})
            case Only.NOT_READ:
                conditions.append(_not_read(fields))
            case Only.CHANGED | Only.ALL:
                pass
        if since is not None:
            unless.append(
                {
                    "bool": {
                        "filter": [
                            {"term": {fields.model: model}},
                            {"range": {fields.scored_at: {"gte": since.isoformat()}}},
                        ],
                        "must_not": retried,
                    }
                }
            )
        return {"bool": {"filter": conditions, "must_not": unless}}


def _failed_for_now(fields: SafetyFields, before: datetime | None) -> list[Json]:
    """What may well succeed now, as a list of one query, or none."""
    if before is None:
        return []
    codes = [code.value for code in ErrorCode if code.transient]
    conditions: list[Json] = [
        {"term": {fields.status: Status.FAILED.value}},
        {"terms": {fields.error: codes}},
        {"range": {fields.scored_at: {"lt": before.isoformat()}}},
    ]
    return [{"bool": {"filter": conditions}}]


def _not_read(fields: SafetyFields) -> Json:
    """Also what an earlier version stored, whose only status for it was ``failed``."""
    kinds: list[Json] = [
        {"term": {fields.status: Status.NOT_READ.value}},
        {"term": {fields.error: ErrorCode.KIND_NOT_READ.value}},
    ]
    return {"bool": {"should": kinds}}
