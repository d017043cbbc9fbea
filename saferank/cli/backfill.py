"""``saferank backfill``: have the workers score the documents of an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from saferank.cli.extras import needs_extra
from saferank.cli.holding import hold
from saferank.cli.indices import check_ready
from saferank.cli.options import AsJson, parse_query, settings_about
from saferank.cli.output import make_console, print_json, say
from saferank.cli.pace import Chunk, InFlight, Rate, Slices, Waiting, make_pace
from saferank.connection import clear_errors, connect
from saferank.indexer.score.report import Outcome, SideCount
from saferank.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from saferank.indexer.jobs.ledger import Tally
    from saferank.indexer.jobs.records import Job, Jobs


_LOOKED_AT = (Outcome.SCORED, Outcome.FAILED, Outcome.NOT_READ)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(backfill)


def backfill(
    index: Annotated[str, typer.Argument(help="Index, alias or pattern.")],
    only: Annotated[
        Literal["missing", "stale", "failed", "not_read", "changed", "all"],
        typer.Option(
            help="missing: never scored, or failed for now; stale: scored by another model; "
            "failed; not_read: of kinds that were not read; changed: with other images now; or all."
        ),
    ] = "missing",
    query: Annotated[
        str | None, typer.Option(help="An Elasticsearch query as JSON that must match too.")
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(help="Score for this category alone; scores of others stay."),
    ] = None,
    slices: Slices = 1,
    rate: Rate = None,
    in_flight: InFlight = None,
    chunk: Chunk = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many, and how long it would take.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score the documents of an index through the workers, and stay until it is done.

    Run the same command again to resume it. Exits with 1 when documents are left, images failed, or
    it was cancelled. Images of kinds that are not read do not count as failed.
    """
    parsed = parse_query(query)
    if only == "changed" and (parsed is not None or dry_run):
        raise typer.BadParameter("'changed' takes neither --query nor --dry-run")
    with needs_extra("indexer"):
        from saferank.indexer.jobs.records import Jobs
        from saferank.indexer.jobs.selection import Only, Selection
        from saferank.indexer.worker.resources import job_of

    settings = settings_about(category)
    pace = make_pace(settings, slices=slices, rate=rate, in_flight=in_flight, chunk=chunk)
    wanted = job_of(settings, index, Selection(Only(only), parsed), pace)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        jobs = Jobs(client, settings.indexer.jobs_index)
        check_ready(client, index, settings)
        if wanted.selection.only is Only.CHANGED:
            _run_changed(client, settings, jobs, wanted, as_json=as_json)
            return
        if dry_run:
            _print_estimate(client, settings, jobs, wanted, as_json=as_json)
            return
        job = hold(jobs, lambda: jobs.acquire(wanted))
        job = run_backfill(client, settings, jobs, job, as_json=as_json)
    if not job.complete:
        raise typer.Exit(1)


def _run_changed(
    client: Elasticsearch, settings: Settings, jobs: Jobs, wanted: Job, *, as_json: bool
) -> None:
    """Look at all documents, and score those whose images changed, some at a time."""
    from saferank.indexer.jobs.changed import take_up

    job = hold(jobs, lambda: take_up(client, settings, jobs, wanted, anew=True))
    if job is None:
        say("no document has other images than it was scored for", make_console(stderr=as_json))
    complete = True
    while job is not None:
        job = run_backfill(client, settings, jobs, job, as_json=as_json)
        complete = complete and job.complete
        if job.state == "cancelled":
            break
        job = take_up(client, settings, jobs, wanted)
    if not complete:
        raise typer.Exit(1)


