"""``saferank reindex``: replace a live index by a new one, or go back to the one before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from saferank.cli.extras import needs_extra
from saferank.cli.files import read_json_object
from saferank.cli.holding import hold
from saferank.cli.output import make_console, say
from saferank.cli.pace import Chunk, InFlight, Rate, Slices, make_pace
from saferank.connection import clear_errors, connect
from saferank.settings import Settings, get_settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from saferank.indexer.jobs.records import Job, Jobs
    from saferank.indexer.reindex.steps import Limits


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(reindex)


Sample = Annotated[int, typer.Option(min=0, max=10_000, help="Documents to compare.")]
LongestBlock = Annotated[
    float, typer.Option(min=1, help="Seconds for which writes may be refused at the end.")
]


def reindex(
    index: Annotated[str, typer.Argument(help="The index, or an alias that leads to it alone.")],
    into: Annotated[
        str, typer.Option(help="Copy to this new index, score it, and move the alias to it.")
    ],
    alias: Annotated[
        list[str] | None,
        typer.Option(help="An alias to move; when INDEX is one, all of its index."),
    ] = None,
    definition: Annotated[
        Path | None,
        typer.Option(help="JSON file with the new index's settings and mappings."),
    ] = None,
    sample: Sample = 1000,
    longest_block: LongestBlock = 30.0,
    slices: Slices = 1,
    rate: Rate = None,
    in_flight: InFlight = None,
    chunk: Chunk = None,
) -> None:
    """Replace a live index with a new one, without losing a write; undone by rollback.

    Run the same command again to resume it. Exits with 1 when it was cancelled, or when documents
    of the new index did not get their score.
    """
    with needs_extra("indexer"):
        from saferank.indexer.jobs.records import Jobs
        from saferank.indexer.jobs.selection import Selection
        from saferank.indexer.reindex.start import start_reindex
        from saferank.indexer.reindex.steps import Limits
        from saferank.indexer.worker.resources import job_of

    settings = get_settings()
    pace = make_pace(settings, slices=slices, rate=rate, in_flight=in_flight, chunk=chunk)
    wanted = job_of(settings, index, Selection(), pace, into=into)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        jobs = Jobs(client, settings.indexer.jobs_index)
        new = None if definition is None else read_definition(definition)
        job = hold(
            jobs,
            lambda: start_reindex(client, jobs, wanted, aliases=alias or (), definition=new),
        )
        job = run_reindex(client, settings, jobs, job, Limits(sample, longest_block))
    if not is_complete(job):
        raise typer.Exit(1)


def is_complete(job: Job) -> bool:
    """Whether a reindex came to its end, and every document of the new index has its score."""
    from saferank.indexer.jobs.records import JobState
    from saferank.indexer.reindex.progress import Progress

    return job.state is not JobState.CANCELLED and not Progress.of(job).unscored


def read_definition(path: Path) -> dict[str, Any]:
    """Read the file with the settings and mappings of a new index.

    Raises:
        typer.BadParameter: it is not a JSON object.
        ConfigurationError: it says something else than settings and mappings.
    """
    from saferank.indexer.reindex.definition import parse_definition

    return parse_definition(read_json_object(path, "the definition of an index"), str(path))


def run_reindex(
    client: Elasticsearch,
    settings: Settings,
    jobs: Jobs,
    job: Job,
    limits: Limits | None = None,
) -> Job:
    """Run a reindex that this process holds, say what it is doing, and print its end."""
    from saferank.indexer.brokers import check_broker
    from saferank.indexer.reindex.steps import Limits, Reindex
    from saferank.indexer.worker.app import create_app

    app = create_app(settings)
    check_broker(app)
    console = make_console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(job.id, total=None)

        def report(now: Job, phase: str, copied: int) -> None:
            progress.update(bar, description=f"{now.id}: {phase}, {copied:,} copied")

        job = Reindex(
            client, app, settings, jobs, job, limits=limits or Limits(), report=report
        ).run()
    say(f"{job.id} is {job.state}: {job.note}")
    return job
