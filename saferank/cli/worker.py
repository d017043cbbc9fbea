"""``saferank worker``: a Celery worker that scores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from saferank.cli.extras import needs_extra
from saferank.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(worker)


def worker(
    queues: Annotated[
        str, typer.Option(help="What to work on: fresh, backfill, or both with a comma.")
    ] = "fresh,backfill",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Child processes; one a core if not given.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics there.")
    ] = None,
    metrics_address: Annotated[str, typer.Option(help="Address to serve them at.")] = "127.0.0.1",
) -> None:
    """Run a worker until it is told to stop (Ctrl-C, or SIGTERM: it finishes its tasks)."""
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
    ]
    if concurrency is not None:
        arguments += ["--concurrency", str(concurrency)]
    with _metrics(metrics_address, metrics_port):
        with needs_extra("indexer"):
            from saferank.indexer.brokers import check_broker
            from saferank.indexer.worker.celery import app as celery_app

        check_broker(celery_app)
        celery_app.worker_main(arguments)


@contextmanager
def _metrics(address: str, port: int | None) -> Iterator[None]:
    """Serve the figures of the worker that runs inside, and of its children."""
    if port is None:
        yield
        return
    with needs_extra("indexer"), TemporaryDirectory(prefix="saferank-metrics-") as folder:
        # The metrics look at it when they are first imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        from saferank.indexer.operate.exporter import start_exporter

        exporter = start_exporter(Path(folder), address, port)
        try:
            yield
        finally:
            exporter.terminate()
            exporter.wait()
