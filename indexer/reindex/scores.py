"""The scores that the new index lacks: the workers add them, in a backfill of its own."""

from __future__ import annotations

import time

from celery import Celery
from elasticsearch import Elasticsearch

from saferank.errors import JobError
from saferank.indexer.documents import Json
from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.lease import Lease
from saferank.indexer.jobs.records import LEASE, Job, Jobs, JobState
from saferank.indexer.jobs.selection import Only, Selection
from saferank.indexer.reindex.progress import Phase, Tracker
from saferank.mappings.fields import SafetyFields
from saferank.settings import Settings


class Scores:
    """Has the workers score the copies that came without a score by the wanted model.

    Args:
        client: connected.
        app: sends the tasks that score.
        settings: names of queues and fields.
        jobs: the records.
        index: the new index.
        lease: on the reindex.
        tracker: keeps the record of the reindex up to date meanwhile.
    """

    def __init__(
        self,
        client: Elasticsearch,
        app: Celery,
        settings: Settings,
        jobs: Jobs,
        index: str,
        lease: Lease,
        tracker: Tracker,
    ) -> None:
        self._client = client
        self._app = app
        self._settings = settings
        self._jobs = jobs
        self._index = index
        self._lease = lease
        self._tracker = tracker

    def count_missing(self) -> int:
        """Count the documents without such a score."""
        self._client.indices.refresh(index=self._index)
        found: int = self._client.count(index=self._index, query=self._missing)["count"]
        return found

    def add_missing(self) -> int:
        """Score these documents, and stay until it is done.

        Returns:
            The number of documents that did not get their score.

        Raises:
            Cancelled: the reindex is to end.
            JobError: the backfill was cancelled, or a service stayed away too long.
        """
        self._tracker.phase = Phase.SCORING
        reindex = self._lease.job
        backfill = self._acquire(
            Job(
                index=self._index,
                field=reindex.field,
                model=reindex.model,
                selection=Selection(Only.ALL, self._missing),
                pace=reindex.pace,
                others=reindex.others,
            )
        )
        done = Backfill(
            self._client, self._app, self._settings, self._jobs, backfill, report=self._pass_on
        ).run()
        self._tracker.keep_up()
        if done.state is JobState.CANCELLED:
            raise JobError(f"job {done.id!r}, which scores the new index, was cancelled")
        return done.left

    @property
    def _missing(self) -> Json:
        scored = [
            {"term": {SafetyFields(name).model: model}}
            for name, model in self._lease.job.scores.items()
        ]
        return {"bool": {"must_not": {"bool": {"filter": scored}}}}

    def _pass_on(self, backfill: Job, _: object) -> None:
        """Pause, resume and cancel the backfill when somebody asks that of the reindex."""
        self._tracker.renew()
        asked = self._lease.job.state
        if asked is not backfill.state and not backfill.state.finished:
            self._jobs.ask(backfill.id, asked)

    def _acquire(self, backfill: Job) -> Job:
        """Take hold of it; wait while it still counts as held by a process that crashed."""
        deadline = time.monotonic() + LEASE.total_seconds()
        while True:
            try:
                return self._jobs.acquire(backfill)
            except JobError:
                if time.monotonic() > deadline:
                    raise
                self._tracker.keep_up()
                time.sleep(1)
