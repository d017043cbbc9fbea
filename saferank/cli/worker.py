"""``saferank worker``: a Celery worker that scores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from saferank.cli.extras import needs_extra
from saferank.cli.output import warn
from saferank.settings import get_settings

if TYPE_CHECKING:
    from celery import Celery


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(worker)


def worker(
    queues: Annotated[
        str, typer.Option(help="Queues to serve: fresh, backfill, or both with a comma.")
    ] = "fresh,backfill",
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Child processes.", show_default="one for each usable core"),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Lowest level to log.")
    ] = "info",
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics there.")
    ] = None,
    metrics_address: Annotated[str, typer.Option(help="Address to serve them at.")] = "127.0.0.1",
) -> None:
    """Run a worker until Ctrl-C or SIGTERM; it then finishes its tasks.

    Exits with 1 when it ends for another reason. If the broker is down, it waits.
    """
    settings = get_settings()
    names = {
        "fresh": settings.indexer.fresh_queue,
        "backfill": settings.indexer.backfill_queue,
    }
    chosen = [name.strip() for name in queues.split(",")]
    if unknown := [name for name in chosen if name not in names]:
        raise typer.BadParameter(f"there is no queue {unknown[0]!r}", param_hint="--queues")
    arguments = [
        "worker",
        "--queues",
        ",".join(names[name] for name in chosen),
        "--loglevel",
        log_level,
        # Names must differ between workers of one machine: they are asked what they hold.
        "--hostname",
        f"saferank-{os.getpid()}@%h",
        "--without-gossip",
        "--without-mingle",
        "--concurrency",
        "auto" if concurrency is None else str(concurrency),
    ]
    with _metrics(metrics_address, metrics_port):
        with needs_extra("indexer"):
            from saferank.indexer.brokers import check_broker
            from saferank.indexer.operate.logs import configure_logging
            from saferank.indexer.worker.celery import app as celery_app
            from saferank.indexer.worker.resources import model_identities

        if settings.log_format == "json":  # What keeps it from starting is a line of it, too.
            configure_logging(log_level.upper(), json=True)
        model_identities(get_settings())  # what is missing is said here, not by each task
        check_broker(celery_app)
        status = _run(celery_app, arguments)
    if status:
        raise typer.Exit(status)


def _run(app: Celery, arguments: list[str]) -> int:
    """Run Celery's worker and give its exit status, which ``worker_main`` keeps to itself."""
    from celery.signals import worker_init

    workers: list[Any] = []

    def note(sender: Any, **_: object) -> None:
        workers.append(sender)

    worker_init.connect(note)
    run: Any = app.worker_main  # it does return, whatever its type says
    run(arguments)
    return int(workers[0].exitcode or 0) if workers else 1


@contextmanager
def _metrics(address: str, port: int | None) -> Iterator[None]:
    """Serve the figures of the worker that runs inside, and of its children."""
    if port is None:
        yield
        return
    with needs_extra("indexer"), TemporaryDirectory(prefix="saferank-metrics-") as folder:
        from saferank.indexer.operate.figures import FOLDER, has_room

        if not has_room(Path(folder)):
            warn(f"there is no room for metrics in {folder}; the worker runs without")
            yield
            return
        # The metrics look at it when they are first imported.
        os.environ[FOLDER] = folder
        from saferank.indexer.operate.exporter import start_exporter

        exporter = start_exporter(Path(folder), address, port)
        try:
            yield
        finally:
            exporter.terminate()
            exporter.wait()
