"""Starting a reindex or a rollback, or taking up one that was interrupted.

Both give a job that this process holds, for ``steps.Reindex`` to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from elasticsearch import Elasticsearch

from saferank.connection import index_exists
from saferank.errors import JobError
from saferank.indexer.documents import Json
from saferank.indexer.jobs.records import Job, Jobs, JobState
from saferank.indexer.reindex.aliases import indices_of
from saferank.indexer.reindex.progress import Progress


def start_reindex(
    client: Elasticsearch,
    jobs: Jobs,
    job: Job,
    *,
    aliases: Sequence[str] = (),
    definition: Json | None = None,
) -> Job:
    """Take hold of a reindex, new or interrupted.

    Args:
        client: connected.
        jobs: the records.
        job: its ``index`` is an index or an alias of one, its ``into`` the new index.
        aliases: those to move; if there are none and ``index`` is an alias, that one.
        definition: ``settings`` and ``mappings`` of the new index that differ from the old one's.

    Raises:
        JobError: another producer runs it, or a name does not fit.
    """
    if job.into is None:
        raise ValueError("the job is no reindex")
    led_to = indices_of(client, job.index)
    if len(led_to) != 1:
        raise JobError(
            f"alias {job.index!r} leads to {len(led_to)} indices; name the one to replace"
        )
    (source,) = led_to
    if not aliases and source != job.index:
        aliases = [job.index]
    if source == job.into:
        source = _source_of_unfinished(jobs, job)
    progress = Progress(aliases=list(dict.fromkeys(aliases)), definition=definition or {})
    return jobs.acquire(replace(job, index=source, progress=progress.to_record()))


def _source_of_unfinished(jobs: Jobs, job: Job) -> str:
    """The old index of a reindex that moved the aliases, and was interrupted before its end."""
    for found in jobs.all():
        if found.into == job.into and not found.state.finished:
            return found.index
    raise JobError(f"{job.index!r} leads to {job.into!r} already")


def start_rollback(client: Elasticsearch, jobs: Jobs, job: Job) -> Job:
    """Take hold of the rollback to the index that an alias led to before, new or interrupted.

    Args:
        client: connected.
        jobs: the records.
        job: its ``index`` is the alias, or the index that it leads to.

    Raises:
        JobError: no reindex led there, or the old index is gone.
    """
    last = _last_move(jobs, indices_of(client, job.index))
    if last is None:
        raise JobError(f"there is nothing to go back to from {job.index!r}: no reindex led there")
    progress = Progress.of(last)
    if progress.rollback and not last.state.finished:
        # The aliases are back already; what is left is to score the rest.
        return jobs.acquire(replace(job, index=last.index, into=last.into))
    if not index_exists(client, last.index):
        raise JobError(f"the old index {last.index!r} is gone; there is nothing to go back to")
    if not last.state.finished:
        # Its aliases have moved; only the scoring that was left ends here.
        jobs.ask(last.id, JobState.CANCELLED)
    assert last.into is not None
    rollback = Progress(
        aliases=progress.aliases, rollback=True, cursors=progress.rollback_cursors
    ).to_record()
    return jobs.acquire(replace(job, index=last.into, into=last.index, progress=rollback))


def _last_move(jobs: Jobs, indices: Sequence[str]) -> Job | None:
    """The job that last moved aliases to one of these indices."""

    def moved_at(job: Job) -> str:
        return Progress.of(job).moved_at or ""

    return max(
        (
            found
            for found in jobs.all()
            if found.into in indices and moved_at(found) and Progress.of(found).aliases
        ),
        key=moved_at,
        default=None,
    )
