"""What failed in a job for good: counted in the index, with an image of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from elasticsearch import Elasticsearch

from saferank.errors import ErrorCode
from saferank.indexer.documents import Json
from saferank.indexer.jobs.records import Job
from saferank.indexer.score.report import FailedImage
from saferank.mappings.fields import SafetyFields
from saferank.mappings.paths import value_at
from saferank.mappings.record import Status, StoredRecord


@dataclass(frozen=True, slots=True)
class Failures:
    """Documents that failed.

    Attributes:
        documents: how many.
        by_code: how many by error code; of several categories, in each.
        examples: an image of each code.
    """

    documents: int
    by_code: Mapping[str, int]
    examples: tuple[FailedImage, ...]


def failures_that_lasted(client: Elasticsearch, job: Job) -> Failures:
    """Count failures in the index: some were tried again since the workers reported them.

    Args:
        client: connected.
        job: that is done.
    """
    queries = {
        name: _failed_since(SafetyFields(name), model, job.started_at)
        for name, model in job.scores.items()
    }
    codes = {
        name: {
            "filter": query,
            "aggs": {
                "codes": {
                    "terms": {"field": SafetyFields(name).error, "size": len(ErrorCode)},
                    "aggs": {
                        "first": {"top_hits": {"size": 1, "_source": SafetyFields(name).images}}
                    },
                }
            },
        }
        for name, query in queries.items()
    }
    client.indices.refresh(index=job.index)
    answer = client.search(
        index=job.index,
        size=0,
        query={"bool": {"should": [*queries.values()]}},
        aggs=codes,
        track_total_hits=True,
    )
    failures = Counter[str]()
    examples: dict[str, FailedImage] = {}
    for name in queries:
        for bucket in answer["aggregations"][name]["codes"]["buckets"]:
            failures[bucket["key"]] += bucket["doc_count"]
            for image in _failed_images(bucket["first"]["hits"]["hits"], name, bucket["key"]):
                examples.setdefault(image.code, image)
    return Failures(
        answer["hits"]["total"]["value"],
        # A plain dict: dataclasses.asdict makes nonsense of a Counter.
        dict(failures),
        tuple(examples[code] for code in sorted(examples)),
    )


def _failed_images(hits: list[Json], name: str, code: str) -> Iterator[FailedImage]:
    """Images of documents that failed with this code, as the object of that name says."""
    for hit in hits:
        stored = value_at(hit.get("_source"), name)
        for image in StoredRecord(stored if isinstance(stored, dict) else {}).images:
            if image.error is not None and image.error == code:
                yield FailedImage.of(hit["_id"], image, image.error)


def _failed_since(fields: SafetyFields, model: str, since: datetime) -> Json:
    conditions: list[Json] = [
        {"term": {fields.status: Status.FAILED.value}},
        {"term": {fields.model: model}},
        {"range": {fields.scored_at: {"gte": since.isoformat()}}},
    ]
    return {"bool": {"filter": conditions}}
