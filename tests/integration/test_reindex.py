"""Copying a live index into a new one and moving its alias, with real workers and writers."""

import json
import uuid
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AuthorizationException, Elasticsearch, helpers
from typer.testing import CliRunner
from workers import running_worker, wait_until
from writer import Writer, picture

from saferank.cli import app as command
from saferank.errors import JobError, MappingError
from saferank.indexer.bulk.changes import whole_source
from saferank.indexer.jobs.lease import Lease
from saferank.indexer.jobs.records import Job, Jobs, JobState, Pace
from saferank.indexer.jobs.selection import Selection
from saferank.indexer.reindex.definition import create
from saferank.indexer.reindex.progress import Progress
from saferank.indexer.reindex.start import start_reindex, start_rollback
from saferank.indexer.reindex.steps import Reindex
from saferank.indexer.reindex.verify import verify_sample
from saferank.indexer.reindex.writes import Writes, open_abandoned
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import model_identity
from saferank.mappings import SafetyFields, add_to_index
from saferank.settings import Settings, get_settings

MAPPINGS: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {
        "image": {"type": "keyword", "index": False, "doc_values": False},
        "title": {"type": "text"},
        "safety": {"properties": {"override": {"type": "keyword"}}},
    },
}


@pytest.fixture
def names(client: Elasticsearch) -> Iterator[tuple[str, str, str]]:
    """An old index, a new one, and an alias."""
    unique = f"test-{uuid.uuid4().hex[:8]}"
    yield f"{unique}-1", f"{unique}-2", f"{unique}-alias"
    for name in (f"{unique}-1", f"{unique}-2"):
        client.indices.delete(index=name, ignore_unavailable=True)


@pytest.fixture
def jobs(client: Elasticsearch, indexer_settings: Settings) -> Iterator[Jobs]:
    index = indexer_settings.indexer.jobs_index
    yield Jobs(client, index)
    client.indices.delete(index=index, ignore_unavailable=True)


def fill(client: Elasticsearch, index: str, alias: str, count: int) -> dict[str, dict[str, Any]]:
    client.indices.create(
        index=index,
        settings={"number_of_shards": 2, "number_of_replicas": 0},
        mappings=MAPPINGS,
        aliases={alias: {"filter": {"exists": {"field": "_seq_no"}}}},
    )
    documents = {f"d{n}": {"image": picture(n), "title": f"title {n}"} for n in range(count)}
    helpers.bulk(
        client,
        ({"_index": index, "_id": id, **document} for id, document in documents.items()),
        refresh=True,
    )
    return documents


def reindex_job(settings: Settings, index: str, into: str) -> Job:
    return Job(
        index=index,
        field=settings.field,
        model=model_identity(settings.model),
        selection=Selection(),
        pace=Pace(chunk_size=50, in_flight=64, slices=2),
        into=into,
    )


def stored(client: Elasticsearch, index: str) -> dict[str, dict[str, Any]]:
    client.indices.refresh(index=index)
    return {
        hit["_id"]: hit["_source"]
        for hit in helpers.scan(client, index=index, preserve_order=False)
    }


def without_score(document: dict[str, Any]) -> dict[str, Any]:
    """The document as the application knows it."""
    safety = document.get("safety", {})
    kept = {name: document[name] for name in document if name != "safety"}
    return kept | ({"safety": {"override": safety["override"]}} if "override" in safety else {})


def test_documents_that_share_an_id_are_compared_each_with_its_own_copy(
    client: Elasticsearch, names: tuple[str, str, str]
) -> None:
    old, new, _ = names
    for name, shards in ((old, 4), (new, 5)):
        client.indices.create(index=name, settings={"number_of_shards": shards})

    def shard(index: str, routing: str) -> int:
        number: int = client.search_shards(index=index, routing=routing)["shards"][0][0]["shard"]
        return number

    # A search gives them in the order of their shards, which is another one in the copy.
    one, other = next(
        (one, other)
        for one, other in permutations("abcdefgh", 2)
        if shard(old, one) < shard(old, other) and shard(new, one) > shard(new, other)
    )
    for name in (old, new):
        for routing in (one, other):
            client.index(index=name, id="1", routing=routing, document={"title": routing})
    client.indices.refresh(index=[old, new])
    everything = whole_source(client, old)
    assert verify_sample(client, old, new, ["safety"], size=9, source_filter=everything) == 2
    client.index(index=new, id="1", routing=one, document={"title": "x"}, refresh=True)
    with pytest.raises(JobError, match="2 documents compared, 1 are not right"):
        verify_sample(client, old, new, ["safety"], size=9, source_filter=everything)