def run_backfill(
    client: Elasticsearch, settings: Settings, jobs: Jobs, job: Job, *, as_json: bool = False
) -> Job:
    """Run a backfill that this process holds, with a progress bar, and print its end."""
    from saferank.indexer.brokers import check_broker
    from saferank.indexer.jobs.backfill import Backfill
    from saferank.indexer.worker.app import create_app

    app = create_app(settings)
    check_broker(app)
    console = make_console(stderr=True)
    waiting = Waiting(app)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(job.id, total=job.total or None, rate="")

        def report(now: Job, tally: Tally) -> None:
            why = waiting.reason(tally.documents) if now.state == "running" else ""
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(
                bar,
                description=f"{now.id} ({now.state})",
                total=now.total or None,
                completed=tally.documents,
                rate=why or (f"{speed:.0f}/s, {tally.in_flight} in flight" if speed else ""),
            )

        job = Backfill(client, app, settings, jobs, job, report=report).run()
    show_job(job, as_json=as_json)
    return job


def show_job(job: Job, *, as_json: bool = False) -> None:
    """Print a job as a table, or for programs."""
    if as_json:
        print_json(job.summary())
        return
    table = Table(show_header=False)
    table.add_row("job", job.id)
    table.add_row("state", job.state + ("" if job.owner is None else f", run by {job.owner}"))
    for model in job.scores.values():
        table.add_row("model", model)
    table.add_row("started", job.started_at.isoformat(timespec="seconds"))
    if job.finished_at is not None:
        table.add_row("took", str(job.finished_at - job.started_at).split(".")[0])
    table.add_row("walks through the index", str(job.passes))
    labels = {
        Outcome.SCORED: "scored",
        Outcome.NO_IMAGE: "without an image",
        Outcome.FAILED: "failed",
        Outcome.NOT_READ: "of kinds not read",
        Outcome.SKIPPED: "skipped (done meanwhile)",
        Outcome.MISSING: "deleted meanwhile",
        Outcome.REJECTED: "not stored",
        SideCount.UNCHANGED: "nothing new to store",
        SideCount.INFERRED: "images through the model",
        SideCount.CONFLICTS: "conflicts resolved",
        SideCount.ALLOWED_BEFORE: "allowed by a person for other images",
    }
    for outcome, label in labels.items():
        if outcome in job.counts or outcome is Outcome.SCORED:
            table.add_row(label, f"{job.counts.get(outcome, 0):,}")
        if outcome is Outcome.FAILED:
            for code, count in sorted(job.failures.items()):
                table.add_row(f"  {code}", f"{count:,}")
    if job.left:
        table.add_row("left", f"{job.left:,}")
    if job.note:
        table.add_row("note", job.note)
    make_console().print(table, markup=False)
    for image in job.examples:
        say(f"such as {image}")


def _print_estimate(
    client: Elasticsearch, settings: Settings, jobs: Jobs, wanted: Job, *, as_json: bool
) -> None:
    """Print how many documents a job would do, and how long by the speed of the last one."""
    from saferank.indexer.jobs.remaining import count_left

    left = count_left(client, wanted)
    if as_json:
        print_json({"job": wanted.id, "documents": left})
        return
    say(f"{left:,} documents match")
    # Of the same index if there is one, and a long one: a short job's speed is that of its start.
    ended = [
        (job.index == wanted.index, done, done / seconds, job.id)
        for job in jobs.all()
        if job.finished_at is not None
        and (seconds := (job.finished_at - job.started_at).total_seconds()) > 0
        and (done := sum(job.counts.get(outcome, 0) for outcome in _LOOKED_AT))
    ]
    if ended:
        *_, speed, name = max(ended)
        say(f"about {_duration(left / speed)} at {speed:.0f} documents a second, as {name}")
    else:
        speed = _model_speed(settings)
        say(
            f"about {_duration(left / speed)} for each worker process that is as fast as "
            f"this one ({speed:.0f} images a second, without fetching); divide by their number"
        )


def _duration(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} hours"


def _model_speed(settings: Settings) -> float:
    """Images a second of one process here."""
    import time

    import numpy as np
    from PIL import Image

    from saferank.models import load_model

    model = load_model(settings.model)
    blob = model.preprocess(Image.new("RGB", (256, 256)))
    blobs = np.stack([blob] * settings.indexer.batch_size)
    model.probabilities(blobs)
    start = time.perf_counter()
    model.probabilities(blobs)
    return len(blobs) / (time.perf_counter() - start)
