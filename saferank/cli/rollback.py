"""``saferank rollback``: go back to the index that an alias led to before a reindex."""

from __future__ import annotations

from typing import Annotated

import typer

from saferank.cli.extras import needs_extra
from saferank.cli.holding import hold
from saferank.cli.pace import Chunk, InFlight, Rate, Slices, make_pace
from saferank.cli.reindex import LongestBlock, Sample, is_complete, run_reindex
from saferank.connection import clear_errors, connect
from saferank.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(rollback)


def rollback(
    index: Annotated[str, typer.Argument(help="The alias that was moved, or its index.")],
    sample: Sample = 1000,
    longest_block: LongestBlock = 30.0,
    slices: Slices = 1,
    rate: Rate = None,
    in_flight: InFlight = None,
    chunk: Chunk = None,
) -> None:
    """Move an alias back to its index before 'saferank reindex', keeping what was written since.

    Exits with 1 when it was cancelled, and when documents did not get their score.
    """
    with needs_extra("indexer"):
        from saferank.indexer.jobs.records import Jobs
        from saferank.indexer.jobs.selection import Selection
        from saferank.indexer.reindex.start import start_rollback
        from saferank.indexer.reindex.steps import Limits
        from saferank.indexer.worker.resources import job_of

    settings = get_settings()
    pace = make_pace(settings, slices=slices, rate=rate, in_flight=in_flight, chunk=chunk)
    wanted = job_of(settings, index, Selection(), pace)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        jobs = Jobs(client, settings.indexer.jobs_index)
        job = hold(jobs, lambda: start_rollback(client, jobs, wanted))
        job = run_reindex(client, settings, jobs, job, Limits(sample, longest_block))
    if not is_complete(job):
        raise typer.Exit(1)
