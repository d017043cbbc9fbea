"""Finding documents whose images changed after they were scored, and whose task was lost.

Such a document carries the score of another picture. A query cannot compare what it names now
with what was scored, so the index's changes are followed: each document is read once after each
of its writes, and the job's record keeps how far that went.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from elasticsearch import Elasticsearch

from saferank.indexer.bulk.changes import NOTHING_YET, changed, checkpoints
from saferank.indexer.documents import Json
from saferank.indexer.jobs.records import Job, Jobs, JobState
from saferank.indexer.jobs.selection import Only, Selection
from saferank.mappings.fields import SafetyFields
from saferank.mappings.paths import value_at, values_at
from saferank.mappings.record import StoredRecord, reference_name
from saferank.settings import Settings

MOST_READ = 100_000
"""Documents that one sweep reads, so that it is over soon."""
_MOST_FOUND = 1_000


@dataclass
class _Walk:
    """How far the changes were followed.

    Attributes:
        cursors: uuid of an index -> shard -> number of the last write that was read.
        read: documents read now.
        found: ids of those whose images changed.
    """

    cursors: dict[str, dict[str, int]]
    read: int = 0
    found: list[str] = field(default_factory=list)


def take_up(
    client: Elasticsearch,
    settings: Settings,
    jobs: Jobs,
    wanted: Job,
    *,
    anew: bool = False,
    most: int | None = None,
) -> Job | None:
    """Hold a job for the next documents whose images changed, or the one that was interrupted.

    Args:
        client: connected.
        settings: names of fields.
        jobs: the records.
        wanted: a job with ``Only.CHANGED``.
        anew: look at all documents again, and not only at those written since the last time.
        most: documents to read at most.

    Returns:
        The job, for ``Backfill`` to run; None when there is nothing to do, or it is paused.

    Raises:
        JobError: another producer runs it.
    """
    existing = jobs.find(wanted.id)
    if existing is not None and not existing.state.finished:
        if existing.state is JobState.PAUSED and not anew:
            return None
        return jobs.acquire(replace(wanted, selection=existing.selection))
    before = {} if existing is None or anew else existing.progress.get("cursors", {})
    every = [SafetyFields(name) for name in wanted.scores]
    walk = _follow(client, every, settings.image_field, wanted.index, before, most)
    ids = {"ids": {"values": walk.found}}
    job = jobs.acquire(
        replace(
            wanted,
            selection=Selection(Only.CHANGED, ids),
            progress={"cursors": walk.cursors},
            total=len(walk.found),
        )
    )
    if walk.found:
        return job
    jobs.beat(job, state=JobState.DONE, owner=None, finished_at=datetime.now(UTC))
    return None


def _follow(
    client: Elasticsearch,
    every: Sequence[SafetyFields],
    image_field: str,
    name: str,
    before: Mapping[str, Mapping[str, int]],
    most: int | None,
) -> _Walk:
    """Read what was written since, until enough is read or found."""
    needed = [image_field, *(path for each in every for path in (each.status, each.images))]
    walk = _Walk({})
    entries = client.indices.get_settings(index=name, name="index.uuid")
    for index, entry in entries.items():
        uuid = entry["settings"]["index"]["uuid"]
        cursors = walk.cursors[uuid] = dict(before.get(uuid, {}))
        reached = checkpoints(client, index)
        client.indices.refresh(index=index)
        for shard, upto in reached.items():
            after = cursors.get(shard, NOTHING_YET)
            for page in changed(client, index, shard, after, upto, source={"includes": needed}):
                walk.found += [
                    hit["_id"]
                    for hit in page.hits
                    if any(
                        is_outdated(hit.get("_source", {}), fields, image_field) for fields in every
                    )
                ]
                walk.read += len(page.hits)
                cursors[shard] = page.cursor
                if len(walk.found) >= _MOST_FOUND or (most is not None and walk.read >= most):
                    return replace(walk, cursors={**_of(before), **walk.cursors})
    return walk


def is_outdated(source: Json, fields: SafetyFields, image_field: str) -> bool:
    """Whether a document was scored for other images than it names now."""
    stored: Any = value_at(source, fields.root)
    if not isinstance(stored, Mapping) or stored.get("status") is None:
        return False
    scored = [image.reference for image in StoredRecord(stored).images]
    return scored != [reference_name(one) for one in values_at(source, image_field)]


def _of(cursors: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {uuid: dict(shards) for uuid, shards in cursors.items()}
