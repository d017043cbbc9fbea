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
from saferank.indexer.reindex.aliases import aliases_of, indices_of
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
        aliases: those to move; if there are none and ``index`` is an alias, all of the old index.
        definition: ``settings`` and ``mappings`` of the new index that differ from the old one's.

    Raises:
        JobError: another producer runs it, or a name does not fit.
    """
    if job.into is None:
        raise ValueError("the job is not a reindex")
    led_to = indices_of(client, job.index)
    if len(led_to) != 1:
        raise JobError(
            f"alias {job.index!r} leads to {len(led_to)} indices; name the one to replace"
        )
    (source,) = led_to
    if source == job.into:
        aliases = aliases or [job.index]
        source = _source_of_unfinished(jobs, job)
    else:
        aliases = _moving(client, source, aliases, all_of_them=source != job.index)
        _check_open(client, job)
    progress = Progress(aliases=list(dict.fromkeys(aliases)), definition=definition or {})
    return jobs.acquire(replace(job, index=source, progress=progress.to_record()))


def _moving(
    client: Elasticsearch, source: str, named: Sequence[str], *, all_of_them: bool
) -> Sequence[str]:
    """The aliases to move.

    Raises:
        JobError: some would stay on the old index, which gets no more writes then.
    """
    there = aliases_of(client, source)
    if not named:
        return there if all_of_them else ()
    if left := [alias for alias in there if alias not in named]:
        raise JobError(
            f"index {source!r} also has the aliases {', '.join(left)}, which would go on leading "
            "to it; name each with --alias, or name none and start from an alias to move all"
        )
    return named


def _check_open(client: Elasticsearch, job: Job) -> None:
    """See that the new index, if it is there, was not closed by the rollback from it.

    Raises:
        JobError: it was.
    """
    assert job.into is not None
    if not index_exists(client, job.into):
        return
    found = client.indices.get_settings(index=job.into, name="index.blocks.write")
    for name, entry in found.items():
        blocks = entry["settings"].get("index", {}).get("blocks", {})
        if str(blocks.get("write")) == "true":
            raise JobError(
                f"index {name!r} is closed for writes since the move back from it; 'saferank "
                f"rollback {job.index}' leads to it again, or delete it to copy again"
            )


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
