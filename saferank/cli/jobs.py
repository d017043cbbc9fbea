"""``saferank jobs``: what backfills and reindexes there are; pausing, resuming, cancelling them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from saferank.cli.backfill import run_backfill, show_job
from saferank.cli.extras import needs_extra
from saferank.cli.holding import hold
from saferank.cli.options import AsJson
from saferank.cli.output import make_console, print_json, say
from saferank.cli.reindex import is_complete, run_reindex
from saferank.connection import clear_errors, connect
from saferank.settings import Settings, get_settings

if TYPE_CHECKING:
    from saferank.indexer.jobs.records import Jobs

_jobs = typer.Typer(
    help="Backfills and reindexes: see, pause, resume, cancel.", no_args_is_help=True
)

Id = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, from 'saferank jobs list'.")]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_jobs, name="jobs")


@contextmanager
def _records() -> Iterator[tuple[Settings, Jobs]]:
    with needs_extra("indexer"):
        from saferank.indexer.jobs.records import Jobs

    settings = get_settings()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        yield settings, Jobs(client, settings.indexer.jobs_index)


@_jobs.command("list")
def list_jobs(
    state: Annotated[
        Literal["running", "paused", "cancelled", "done"] | None,
        typer.Option(help="Only jobs of this state."),
    ] = None,
    ended: Annotated[
        bool, typer.Option("--ended", help="Also the earlier runs of jobs that were started again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print all jobs, the newest first."""
    with _records() as (_, jobs):
        runs = [*jobs.all(), *(jobs.ended() if ended else ())]
    found = [job for job in runs if state in (None, job.state.value)]
    if as_json:
        print_json([job.summary() for job in found])
        return
    table = Table("job", "state", "started", "documents", "left", "failed", "producer")
    for job in found:
        producer = "" if job.owner is None else job.owner + ("" if job.alive else " (gone)")
        started = job.started_at.isoformat(sep=" ", timespec="seconds")
        counted = (f"{number:,}" for number in (job.total, job.left, job.failed))
        table.add_row(job.id, job.state, started, *counted, producer)
    make_console().print(table)


@_jobs.command()
def show(id: Id, as_json: AsJson = False) -> None:
    """Print one job and its progress."""
    from dataclasses import replace

    from saferank.indexer.jobs.ledger import Ledger

    with _records() as (_, jobs):
        job = jobs.get(id)
        if not job.state.finished:
            tally = Ledger(jobs.client, jobs.index).tally(job.id, job.started_at.isoformat())
            job = replace(job, counts=tally.counts, failures=tally.failures)
    show_job(job, as_json=as_json)


@_jobs.command()
def pause(id: Id) -> None:
    """Let a job finish what is in flight and then wait."""
    from saferank.indexer.jobs.records import JobState

    with _records() as (_, jobs):
        jobs.ask(id, JobState.PAUSED)
    say(f"{id} pauses; resume it with 'saferank jobs resume {id}'")


@_jobs.command()
def cancel(id: Id) -> None:
    """End a job; what is scored stays scored."""
    from saferank.indexer.jobs.records import JobState

    with _records() as (_, jobs):
        jobs.ask(id, JobState.CANCELLED)
    say(f"{id} is cancelled")


@_jobs.command()
def resume(id: Id) -> None:
    """Resume a paused job; when its producer is gone, run it here.

    Exits then as ``saferank backfill`` or ``saferank reindex`` does.
    """
    from saferank.indexer.jobs.records import JobHeld, JobState

    with _records() as (settings, jobs):
        asked = jobs.ask(id, JobState.RUNNING)
        try:
            job = hold(jobs, lambda: jobs.acquire(asked))
        except JobHeld as held:
            say(f"{id} resumes, run by {held.job.owner}")
            return
        if job.into is not None:
            complete = is_complete(run_reindex(jobs.client, settings, jobs, job))
        else:
            complete = run_backfill(jobs.client, settings, jobs, job).complete
        if not complete:
            raise typer.Exit(1)
