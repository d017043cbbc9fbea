"""Refusing writes to the old index for the moment in which the aliases move.

A refused write is answered with 403 (``cluster_block_exception``), and the writer tries again.
The record notes the block before it begins. So, whatever crashes, the index is opened again: by
the same reindex when it resumes, or by the next sweep.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from elasticsearch import Elasticsearch

from saferank.indexer.jobs.records import Jobs
from saferank.indexer.reindex.aliases import moved
from saferank.indexer.reindex.progress import Progress, Tracker

log = logging.getLogger(__name__)


class BlockTooLong(Exception):
    """Writes were refused for as long as they may be."""


class Writes:
    """Whether the old index takes writes.

    Args:
        client: connected.
        index: the old index.
        tracker: notes that writes are refused.
        longest_block: seconds for which they may be.
    """

    def __init__(
        self, client: Elasticsearch, index: str, tracker: Tracker, *, longest_block: float
    ) -> None:
        self._client = client
        self._index = index
        self._tracker = tracker
        self._longest_block = longest_block
        self._refused_since: float | None = None

    @property
    def refused(self) -> bool:
        """Whether this process refuses them now."""
        return self._refused_since is not None

    @property
    def block_seconds(self) -> float:
        """For how long it has refused them."""
        return 0.0 if self._refused_since is None else time.monotonic() - self._refused_since

    def check_block(self) -> None:
        """Keep to the longest block.

        Raises:
            BlockTooLong: writes were refused for that long.
        """
        if self.block_seconds > self._longest_block:
            raise BlockTooLong

    @contextmanager
    def refuse(self) -> Iterator[None]:
        """Refuse writes; at the end accept them, unless ``blocked`` is no longer noted."""
        self._tracker.note(blocked=True)
        self._refused_since = time.monotonic()
        try:
            # Answers when all writes that were under way are done.
            self._client.indices.add_block(index=self._index, block="write")
            yield
        finally:
            self._refused_since = None
            self.accept()

    def accept(self) -> None:
        """Accept writes again, if it is this reindex that refuses them."""
        if self._tracker.progress.blocked:
            accept_writes(self._client, self._index)
            self._tracker.note(blocked=False)


def accept_writes(client: Elasticsearch, index: str) -> None:
    """Let an index take writes again."""
    client.indices.put_settings(index=index, settings={"index.blocks.write": None})


def open_abandoned(client: Elasticsearch, jobs: Jobs) -> list[str]:
    """Let indices take writes again whose reindex crashed while it refused them.

    Returns:
        The names of these indices.
    """
    opened = []
    for job in jobs.all():
        progress = Progress.of(job)
        if job.into is None or not progress.blocked or jobs.lives(job):
            continue
        if not moved(client, job.index, job.into, progress.aliases):
            # The producer, should it live after all, sees that the job is no longer its own.
            jobs.beat(job, owner=None, progress=replace(progress, blocked=False).to_record())
            accept_writes(client, job.index)
            log.warning("index %s takes writes again; its reindex %s is gone", job.index, job.id)
            opened.append(job.index)
    return opened
