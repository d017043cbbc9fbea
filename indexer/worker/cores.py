"""How many threads a process may score with, so that all children together take no core twice."""

from __future__ import annotations

from typing import Any

from celery.concurrency.solo import TaskPool as SoloPool
from celery.signals import worker_init
from celery.utils.sysinfo import cpu_budget  # type: ignore[attr-defined]  # not in the stubs

from saferank.settings import IndexerSettings

# The worker that this process is, or is a child of; known from before the fork.
_worker: Any = None


@worker_init.connect
def _note(sender: Any, **_: object) -> None:
    global _worker
    _worker = sender


def threads(settings: IndexerSettings) -> int:
    """Threads of this process that decode images and run nets.

    As many as the settings say, but a worker's process has no more than its share of the cores that
    the worker may use, by affinity and by its control group's quota.
    """
    if _worker is None:
        return settings.threads
    return min(settings.threads, share(cpu_budget().count, children(_worker)))


def children(worker: Any) -> int:
    """How many tasks a Celery worker works on at once, at most."""
    pool = worker.pool_cls
    if isinstance(pool, type) and issubclass(pool, SoloPool):
        return 1
    return max(int(worker.concurrency), int(getattr(worker, "max_concurrency", None) or 0))


def share(cores: int, children: int) -> int:
    """A child's share of some cores.

    >>> [share(8, children) for children in (1, 3, 8, 20)]
    [8, 2, 1, 1]
    """
    return max(1, cores // children)
