"""Backfill jobs on a real node and broker, with real workers and a fast model."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from brightness import data_uri, png
from elasticsearch import Elasticsearch, helpers
from workers import running_worker, sweep, wait_until

from saferank.cli.holding import hold
from saferank.errors import JobError
from saferank.indexer.installation import installation_of
from saferank.indexer.jobs import records
from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.changed import is_outdated
from saferank.indexer.jobs.ledger import ChunkOfJob, Ledger
from saferank.indexer.jobs.records import LEASE, Job, JobHeld, Jobs, JobState, Pace
from saferank.indexer.jobs.selection import Only, Selection
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import queue_documents
from saferank.indexer.score.report import Report
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import model_identity
from saferank.indexer.worker.sweep import SWEEP_TASK
from saferank.mappings import SafetyFields, add_to_index
from saferank.mappings.float32 import as_probability
from saferank.settings import Settings

Environment = dict[str, str]
FIELDS = SafetyFields()


@pytest.fixture
def jobs(
    client: Elasticsearch, indexer_settings: Settings, indexer_environment: Environment
) -> Jobs:
    return Jobs(client, indexer_settings.indexer.jobs_index)


@pytest.fixture
def job(index_name: str) -> Job:
    return Job(
        index=index_name,
        field="safety",
        model=model_identity("open_nsfw"),
        selection=Selection(Only.MISSING),
        pace=Pace(chunk_size=10, in_flight=4),
    )


@pytest.fixture
def backfill(
    client: Elasticsearch, indexer_settings: Settings, jobs: Jobs
) -> Callable[..., Backfill]:
    def make(job: Job, **arguments: Any) -> Backfill:
        app = create_app(indexer_settings)
        return Backfill(client, app, indexer_settings, jobs, job, **arguments)

    return make


def fill(client: Elasticsearch, index: str, count: int, **rest: Any) -> None:
    if not client.indices.exists(index=index):
        client.indices.create(
            index=index,
            settings={"number_of_shards": 2, "number_of_replicas": 0},
            mappings={
                "properties": {"image": {"type": "keyword", "index": False, "doc_values": False}}
            },
        )
        add_to_index(client, index)
    documents = (
        {"_index": index, "_id": str(n), "image": data_uri(png(n % 256, (8 + n // 256, 8))), **rest}
        for n in range(count)
    )
    helpers.bulk(client, documents, refresh=True)


def inferences(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


def test_scores_what_is_missing_and_says_what_came_out(
    client: Elasticsearch,
    index_name: str,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    backfill: Callable[..., Backfill],
    tmp_path: Path,
) -> None:
    fill(client, index_name, 95)
    client.index(index=index_name, id="bad", document={"image": data_uri(png(1)[:40])})
    client.index(index=index_name, id="none", document={"image": None}, refresh=True)
    drawing = data_uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    client.index(index=index_name, id="drawn", document={"image": [drawing, data_uri(png(200))]})
    client.update(index=index_name, id="3", doc={"safety": {"status": "scored"}}, refresh=True)
    noted = tmp_path / "inferences"
    environment = {**indexer_environment, "TEST_INFERENCES": str(noted)}
    with running_worker(environment, tmp_path / "log", fast=True):
        done = backfill(jobs.acquire(job)).run()
        assert done.state is JobState.DONE
        assert (done.total, done.counts["scored"], done.counts["no_image"]) == (97, 94, 1)
        assert done.counts["not_read"] == 1
        assert (done.counts["failed"], done.failures) == (1, {"truncated": 1})
        (example,) = done.examples
        assert (example.document, example.code) == ("bad", "truncated")
        assert example.reference == data_uri(png(1)[:40])
        assert example.cause == "the PNG file ends early: its header cannot be read"
        assert noted.read_text().count("\n") == 95
        # Nothing is left, so the same job again does nothing.
        again = backfill(jobs.acquire(job)).run()
        assert (again.passes, again.counts) == (0, {})
        # All of them anew: known by their bytes, so without the model.
        everything = replace(job, selection=Selection(Only.ALL))
        third = backfill(jobs.acquire(everything)).run()
        assert third.counts["scored"] == 95
        assert third.counts["inferred"] == 1  # the one whose status was set by hand
    safety = client.get(index=index_name, id="51")["_source"]["safety"]
    assert safety["probability"] == as_probability(0.2)
    assert {found.id for found in jobs.all()} == {done.id, third.id}
    # What came out at first is still to be read.
    (kept,) = jobs.ended()
    assert (kept.id, kept.total, kept.failures) == (job.id, 97, {"truncated": 1})
    assert kept.examples == done.examples
    assert kept.finished_at == done.finished_at
    as_json, table = (
        subprocess.run(
            [sys.executable, "-m", "saferank.cli", "jobs", "list", "--ended", *options],
            env={**os.environ, **indexer_environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for options in (["--json"], [])
    )
    assert [(one["job"], one["complete"]) for one in json.loads(as_json)] == [
        (third.id, False),
        (job.id, True),
        (job.id, False),
    ]
    rows = [line.strip("│").split("│") for line in table.splitlines() if line.startswith("│")]
    numbers = [tuple(map(int, row[3:6])) for row in rows]  # documents, left, failed
    assert numbers == [(98, 0, 1), (0, 0, 0), (97, 0, 1)]


def test_runs_of_a_job_that_did_something_are_kept_up_to_a_number(jobs: Jobs, job: Job) -> None:
    started = []
    for counts in ({"scored": 1}, {}, *[{"scored": 2}] * 20):
        run = jobs.acquire(job)
        started.append(run.started_at)
        jobs.beat(run, state=JobState.DONE, owner=None, counts=counts)
    # A run is kept when the next one takes its place; the second one did nothing.
    assert [run.started_at for run in jobs.ended()] == [*started[-2:1:-1], started[0]]
    jobs.acquire(job)
    assert [run.started_at for run in jobs.ended()] == started[:1:-1]


def test_pause_resume_cancel(
    client: Elasticsearch,
    index_name: str,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    backfill: Callable[..., Backfill],
    tmp_path: Path,
) -> None:
    fill(client, index_name, 400)
    environment = {**indexer_environment, "TEST_SECONDS": "0.05"}
    held = jobs.acquire(job)
    ended: list[Job] = []
    producer = threading.Thread(target=lambda: ended.append(backfill(held).run()))
    with running_worker(environment, tmp_path / "log", fast=True):
        producer.start()
        ledger = Ledger(client, jobs.index)
        since = held.started_at.isoformat()
        wait_until(lambda: ledger.tally(job.id, since).documents > 20, "the first chunks")
        jobs.ask(job.id, JobState.PAUSED)
        wait_until(lambda: ledger.tally(job.id, since).in_flight == 0, "what is in flight")
        paused_at = ledger.tally(job.id, since).documents
        assert paused_at < 400
        with pytest.raises(JobError, match="is run by"):
            jobs.acquire(job)
        jobs.ask(job.id, JobState.RUNNING)
        wait_until(lambda: ledger.tally(job.id, since).documents > paused_at, "going on")
        jobs.ask(job.id, JobState.CANCELLED)
        producer.join(60)
    assert ended[0].state is JobState.CANCELLED
    assert paused_at < ended[0].counts["scored"] < 400
    with pytest.raises(JobError, match="is cancelled"):
        jobs.ask(job.id, JobState.PAUSED)


def test_a_job_resumes_where_a_dead_producer_left_it(
    client: Elasticsearch,
    index_name: str,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    backfill: Callable[..., Backfill],
    tmp_path: Path,
) -> None:
    fill(client, index_name, 100)
    noted = tmp_path / "inferences"
    environment = {**indexer_environment, "TEST_INFERENCES": str(noted)}
    first = jobs.acquire(job)
    assert backfill(first, wait=False).run().state is JobState.RUNNING  # queues four chunks, leaves
    with running_worker(environment, tmp_path / "log", fast=True):
        done = backfill(jobs.acquire(job)).run()
    assert done.started_at == first.started_at
    assert done.counts["scored"] == 100
    assert set(inferences(noted).values()) == {1}
    assert len(inferences(noted)) == 100


def test_only_one_producer_holds_a_job(jobs: Jobs, job: Job) -> None:
    first = jobs.acquire(job)
    with pytest.raises(JobError, match=f"is run by {first.owner}"):
        jobs.acquire(job)
    silent = replace(first, heartbeat_at=datetime.now(UTC) - LEASE - timedelta(seconds=1))
    jobs._write(silent)
    second = jobs.acquire(job)
    assert second.owner != first.owner
    with pytest.raises(JobError, match=f"taken over by {second.owner}"):
        jobs.beat(first)
    assert jobs.beat(second).owner == second.owner


def test_a_command_goes_on_with_the_job_of_a_killed_producer(
    jobs: Jobs, job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(records, "LEASE", timedelta(seconds=3))
    monkeypatch.setattr(records, "_WATCHED", 1.0)
    killed = jobs.acquire(job)
    held = hold(jobs, lambda: jobs.acquire(job))
    assert (held.started_at, held.owner) == (killed.started_at, jobs.get(job.id).owner)
    assert f"is held by {killed.owner}; waiting for a sign of life" in capsys.readouterr().err
    with pytest.raises(JobError, match="taken over"):
        jobs.beat(killed)


def test_a_command_leaves_the_job_of_a_living_producer_alone(jobs: Jobs, job: Job) -> None:
    living = jobs.acquire(job)
    beats = threading.Timer(1, jobs.beat, [living])
    beats.start()
    with pytest.raises(JobHeld, match=f"is run by {living.owner}"):
        hold(jobs, lambda: jobs.acquire(job))
    beats.join()
    assert jobs.get(job.id).owner == living.owner


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_producer_whose_clock_is_another_keeps_its_job(
    jobs: Jobs, job: Job, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    held = jobs.acquire(job)
    over = threading.Event()

    def beat() -> None:
        mine = held
        while not over.wait(0.2):
            at = datetime.now(UTC) + timedelta(minutes=minutes)
            mine = jobs._write(replace(mine, heartbeat_at=at))

    with ThreadPoolExecutor(1) as pool:
        producer = pool.submit(beat)
        try:
            wait_until(lambda: not jobs.get(held.id).alive, "a beat by the other clock")
            with pytest.raises(JobError, match=f"is run by {held.owner}"):
                jobs.acquire(job)
        finally:
            over.set()
        producer.result()
    monkeypatch.setattr(records, "_WATCHED", 1.0)
    assert jobs.acquire(job).owner != held.owner  # since it beats no more


def test_of_two_producers_at_once_one_gets_the_job(jobs: Jobs, job: Job) -> None:
    outcomes: list[object] = []

    def acquire() -> None:
        try:
            outcomes.append(jobs.acquire(job).owner)
        except JobError:
            outcomes.append(None)

    threads = [threading.Thread(target=acquire) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([owner for owner in outcomes if owner is not None]) == 1


def test_what_cannot_be_stored_ends_the_job_with_its_reason(
    client: Elasticsearch,
    index_name: str,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    backfill: Callable[..., Backfill],
    tmp_path: Path,
) -> None:
    client.indices.create(index=index_name, mappings={"dynamic": False})
    fill(client, index_name, 15)
    client.index(index=index_name, id="bad", document={"image": data_uri(png(1)), "n": "none"})
    client.indices.put_mapping(index=index_name, properties={"n": {"type": "integer"}})
    add_to_index(client, index_name)
    fill(client, index_name, 15)
    with running_worker(indexer_environment, tmp_path / "log", fast=True):
        done = backfill(jobs.acquire(job)).run()
    assert (done.counts["scored"], done.passes, done.left) == (15, 2, 1)
    assert "1 documents are left" in done.note
    assert re.search(r"bad: (document|mapper)_parsing_exception", done.note)


def test_workers_with_another_model_leave_a_job_alone(
    client: Elasticsearch,
    index_name: str,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    backfill: Callable[..., Backfill],
    tmp_path: Path,
) -> None:
    fill(client, index_name, 5)
    with running_worker(indexer_environment, tmp_path / "log", fast=True):
        done = backfill(jobs.acquire(replace(job, model="another"))).run()
    assert done.counts == {"rejected": 5}
    assert done.note.count("the job wants model 'another' and not") == 1  # of all five
    assert "safety" not in client.get(index=index_name, id="1")["_source"]


def test_an_image_that_ends_its_worker_alone_is_given_up(
    client: Elasticsearch,
    index_name: str,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    backfill: Callable[..., Backfill],
    tmp_path: Path,
) -> None:
    fill(client, index_name, 20)
    poison = png(7)
    client.index(index=index_name, id="twin", document={"image": data_uri(poison)}, refresh=True)
    environment = {
        **indexer_environment,
        "TEST_INFERENCES": str(tmp_path / "inferences"),
        "TEST_POISON": hashlib.sha256(poison).hexdigest(),
    }
    with running_worker(environment, tmp_path / "log", fast=True):
        done = backfill(jobs.acquire(replace(job, pace=Pace(chunk_size=50, in_flight=4)))).run()
    kills = (tmp_path / "inferences.kills").read_text().count("\n")
    # One for each of the two chunks that it is in, and one for it alone.
    assert (done.counts["scored"], done.failures, kills) == (19, {"worker_lost": 2}, 3)
    assert client.get(index=index_name, id="7")["_source"]["safety"]["error"] == "worker_lost"


def test_a_finished_chunk_that_comes_again_is_passed_over(
    client: Elasticsearch, jobs: Jobs, job: Job
) -> None:
    ledger = Ledger(client, jobs.index)
    held = jobs.acquire(job)
    since = held.started_at.isoformat()
    chunk = ChunkOfJob(job.id, since, "1", job.field, job.model)
    assert not ledger.wanted(chunk)
    ledger.open([(chunk, 10)])
    assert ledger.wanted(chunk)
    ledger.close(chunk, Report(counts=Counter(scored=9, failed=1), failures=Counter(truncated=1)))
    assert not ledger.wanted(chunk)
    ledger.open([(chunk, 10), (chunk.part("try2"), 1)])
    tally = ledger.tally(job.id, since)
    assert (tally.in_flight, tally.finished, tally.documents) == (1, 1, 10)
    jobs.ask(job.id, JobState.CANCELLED)
    assert not ledger.wanted(chunk.part("try2"))


def test_a_selection_finds_its_kind_of_documents_and_no_other(
    client: Elasticsearch, index_name: str, job: Job
) -> None:
    fill(client, index_name, 1)
    old = "2020-01-01T00:00:00+00:00"
    failed = {"status": "failed", "model": "new", "scored_at": old}
    states = {
        "current": {"status": "scored", "model": "new", "scored_at": old},
        "other": {"status": "scored", "model": "old", "scored_at": old},
        "failed": {"status": "failed", "model": "new", "error": "truncated", "scored_at": old},
        "lost": {"status": "failed", "model": "new", "error": "worker_lost", "scored_at": old},
        "away": {"status": "failed", "model": "new", "error": "timeout", "scored_at": old},
        "drawn": {"status": "not_read", "model": "new", "error": "kind_not_read", "scored_at": old},
        "drawn_before": {**failed, "error": "kind_not_read"},
        "drawn_and_failed": {**failed, "status": ["failed", "not_read"], "error": "truncated"},
        "drawn_and_away": {**failed, "status": ["failed", "not_read"], "error": "timeout"},
        "nulls": {"status": None, "model": None},
        "decided": {"override": "allow"},
    }
    for name, safety in states.items():
        client.index(index=index_name, id=name, document={"safety": safety}, refresh=True)

    def selected(
        selection: Selection, since: datetime | None = None, failed_before: datetime | None = None
    ) -> set[str]:
        query = selection.to_query(FIELDS, "new", since, failed_before=failed_before)
        found = client.search(index=index_name, query=query, size=100)["hits"]["hits"]
        return {hit["_id"] for hit in found}

    assert selected(Selection(Only.MISSING)) == {"0", "nulls", "decided"}
    assert selected(Selection(Only.STALE)) == {"other"}
    both = {"drawn_and_failed", "drawn_and_away"}
    assert selected(Selection(Only.FAILED)) == {"failed", "away", "drawn_before", *both}
    assert selected(Selection(Only.NOT_READ)) == {"drawn", "drawn_before", *both}
    assert selected(Selection(Only.ALL)) == {"0", *states}
    assert selected(Selection(Only.ALL, {"term": {FIELDS.override: "allow"}})) == {"decided"}
    began = datetime(2020, 1, 1, tzinfo=UTC)
    assert selected(Selection(Only.ALL), began) == {"0", "other", "nulls", "decided"}
    later = began + timedelta(milliseconds=1)
    # What failed for a transient reason is tried again when that is some time ago.
    again = selected(Selection(Only.MISSING), began, later)
    assert again == {"0", "nulls", "decided", "away", "drawn_and_away"}
    assert selected(Selection(Only.MISSING), began, began) == {"0", "nulls", "decided"}
    assert "away" in selected(Selection(Only.ALL), began, later)
    assert selected(Selection(Only.ALL), later) == {"0", *states}
    assert selected(Selection(Only.NOT_READ), began, later) == {"drawn_and_away"}


def test_sweeps_score_what_is_missing_and_leave_a_paused_job_alone(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    tmp_path: Path,
) -> None:
    fill(client, index_name, 25)
    app = create_app(indexer_settings)

    def swept() -> bool:
        found = jobs.find(job.id)
        if found is None or not found.state.finished:
            sweep(app, indexer_settings, index_name)
            return False
        return True

    with running_worker(indexer_environment, tmp_path / "log", fast=True):
        wait_until(swept, "the sweeps")
        done = jobs.get(job.id)
        assert (done.state, done.counts["scored"]) == (JobState.DONE, 25)
        # An application writes a document anew, without its score, while a person holds the job.
        jobs.acquire(job)
        jobs.ask(job.id, JobState.PAUSED)
        fill(client, index_name, 1)
        sweep(app, indexer_settings, index_name)
        client.index(index=index_name, id="last", document={"image": data_uri(png(3))})
        queue_documents(index_name, [DocumentKey("last")], app=app, settings=indexer_settings)
        wait_until(
            lambda: "safety" in client.get(index=index_name, id="last")["_source"],
            "what was queued after the sweep",
        )
        assert "safety" not in client.get(index=index_name, id="0")["_source"]
        jobs.ask(job.id, JobState.CANCELLED)

        def healed() -> bool:
            sweep(app, indexer_settings, index_name)
            return "safety" in client.get(index=index_name, id="0")["_source"]

        wait_until(healed, "the next sweep")


def test_a_sweep_goes_on_without_an_index_that_is_not_ready(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: Environment,
    tmp_path: Path,
) -> None:
    """An index whose mapping was guessed must not fill what may be in flight, sweep after sweep."""
    fill(client, index_name, 25)
    alias, guessed = f"{index_name}-alias", f"{index_name}-a-guess"
    app, log = create_app(indexer_settings), tmp_path / "log"

    def swept() -> bool:
        sweep(app, indexer_settings, alias)
        client.indices.refresh(index=alias)
        return client.count(index=alias, query={"exists": {"field": FIELDS.status}})["count"] == 26

    try:
        status = {"status": "scored", "model": "m", "scored_at": "then"}
        client.index(index=guessed, document={"safety": status})
        documents = ({"_index": guessed, "image": data_uri(png(3))} for _ in range(50))
        helpers.bulk(client, documents, refresh=True)
        for name in (index_name, guessed):
            client.indices.put_alias(index=name, name=alias)
        environment = {**indexer_environment, "SAFERANK_INDEXER__IN_FLIGHT": "2"}
        with running_worker(environment, log, fast=True):
            wait_until(swept, "the sweeps")
    finally:
        client.indices.delete(index=guessed)
    assert f"the sweep of {alias} leaves an index out: index '{guessed}'" in log.read_text()


def test_a_sweep_of_another_installation_goes_back(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: Environment,
    tmp_path: Path,
) -> None:
    fill(client, index_name, 1)
    app, log = create_app(indexer_settings), tmp_path / "log"
    queue = indexer_settings.indexer.fresh_queue
    own = installation_of(client, indexer_settings.indexer.jobs_index)

    def scored() -> bool:
        return "safety" in client.get(index=index_name, id="0")["_source"]

    def sweep_for(installation: str | None) -> None:
        keywords = {"installation": installation}
        app.send_task(SWEEP_TASK, args=[index_name], kwargs=keywords, queue=queue)

    with running_worker(indexer_environment, log, fast=True):
        sweep_for("other/jobs")
        what = "putting saferank.sweep of another installation (other/jobs) back"
        wait_until(lambda: log.read_text().count(what) > 1, "its second time")
        assert not scored()
        sweep_for(own)
        wait_until(scored, "the sweep of our own")


def test_beat_says_whose_sweep_it_sends(
    client: Elasticsearch,
    indexer_settings: Settings,
    indexer_environment: Environment,
    tmp_path: Path,
) -> None:
    environment = {**os.environ, **indexer_environment, "SAFERANK_INDEXER__SWEEP": "a,b"}
    environment |= {"SAFERANK_INDEXER__SWEEP_EVERY": "0.2"}
    command = [sys.executable, "-m", "celery", "-A", "saferank.indexer.worker", "beat"]
    command += ["--schedule", str(tmp_path / "schedule"), "--max-interval", "1"]
    own = installation_of(client, indexer_settings.indexer.jobs_index)
    app = create_app(indexer_settings)
    sent: list[Any] = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        queue = app.amqp.queues[indexer_settings.indexer.fresh_queue](channel)
        queue.declare()

        def both_are_sent() -> bool:
            while (message := queue.get(no_ack=True)) is not None:
                assert message.headers["expires"]
                sent.append(message.payload)
            return {args[0] for args, *_ in sent} == {"a", "b"}

        beat = subprocess.Popen(command, env=environment)
        try:
            wait_until(both_are_sent, "two sweeps")
        finally:
            beat.terminate()
            beat.wait()
    assert all(keywords == {"installation": own} for _, keywords, _ in sent)


def test_an_alias_that_moves_leaves_nothing_unscored_behind_it(
    client: Elasticsearch,
    index_name: str,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    backfill: Callable[..., Backfill],
    tmp_path: Path,
) -> None:
    old, new = f"{index_name}-1", f"{index_name}-2"
    for name in (old, new):
        fill(client, name, 100)
    client.indices.put_alias(index=old, name=index_name)
    held = jobs.acquire(job)
    ledger = Ledger(client, jobs.index)

    def move() -> None:
        since = held.started_at.isoformat()
        wait_until(lambda: ledger.tally(job.id, since).documents > 20, "the first chunks")
        actions = [
            {"remove": {"index": old, "alias": index_name}},
            {"add": {"index": new, "alias": index_name}},
        ]
        client.indices.update_aliases(actions=actions)

    environment = {**indexer_environment, "TEST_SECONDS": "0.02"}
    try:
        with running_worker(environment, tmp_path / "log", fast=True):
            moving = threading.Thread(target=move)
            moving.start()
            done = backfill(held).run()
            moving.join()
        client.indices.refresh(index=new)
        query = {"term": {FIELDS.status: "scored"}}
        assert client.count(index=new, query=query)["count"] == 100
        assert done.complete
    finally:
        client.indices.delete(index=[old, new])


def test_two_installations_that_share_their_queues_lose_nothing(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    tmp_path: Path,
) -> None:
    own = indexer_settings.indexer.jobs_index
    others = {}
    for name in (own, f"{own}-other"):
        indexer = indexer_settings.indexer.model_copy(update={"jobs_index": name})
        others[name] = indexer_settings.model_copy(update={"indexer": indexer})
    fill(client, index_name, 60)
    fill(client, f"{index_name}-other", 60)
    done: list[Job] = []

    def run(settings: Settings, index: str) -> None:
        records = Jobs(client, settings.indexer.jobs_index)
        held = records.acquire(replace(job, index=index))
        done.append(Backfill(client, create_app(settings), settings, records, held).run())

    with ExitStack() as stack:
        stack.callback(client.indices.delete, index=[f"{index_name}-other", f"{own}-other"])
        threads = [
            threading.Thread(target=run, args=(settings, index), daemon=True)
            for settings, index in zip(
                others.values(), (index_name, f"{index_name}-other"), strict=True
            )
        ]
        for thread in threads:
            thread.start()
        # One worker alone at first, so that it is sure to be given what is for the other.
        for name in others:
            environment = {**indexer_environment, "SAFERANK_INDEXER__JOBS_INDEX": name}
            stack.enter_context(running_worker(environment, tmp_path / name, fast=True))
            if name == own:
                wait_until(
                    lambda: "of another installation" in (tmp_path / own).read_text(),
                    "a task of the other installation",
                )
        for thread in threads:
            thread.join()
    assert [one.complete for one in done] == [True, True]
    assert {one.counts["scored"] for one in done} == {60}


def test_a_job_is_complete_only_when_nothing_is_left(job: Job) -> None:
    done = replace(job, state=JobState.DONE)
    assert done.complete
    assert not replace(done, left=1).complete
    assert not replace(done, counts={"failed": 1}).complete
    assert not replace(done, state=JobState.CANCELLED).complete
    # Turned away at first and stored later: nothing is left.
    assert replace(done, counts={"rejected": 1, "scored": 1}).complete


def change(client: Elasticsearch, index: str, id: str, level: int) -> None:
    """A new image whose task was lost."""
    client.update(index=index, id=id, doc={"image": data_uri(png(level))}, refresh=True)


def probability(client: Elasticsearch, index: str, id: str) -> float | None:
    safety = client.get(index=index, id=id)["_source"]["safety"]
    found: float | None = safety["probability"]
    return found


def test_a_changed_image_whose_task_was_lost_is_found_by_the_sweep(
    client: Elasticsearch,
    index_name: str,
    indexer_settings: Settings,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    backfill: Callable[..., Backfill],
    tmp_path: Path,
) -> None:
    fill(client, index_name, 25)
    app = create_app(indexer_settings)

    def healed(id: str, expected: float | None) -> bool:
        if probability(client, index_name, id) == expected:
            return True
        sweep(app, indexer_settings, index_name)
        return False

    with running_worker(indexer_environment, tmp_path / "log", fast=True):
        backfill(jobs.acquire(job)).run()
        change(client, index_name, "3", 204)
        wait_until(lambda: healed("3", as_probability(0.8)), "the changed image")
        change(client, index_name, "3", 255)
        change(client, index_name, "4", 51)
        client.update(index=index_name, id="5", doc={"image": None}, refresh=True)
        wait_until(lambda: healed("3", 1.0), "the image changed again")
        wait_until(lambda: healed("4", as_probability(0.2)), "another one")
        wait_until(lambda: healed("5", None), "one that is gone")
    assert probability(client, index_name, "6") == as_probability(6 / 255)
    versions = client.search(index=index_name, size=100, version=True)["hits"]["hits"]
    touched = {hit["_id"] for hit in versions if hit["_version"] > 2}
    assert touched == {"3", "4", "5"}


def test_a_backfill_finds_changed_images(
    client: Elasticsearch,
    index_name: str,
    indexer_environment: Environment,
    jobs: Jobs,
    job: Job,
    backfill: Callable[..., Backfill],
    tmp_path: Path,
) -> None:
    fill(client, index_name, 10)
    command = [sys.executable, "-m", "saferank.cli", "backfill", index_name, "--only", "changed"]
    environment = {**os.environ, **indexer_environment, "COLUMNS": "300"}

    def run() -> str:
        done = subprocess.run(command, env=environment, text=True, capture_output=True, check=True)
        return done.stdout

    with running_worker(indexer_environment, tmp_path / "log", fast=True):
        backfill(jobs.acquire(job)).run()
        assert "no document has other images" in run()
        change(client, index_name, "3", 204)
        change(client, index_name, "7", 51)
        assert "scored" in run()
        assert "no document has other images" in run()
    assert probability(client, index_name, "3") == as_probability(0.8)
    assert probability(client, index_name, "7") == as_probability(0.2)


def test_only_documents_with_other_images_are_outdated() -> None:
    def outdated(image: object, status: str | None, *references: str) -> bool:
        images = [{"reference": one} for one in references]
        safety = {"status": status, "images": images}
        return is_outdated({"image": image, "safety": safety}, FIELDS, "image")

    assert not outdated("a", "scored", "a")
    assert not outdated(["a", "b"], "failed", "a", "b")
    assert not outdated(None, "no_image")
    assert not outdated("a", None)  # it counts as missing
    assert outdated("b", "scored", "a")
    assert outdated(["b", "a"], "scored", "a", "b")
    assert outdated(["a", "b"], "scored", "a")
    assert outdated("a", "no_image")
    assert outdated(None, "scored", "a")
    assert not is_outdated({"image": "a"}, FIELDS, "image")
    assert not is_outdated({"image": "a", "safety": [{"status": "x"}]}, FIELDS, "image")
