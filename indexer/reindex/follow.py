"""Bringing the new index up to date with the old one, again and again, until the aliases move."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from elasticsearch import Elasticsearch

from saferank.indexer.bulk.changes import changed, checkpoints, whole_source
from saferank.indexer.documents import Json
from saferank.indexer.jobs.records import Pace
from saferank.indexer.reindex.copier import Copier
from saferank.indexer.reindex.progress import Phase, Tracker
from saferank.indexer.reindex.writes import Writes

log = logging.getLogger(__name__)


class Follower:
    """Copies what changed in the old index, and removes what was deleted there.

    Args:
        client: connected.
        source: the old index.
        target: the new index.
        copier: writes into the new index.
        tracker: counts what is copied.
        writes: limits the time while the old index refuses them.
        pace: how fast to copy while it accepts them.
    """

    def __init__(
        self,
        client: Elasticsearch,
        source: str,
        target: str,
        copier: Copier,
        tracker: Tracker,
        writes: Writes,
        pace: Pace,
    ) -> None:
        self._client = client
        self._source = source
        self._target = target
        self._copier = copier
        self._tracker = tracker
        self._writes = writes
        self._pace = pace

    @cached_property
    def source_filter(self) -> Json | bool:
        """What to ask the old index for as ``_source``."""
        return whole_source(self._client, self._source)

    def copy_changes(self) -> int:
        """Copy all that was written to the old index since the last time.

        Returns:
            The number of documents copied.
        """
        self._tracker.phase = Phase.COPYING
        reached = checkpoints(self._client, self._source)
        self._client.indices.refresh(index=self._source)
        before = self._tracker.copied
        with ThreadPoolExecutor(self._pace.slices) as pool:
            for _ in pool.map(self._copy_shard, reached, reached.values()):
                pass
        if not self._writes.refused:
            self._tracker.note()
        return self._tracker.copied - before

    def _copy_shard(self, shard: str, upto: int) -> None:
        after = self._tracker.cursor(shard)
        for page in changed(
            self._client, self._source, shard, after, upto, source=self.source_filter
        ):
            self._writes.check_block()
            self._copier.write(page.hits)
            self._tracker.advance(shard, page.cursor, len(page.hits))
            if self._pace.rate is not None and not self._writes.refused:
                time.sleep(len(page.hits) / self._pace.rate)

    def remove_deleted(self) -> None:
        """Remove from the new index what is no longer in the old one."""
        self._tracker.phase = Phase.COMPARING_IDS
        self._client.indices.refresh(index=[self._source, self._target])

        def check() -> None:
            self._writes.check_block()
            self._tracker.keep_up()

        removed = self._copier.remove_deleted(slices=self._pace.slices, check=check)
        if removed:
            log.info("removed %d documents from %s that were deleted", removed, self._target)
