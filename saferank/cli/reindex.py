"""What ``saferank backfill --into`` and ``--rollback`` do; ``saferank jobs resume`` goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from saferank.errors import ConfigurationError
from saferank.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from saferank.indexer.jobs.records import Job, Jobs
    from saferank.indexer.reindex.steps import Limits


def read_definition(path: Path | None) -> dict[str, Any] | None:
    """Read the file with the settings and mappings of a new index.

    Raises:
        ConfigurationError: it cannot be read, or is not such a file.
    """
    from saferank.indexer.reindex.definition import parse_definition

    if path is None:
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: not JSON: {error}") from error
    return parse_definition(value, str(path))


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
    console = Console()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(job.id, total=None)

        def report(now: Job, phase: str, copied: int) -> None:
            progress.update(bar, description=f"{now.id}: {phase}, {copied:,} copied")

        job = Reindex(
            client, app, settings, jobs, job, limits=limits or Limits(), report=report
        ).run()
    end = f"{job.id} is {job.state}: {job.note}"
    console.print(end, markup=False, highlight=False, soft_wrap=True)
    return job
