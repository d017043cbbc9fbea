"""The chunks of a job: written before they are queued, completed by the workers.

From them a job knows what is in flight and what came out, whoever queued it and whatever crashed
since; and a worker knows that a chunk that comes again is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from dataclasses import field as default
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from elasticsearch import Elasticsearch

from saferank.errors import ErrorCode, ServiceUnavailable
from saferank.indexer.documents import Json
from saferank.indexer.jobs.jobs_index import Kind
from saferank.indexer.jobs.records import JobState
from saferank.indexer.score.report import Outcome, Report, SideCount

# What waits goes on in a chunk of its own, and is counted there.
_COUNTED = [name for name in (*Outcome, *SideCount) if name is not Outcome.WAITING]
_MOST_REASONS = 10


@dataclass(frozen=True, slots=True)
class Tally:
    """A job's chunks, summed up.

    Attributes:
        in_flight: chunks not yet finished.
        finished: chunks finished.
        counts: documents by outcome, see ``score.report``.
        failures: failed documents by error code.
    """

    in_flight: int = 0
    finished: int = 0
    counts: Mapping[str, int] = default(default_factory=dict)
    failures: Mapping[str, int] = default(default_factory=dict)

    @property
    def documents(self) -> int:
        """Documents that are settled, one way or another."""
        return sum(self.counts.get(outcome, 0) for outcome in Outcome if outcome.is_settled)


@dataclass(frozen=True, slots=True)
class ChunkOfJob:
    """What a task knows of the job that it works for; travels in its message.

    Attributes:
        job: the job's id.
        since: the job's ``started_at``, as text.
        chunk: the chunk's own id.
        field: object that the scores go into.
        model: identity of the model to score with.
        image_field: source field with the image references; empty in a message of an earlier
            version, which did not say.
        others: of further categories, the object and the identity of the model.
    """

    job: str
    since: str
    chunk: str
    field: str
    model: str
    image_field: str = ""
    others: Mapping[str, str] = default(default_factory=dict)

    @property
    def scores(self) -> Mapping[str, str]:
        """The objects that scores go into, each with the identity of its model."""
        return {self.field: self.model, **self.others}

    def part(self, name: str) -> ChunkOfJob:
        """A chunk of its own for some of this chunk's documents; the same one each time."""
        return replace(self, chunk=f"{self.chunk}.{name}")

    def rest(self) -> ChunkOfJob:
        """A chunk for what there was no time for; its id does not grow when that has a rest too."""
        before, _, number = self.chunk.rpartition(".rest")
        if before and number.isdecimal():
            return replace(self, chunk=f"{before}.rest{int(number) + 1}")
        return self.part("rest1")

    def to_json(self) -> dict[str, Any]:
        """The form in which it travels; earlier versions know of no ``others``."""
        values = asdict(self)
        if not self.others:
            del values["others"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ChunkOfJob:
        """Read it from a message; what a newer version says beside is left out."""
        return cls(**{name: values[name] for name in _FIELDS & values.keys()})

    @staticmethod
    def unknown_in(values: Mapping[str, Any]) -> set[str]:
        """What a newer version says beside."""
        return values.keys() - _FIELDS


_FIELDS = frozenset(one.name for one in fields(ChunkOfJob))


class Ledger:
    """The chunks of all jobs, in the index of the job records.

    Args:
        client: connected.
        index: that of the job records; must exist.
    """

    def __init__(self, client: Elasticsearch, index: str) -> None:
        self._client = client
        self._index = index

    def open(self, chunks: Sequence[tuple[ChunkOfJob, int]]) -> None:
        """Note chunks, with their numbers of documents, before they are queued.

        A chunk that is noted already stays as it is.
        """
        operations: list[Json] = []
        for chunk, documents in chunks:
            operations += [
                {"create": {"_id": _id(chunk)}},
                {
                    "kind": Kind.CHUNK.value,
                    "job": chunk.job,
                    "since": chunk.since,
                    "done": False,
                    "documents": documents,
                },
            ]
        if operations:
            answer = self._client.bulk(index=self._index, operations=operations)
            for item in answer["items"]:
                (result,) = item.values()
                if result["status"] not in (201, 409):
                    raise ServiceUnavailable(
                        f"Elasticsearch does not take a note of a chunk: {result['error']}"
                    )

    def forget_chunk(self, chunk: ChunkOfJob) -> None:
        """Delete the note of a chunk that was not queued after all."""
        self._client.options(ignore_status=404).delete(index=self._index, id=_id(chunk))

    def wanted(self, chunk: ChunkOfJob) -> bool:
        """Whether a chunk is to be worked on: neither finished nor given up nor cancelled."""
        chunk_note, job = self._client.mget(index=self._index, ids=[_id(chunk), chunk.job])["docs"]
        return (
            chunk_note.get("found", False)
            and not chunk_note["_source"]["done"]
            and job.get("found", False)
            and job["_source"]["state"] != JobState.CANCELLED
        )

    def close(self, chunk: ChunkOfJob, report: Report) -> None:
        """Note what became of a chunk."""
        counts = {name.value: report.counts[name] for name in _COUNTED if report.counts[name]}
        reasons = list(report.rejected.items())[:_MOST_REASONS]
        self._client.options(ignore_status=404).update(
            index=self._index,
            id=_id(chunk),
            retry_on_conflict=3,
            doc={
                "done": True,
                "at": datetime.now(UTC).isoformat(),
                "counts": counts,
                "failures": dict(report.failures),
                "rejected": {key.id: reason for key, reason in reasons},
            },
        )

    def tally(self, job: str, since: str) -> Tally:
        """Sum up a job's chunks as they are at this moment."""
        self._client.indices.refresh(index=self._index)
        sums = [f"counts.{name}" for name in _COUNTED] + [f"failures.{code}" for code in ErrorCode]
        answer = self._client.search(
            index=self._index,
            size=0,
            query=_of(job, since),
            track_total_hits=True,
            aggs={
                "open": {"filter": {"term": {"done": False}}},
                **{path: {"sum": {"field": path}} for path in sums},
            },
        )
        found = answer["aggregations"]
        in_flight: int = found["open"]["doc_count"]

        def summed(prefix: str, names: Iterable[StrEnum]) -> dict[str, int]:
            values = {name.value: int(found[f"{prefix}.{name}"]["value"]) for name in names}
            return {name: value for name, value in values.items() if value}

        return Tally(
            in_flight,
            answer["hits"]["total"]["value"] - in_flight,
            summed("counts", _COUNTED),
            summed("failures", ErrorCode),
        )

    def reasons(self, job: str, since: str, most: int = _MOST_REASONS) -> dict[str, str]:
        """Some of the documents that could not be stored, with Elasticsearch's reasons."""
        some = {"range": {f"counts.{Outcome.REJECTED}": {"gt": 0}}}
        query = {"bool": {"filter": [_of(job, since), some]}}
        hits = self._client.search(index=self._index, query=query, size=most)["hits"]["hits"]
        found: dict[str, str] = {}
        for hit in hits:
            found |= hit["_source"].get("rejected", {})
        return dict(list(found.items())[:most])

    def forget(self, job: str, *, open_only: bool = False) -> int:
        """Delete a job's chunks, or those not finished; a worker passes over them then."""
        query: dict[str, Any] = {"bool": {"filter": [{"term": {"kind": Kind.CHUNK.value}}]}}
        query["bool"]["filter"].append({"term": {"job": job}})
        if open_only:
            query["bool"]["filter"].append({"term": {"done": False}})
        forgotten = 0
        while True:
            self._client.indices.refresh(index=self._index)
            hits = self._client.search(index=self._index, query=query, size=1000, source=False)[
                "hits"
            ]["hits"]
            if not hits:
                return forgotten
            self._client.bulk(
                index=self._index, operations=[{"delete": {"_id": hit["_id"]}} for hit in hits]
            )
            forgotten += len(hits)


def _id(chunk: ChunkOfJob) -> str:
    return f"chunk.{chunk.job}.{chunk.chunk}"


def _of(job: str, since: str) -> dict[str, Any]:
    return {
        "bool": {
            "filter": [
                {"term": {"kind": Kind.CHUNK.value}},
                {"term": {"job": job}},
                {"term": {"since": since}},
            ]
        }
    }