def test_no_write_is_lost_while_an_index_is_copied_and_replaced_and_in_a_rollback(
    client: Elasticsearch,
    jobs: Jobs,
    names: tuple[str, str, str],
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    old, new, alias = names
    expected = fill(client, old, alias, 300)
    app = create_app(indexer_settings)
    url = indexer_settings.elasticsearch_url
    with running_worker(indexer_environment, tmp_path / "worker.log", fast=True):
        job = start_reindex(client, jobs, reindex_job(indexer_settings, alias, new))
        assert job.id == f"{old}.into.{new}"
        with Writer(url, alias, expected, rate=100, seed=1) as writer:
            done = Reindex(client, app, indexer_settings, jobs, job).run()
            after_move = writer.acknowledged
            wait_until(lambda: writer.acknowledged > after_move + 20, "writes to the new index")
        assert writer.errors == []
        assert done.state is JobState.DONE
        assert list(client.indices.get_alias(name=alias)) == [new]
        assert "filter" in client.indices.get_alias(name=alias)[new]["aliases"][alias]
        copied = stored(client, new)
        assert {id: without_score(document) for id, document in copied.items()} == expected
        untouched = [id for id, doc in expected.items() if doc["title"] == f"title {id[1:]}"]
        assert untouched
        for id in untouched:
            brightness = int(id[1:]) % 256 / 255
            assert copied[id]["safety"]["probability"] == pytest.approx(brightness, abs=1e-6)
        with pytest.raises(AuthorizationException):  # nobody writes to the old index unseen
            client.index(index=old, document={"title": "unseen"})

        back = start_rollback(client, jobs, reindex_job(indexer_settings, alias, ""))
        with Writer(url, alias, expected, rate=100, seed=2) as writer:
            returned = Reindex(client, app, indexer_settings, jobs, back).run()
        assert writer.errors == []
    assert returned.state is JobState.DONE
    assert list(client.indices.get_alias(name=alias)) == [old]
    found = stored(client, old)
    assert {id: without_score(document) for id, document in found.items()} == expected
    # The old index was never scored; the scores came along.
    untouched = [id for id in untouched if expected.get(id, {}).get("title") == f"title {id[1:]}"]
    assert untouched
    assert all("probability" in found[id]["safety"] for id in untouched)


def test_a_reindex_resumes_after_its_producer_died_while_it_refused_writes(
    client: Elasticsearch,
    jobs: Jobs,
    names: tuple[str, str, str],
    indexer_settings: Settings,
) -> None:
    old, new, alias = names
    expected = fill(client, old, alias, 30)
    score_by_hand(client, old, expected, model_identity(indexer_settings.model))
    app = create_app(indexer_settings)
    wanted = reindex_job(indexer_settings, alias, new)

    class PowerCut(BaseException):
        pass

    def die(job: Job, phase: str, copied: int) -> None:
        if phase == "verifying":
            raise PowerCut

    job = start_reindex(client, jobs, wanted)
    dying = Reindex(client, app, indexer_settings, jobs, job, report=die)
    with pytest.MonkeyPatch.context() as patched:
        # A dead process opens no index and gives up no lease.
        patched.setattr(Writes, "accept", lambda self: None)
        patched.setattr(Lease, "let_go", lambda self: None)
        with pytest.raises(PowerCut):
            dying.run()
    with pytest.raises(AuthorizationException):
        client.index(index=alias, document={"title": "refused"})
    with pytest.raises(JobError, match="is run by"):
        start_reindex(client, jobs, wanted)
    assert open_abandoned(client, jobs) == []  # its lease still holds
    current = jobs.get(job.id)
    jobs.beat(current, owner=None)  # as after the lease has run out
    assert open_abandoned(client, jobs) == [old]
    client.index(index=alias, id="later", document={"title": "later"}, refresh=True)
    expected["later"] = {"title": "later"}
    client.delete(index=alias, id="d3", refresh=True)
    del expected["d3"]
    score_by_hand(client, old, {"later": {}}, model_identity(indexer_settings.model))

    resumed = start_reindex(client, jobs, wanted)
    assert resumed.progress["cursors"]
    copies: list[int] = []

    def note(job: Job, phase: str, copied: int) -> None:
        copies.append(copied)

    done = Reindex(client, app, indexer_settings, jobs, resumed, report=note).run()
    assert done.state is JobState.DONE
    assert max(copies) == 1  # what was copied is not copied again
    assert {id: without_score(source) for id, source in stored(client, new).items()} == expected
    assert list(client.indices.get_alias(name=alias)) == [new]
    with pytest.raises(JobError, match=f"leads to '{new}' already"):
        start_reindex(client, jobs, wanted)


def test_a_copy_that_is_not_right_does_not_get_the_alias(
    client: Elasticsearch,
    jobs: Jobs,
    names: tuple[str, str, str],
    indexer_settings: Settings,
) -> None:
    old, new, alias = names
    model = model_identity(indexer_settings.model)
    score_by_hand(client, old, fill(client, old, alias, 20), model)
    app = create_app(indexer_settings)
    wanted = reindex_job(indexer_settings, alias, new)

    def spoil(id: str, change: dict[str, Any] | None) -> Any:
        def report(job: Job, phase: str, copied: int) -> None:
            if phase == "verifying" and change is None:
                client.delete(index=new, id=id, refresh=True)
            elif phase == "closing" and change is not None:
                client.update(index=new, id=id, doc=change, refresh=True)

        return report

    client.indices.create(index=new)
    job = start_reindex(client, jobs, wanted)
    with pytest.raises(JobError, match="exists already and was not made by this reindex"):
        Reindex(client, app, indexer_settings, jobs, job).run()
    client.indices.delete(index=new)

    job = start_reindex(client, jobs, wanted)
    with pytest.raises(JobError, match=r"20 documents compared, 1 are not right .d7 differs"):
        Reindex(
            client, app, indexer_settings, jobs, job, report=spoil("d7", {"title": "other"})
        ).run()
    assert list(client.indices.get_alias(name=alias)) == [old]
    client.index(index=alias, id="d7", document={"title": "accepted again"})

    strict = {"mappings": {**MAPPINGS, "properties": {"image": {"type": "integer"}}}}
    client.indices.delete(index=new)
    jobs.ask(job.id, JobState.CANCELLED)
    job = start_reindex(client, jobs, wanted, definition=strict)
    with pytest.raises(JobError, match=rf"'{new}' does not take \d+ documents"):
        Reindex(client, app, indexer_settings, jobs, job).run()
    assert list(client.indices.get_alias(name=alias)) == [old]

    with pytest.raises(JobError, match="nothing to go back to"):
        start_rollback(client, jobs, reindex_job(indexer_settings, alias, ""))


def score_by_hand(client: Elasticsearch, index: str, ids: Any, model: str) -> None:
    """Give documents a score by the wanted model, so that no worker is needed."""
    add_to_index(client, index)
    for id in ids:
        image = client.get(index=index, id=id)["_source"].get("image")
        safety = {
            "status": "scored" if image else "no_image",
            "model": model,
            "probability": 0.5 if image else None,
            "scored_at": "2026-01-01T00:00:00Z",
            "images": [{"reference": image}] if image else [],
        }
        client.update(index=index, id=id, doc={"safety": safety}, refresh=True)


def test_the_command_moves_an_alias_and_rolls_back(
    client: Elasticsearch,
    jobs: Jobs,
    names: tuple[str, str, str],
    indexer_settings: Settings,
    indexer_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    old, new, alias = names
    score_by_hand(client, old, fill(client, old, alias, 10), model_identity(indexer_settings.model))
    for name, value in indexer_environment.items():
        monkeypatch.setenv(name, value)
    definition = tmp_path / "new.json"
    mappings = {**MAPPINGS, "properties": {**MAPPINGS["properties"], "year": {"type": "integer"}}}
    definition.write_text(json.dumps({"mappings": mappings}))
    get_settings.cache_clear()
    runner = CliRunner()
    try:
        assert runner.invoke(command, ["reindex", alias, "--alias", "x"]).exit_code == 2
        arguments = ["reindex", old, "--into", new, "--alias", alias]
        result = runner.invoke(command, [*arguments, "--definition", str(definition)])
        assert result.exit_code == 0, result.output
        assert f"{alias} now leads to {new}: 10 documents, 10 compared" in result.output
        assert list(client.indices.get_alias(name=alias)) == [new]
        client.index(index=alias, id="since", document={"year": 2026}, refresh=True)
        client.delete(index=alias, id="since", refresh=True)
        result = runner.invoke(command, ["rollback", alias])
        assert result.exit_code == 0, result.output
        assert list(client.indices.get_alias(name=alias)) == [old]
        # A rollback that was interrupted after the move is completed, not turned round.
        returned = jobs.get(f"{new}.into.{old}")
        jobs.beat(returned, state=JobState.RUNNING)
        result = runner.invoke(command, ["rollback", alias])
        assert list(client.indices.get_alias(name=alias)) == [old]
        assert jobs.get(returned.id).state is JobState.DONE
        assert {f"{old}.into.{new}", f"{new}.into.{old}"} <= {job.id for job in jobs.all()}
        # The new index is closed since; the way to it is said before its job is touched.
        before = jobs.get(f"{old}.into.{new}")
        result = runner.invoke(command, ["reindex", alias, "--into", new])
        assert f"rollback {alias}' leads to it" in str(result.exception)
        assert jobs.get(f"{old}.into.{new}") == before
    finally:
        get_settings.cache_clear()


def test_no_alias_stays_on_the_old_index_unseen(
    client: Elasticsearch, jobs: Jobs, names: tuple[str, str, str], indexer_settings: Settings
) -> None:
    old, new, alias = names
    fill(client, old, alias, 1)
    client.indices.put_alias(index=old, name=f"{alias}-strict", filter={"match_all": {}})
    with pytest.raises(JobError, match=f"{alias}-strict"):
        start_reindex(client, jobs, reindex_job(indexer_settings, old, new), aliases=[alias])
    job = start_reindex(client, jobs, reindex_job(indexer_settings, alias, new))
    assert Progress.of(job).aliases == [alias, f"{alias}-strict"]


def test_a_new_index_that_does_not_take_the_fields_is_not_left_behind(
    client: Elasticsearch, names: tuple[str, str, str]
) -> None:
    old, new, alias = names
    fill(client, old, alias, 1)
    definition = {"settings": {"index.mapping.total_fields.limit": 3}}
    with pytest.raises(MappingError, match="total fields"):
        create(client, new, definition, [SafetyFields()], origin="any")
    assert not client.indices.exists(index=new)
