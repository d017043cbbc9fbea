"""What was decided about a document, or is in a list, reaches the documents with copies."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brightness import Brightness, brightness_pipeline, data_uri, png
from elasticsearch import Elasticsearch, helpers
from forms import decide, signed_in
from pictures import running_pictures
from PIL import Image
from reviewed import make_desk, policy_of, review_settings
from typer.testing import CliRunner
from workers import wait_until

from saferank.cli import app
from saferank.errors import ServiceUnavailable
from saferank.indexer.brokers import queue_length
from saferank.indexer.copies import Copies
from saferank.indexer.fetch import Fetcher
from saferank.indexer.jobs.records import Job, Jobs, JobState, Pace
from saferank.indexer.jobs.selection import Selection
from saferank.indexer.keys import DocumentKey
from saferank.indexer.known_pictures import hashes_at
from saferank.indexer.pdq import pdq_of
from saferank.indexer.reindex.start import start_reindex
from saferank.indexer.reindex.steps import Reindex
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.sweep import SWEEP_TASK
from saferank.mappings import SafetyFields, add_to_index
from saferank.mappings.known import KnownPicture
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.record import Override
from saferank.ranker import SafeSearch
from saferank.review.desk import Desk, Form
from saferank.review.entries import Act, Entry, Item
from saferank.review.operator import override_document
from saferank.review.people import Role, add_person
from saferank.review.web.serve import make_app
from saferank.settings import CategorySettings, FetchSettings, Settings, get_settings


@dataclass
class Place:
    """An index with a desk before it, whose decisions reach copies."""

    client: Elasticsearch
    settings: Settings
    index: str
    desk: Desk

    @property
    def copies(self) -> Copies:
        found = Copies.of(self.client, self.settings)
        assert found is not None
        return found

    def put(self, pictures: dict[str, str | list[str]]) -> None:
        lines = (
            {"_index": self.index, "_id": id, "image": image} for id, image in pictures.items()
        )
        helpers.bulk(self.client, lines, refresh=True)

    def score(
        self,
        *ids: str,
        model: str = "brightness-1",
        fetch: FetchSettings | None = None,
        **more: Any,
    ) -> int:
        """Score documents; how many pictures the model looked at."""
        classifier = Brightness(model)
        pipeline = brightness_pipeline(classifier)
        pipeline._pdq_of = pdq_of
        if fetch is not None:
            pipeline._fetching._fetch = Fetcher(fetch).fetch
        for start in range(0, len(ids), 500):
            keys = [DocumentKey(id) for id in ids[start : start + 500]]
            score_documents(pipeline, self.copies.store, self.index, keys, **more)
        self.client.indices.refresh(index=self.index)
        return classifier.frames

    def matched(self, decision: str = "block") -> set[str]:
        self.client.indices.refresh(index=self.index)
        query = {"term": {"safety.matched": decision}}
        hits = self.client.search(index=self.index, query=query, size=5000)["hits"]["hits"]
        return {hit["_id"] for hit in hits}

    def shown(self) -> set[str]:
        self.client.indices.refresh(index=self.index)
        search = SafeSearch(self.client, policy_of(self.settings))
        hits = search.search(index=self.index, query={"match_all": {}}, size=5000)["hits"]["hits"]
        return {hit["_id"] for hit in hits}

    def decide(self, id: str, act: Act) -> Entry:
        item = Item(self.index, id)
        seen = len(self.desk.log.chain(item))
        form = Form(uuid.uuid4().hex, seen, self.desk.see(item).version)
        return self.desk.decide(item, "ann", act, form)


@pytest.fixture(params=[False, True], ids=["in-documents", "in-an-index"])
def place(
    request: pytest.FixtureRequest, elasticsearch_url: str, index_name: str
) -> Iterator[Place]:
    known = f"test-known-{uuid.uuid4().hex[:8]}"
    with review_settings(elasticsearch_url, kept=request.param) as (made, client):
        settings = made.model_copy(update={"known": known})
        client.indices.create(index=index_name)
        add_to_index(client, index_name)
        KnownIndex(client, known).install()
        yield Place(client, settings, index_name, make_desk(client, index_name, settings))
        client.indices.delete(index=known, ignore_unavailable=True)
        get_settings.cache_clear()


KEYWORD = {"type": "keyword"}
VERSION_1: dict[str, Any] = {
    "dynamic": "strict",
    "_meta": {"saferank": {"version": 1, "own": True}},
    "properties": {
        **dict.fromkeys(("key", "decision", "digests", "words", "origin", "by"), KEYWORD),
        "hashes": {"type": "binary", "doc_values": True},
        "at": {"type": "date"},
        "reason": {"type": "text"},
    },
}
"""The index of known pictures as it was before it said what is still to be looked at."""

SAME, OTHER = data_uri(png(20)), data_uri(png(30))


def test_a_block_reaches_a_thousand_copies_and_is_taken_back(place: Place) -> None:
    copies = {f"c{number}": SAME for number in range(1000)}
    place.put({**copies, "first": SAME, "other": OTHER, "with": [SAME, OTHER]})
    assert place.score(*copies, "first", "other", "with") > 0
    assert place.matched() == set()
    entry = place.decide("first", Act.BLOCK)
    assert place.matched() == {*copies, "first", "with"}
    assert place.shown() == {"other"}
    source = place.client.get(index=place.index, id="c7")["_source"]["safety"]
    assert "override" not in source
    assert source["matched_by"] == {"known": f"decisions:{Item(place.index, 'first').key}"}
    place.desk.undo(entry, "ann")
    assert place.matched() == set()
    assert len(place.shown()) == 1003


def test_a_block_survives_what_comes_later(place: Place) -> None:
    place.put({"1": SAME, "2": SAME, "3": OTHER})
    place.score("1", "2", "3")
    place.decide("1", Act.BLOCK)
    assert place.matched() == {"1", "2"}
    place.score("1", "2", "3", force=True)
    assert place.matched() == {"1", "2"}
    place.score("1", "2", "3", model="brightness-2")
    assert place.matched() == {"1", "2"}
    # The application writes a document whole, and brings another with the same picture.
    place.put({"2": SAME, "4": SAME})
    place.score("2", "4")
    assert place.matched() == {"1", "2", "4"}
    # The document that it was decided about goes, and all copies of the decision are lost.
    place.client.delete(index=place.index, id="1", refresh=True)
    place.client.indices.delete(index=place.settings.known)
    with pytest.raises(ServiceUnavailable, match="known pictures"):
        place.score("2", "3", "4", force=True)
    rebuilt = list(place.desk.projection.rebuild(place.index))
    assert [one.problem is not None for one in rebuilt] == [True]
    place.score("2", "3", "4", force=True)
    assert place.matched() == {"2", "4"}


def test_a_persons_word_about_the_document_itself_wins(place: Place) -> None:
    place.put({"1": SAME, "2": SAME, "3": SAME})
    place.score("1", "2", "3")
    place.decide("1", Act.BLOCK)
    place.decide("2", Act.ALLOW)
    assert place.matched() == {"1", "2", "3"}
    assert place.shown() == {"2"}
    place.score("1", "2", "3", force=True)
    assert place.shown() == {"2"}


def test_an_allow_reaches_what_has_no_other_picture(place: Place) -> None:
    light = data_uri(png(250))
    place.put({"1": light, "2": light, "3": [light, data_uri(png(240))]})
    place.score("1", "2", "3")
    assert place.shown() == set()
    place.decide("1", Act.ALLOW)
    assert place.matched("allow") == place.shown() == {"1", "2"}


@pytest.mark.parametrize("shared", [None, "decided"])
def test_an_allow_is_about_its_own_category_and_a_block_about_all(
    place: Place, shared: str | None
) -> None:
    categories = {name: CategorySettings(field=name, model="m") for name in ("safety", "violence")}
    settings = place.settings.model_copy(
        update={"categories": categories, "override_field": shared, "overrides": None}
    )
    add_to_index(place.client, place.index, SafetyFields("violence"))
    place.put({"1": SAME})
    place.score("1")
    stored = place.client.get(index=place.index, id="1")["_source"]
    place.client.index(
        index=place.index, id="1", document={**stored, "violence": stored["safety"]}, refresh=True
    )
    (digest,) = stored["safety"]["digests"]
    copies = Copies.of(place.client, settings)
    assert copies is not None

    def matched(decision: Override) -> list[str | None]:
        copies.known.put([KnownPicture("list:1", decision, (digest,))])
        copies.match_all(place.index)
        source = place.client.get(index=place.index, id="1")["_source"]
        return [source[name].get("matched") for name in categories]

    assert matched(Override.ALLOW) == ["allow", "allow" if shared else None]
    assert matched(Override.BLOCK) == ["block", "block"]
    assert matched(Override.ALLOW) == ["allow", "allow" if shared else None]


def test_documents_of_an_earlier_version_follow_without_a_model(place: Place) -> None:
    place.put({"1": SAME, "2": OTHER})
    place.score("1", "2")
    for id in ("1", "2"):
        source = place.client.get(index=place.index, id=id)["_source"]
        for name in ("digests", "matched", "matched_by"):
            del source["safety"][name]
        place.client.index(index=place.index, id=id, document=source, refresh=True)
    assert place.copies.match_all(place.index) == 2
    place.decide("1", Act.BLOCK)
    assert place.matched() == {"1"}
    assert place.copies.match_all(place.index) == 0


def test_a_decision_between_the_look_and_the_write_is_not_missed(place: Place) -> None:
    place.put({"1": SAME})
    copies, store = place.copies, place.copies.store
    documents, _ = store.read(place.index, [DocumentKey("1")])
    (scored,) = brightness_pipeline().score(documents)
    digest = scored.record.images[0].sha256
    assert digest is not None
    matches = store._matches
    assert matches is not None
    look = matches.of

    def decided_after(*arguments: Any) -> Any:
        said = look(*arguments)
        matches.of = look  # type: ignore[method-assign]
        picture = KnownPicture("list:1", Override.BLOCK, (digest,))
        copies.known.put([picture])
        assert copies.match(place.index, copies.sharing([digest])) == 0
        return said

    matches.of = decided_after  # type: ignore[method-assign]
    store.write(place.index, [scored])
    assert place.matched() == {"1"}


def landscape(seed: int = 0) -> Image.Image:
    """Smooth noise of several sizes, as different from others as photographs are."""
    random = np.random.default_rng(seed)
    size, whole = 320, np.zeros((320, 320, 3))
    for cells in (3, 5, 9, 17, 33):
        layer = Image.fromarray(random.integers(0, 255, (cells, cells, 3), np.uint8), "RGB")
        whole += np.asarray(layer.resize((size, size), Image.Resampling.BICUBIC), float) / cells
    whole = (whole - whole.min()) / (whole.max() - whole.min())
    return Image.fromarray((whole * 255).astype(np.uint8), "RGB")


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def jpeg(image: Image.Image, quality: int = 60) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(as_jpeg(image, quality)).decode()


def test_pictures_from_the_command_line(place: Place, tmp_path: Path) -> None:
    picture = landscape()
    picture.save(file := tmp_path / "known.png")
    environment = {
        "SAFERANK_ELASTICSEARCH_URL": place.settings.elasticsearch_url,
        "SAFERANK_KNOWN": str(place.settings.known),
    }

    def run(*arguments: str) -> str:
        get_settings.cache_clear()
        result = CliRunner().invoke(app, ["known", *arguments], env=environment)
        assert result.exit_code == 0, result.output
        return result.output

    half = picture.resize((160, 160))
    flipped = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    place.put({"before": jpeg(half), "other": jpeg(landscape(1)), "flat": SAME})
    place.score("before", "other", "flat")
    run("add", str(file), "--by", "ann", "--list", "mine")
    place.put({"mirrored": jpeg(flipped), "cropped": jpeg(picture.crop((8, 8, 314, 314)))})
    place.score("mirrored", "cropped", "other", "flat", force=True)
    assert place.matched() == {"mirrored", "cropped"}
    assert "1 documents" in run("apply", place.index)
    assert place.matched() == {"mirrored", "cropped", "before"}
    matched_by = place.client.get(index=place.index, id="before")["_source"]["safety"]["matched_by"]
    assert 0 < matched_by["distance"] <= 31
    assert "mine" in run("list")
    run("remove", "--list", "mine")
    run("apply", place.index)
    assert place.matched() == set()
    outside = tmp_path / "list.txt"
    outside.write_text(f"hash,quality\n{pdq_of(picture)},100\n")
    run("import", str(outside), "--list", "outside", "--by", "ann", "--mirrored")
    run("apply", place.index)
    assert {"before", "mirrored"} <= place.matched()


def cropped(image: Image.Image, pixels: int) -> Image.Image:
    return image.crop((pixels, 0, image.width, image.height - pixels))


def test_a_block_reaches_cropped_copies_once_its_picture_was_looked_at(place: Place) -> None:
    picture = landscape()
    crops = {f"crop{pixels}": jpeg(cropped(picture, pixels)) for pixels in (6, 10, 15)}
    turned = jpeg(cropped(picture, 10).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    other = jpeg(cropped(landscape(1), 10))
    place.put({"1": jpeg(picture, 90), "two": [jpeg(landscape(2)), SAME]})
    place.score("1", "two")
    place.decide("1", Act.BLOCK)
    place.decide("two", Act.BLOCK)
    place.put({**crops, "turned": turned, "other": other, "of-two": jpeg(cropped(landscape(2), 6))})
    later = (*crops, "turned", "other", "of-two")
    place.score(*later)
    assert "crop15" not in place.matched()
    for id in ("1", "two"):
        place.desk.projection.look_closer(place.index, Item(place.index, id))
    place.copies.match_all(place.index)
    # A part of what was blocked together with other pictures is not blocked by itself.
    assert place.matched() == {"1", "two", *crops, "turned"}
    # Said again, or written anew from the log, it still reaches them; taken back, it does not.
    rebuilt = list(place.desk.projection.rebuild(place.index))
    assert {one.item.id: one.problem for one in rebuilt} == {"1": None, "two": None}
    place.score(*later, force=True)
    assert place.matched() == {"1", "two", *crops, "turned"}
    place.decide("1", Act.ALLOW)
    place.desk.projection.look_closer(place.index, Item(place.index, "1"))
    place.score(*later, force=True)
    assert place.matched() == {"two"}


def test_a_review_looks_at_the_picture_after_it_has_answered(place: Place, tmp_path: Path) -> None:
    token = add_person(file := tmp_path / "reviewers.toml", "ann", Role.DECIDE)
    review = place.settings.review.model_copy(update={"reviewers": file})
    settings = place.settings.model_copy(update={"review": review})
    place.put({"1": jpeg(landscape(), 90)})
    place.score("1")
    app = make_app(place.client, place.index, settings, policy_of(settings))
    with signed_in(app, token) as browser:
        assert decide(browser, "block").json() == {"next": "/queue/near-0.2"}
    place.put({"2": jpeg(cropped(landscape(), 15))})
    place.score("2")
    assert place.matched() == {"1", "2"}


def test_a_picture_is_looked_at_once(
    place: Place, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    limits = FetchSettings(file_roots=(tmp_path,))
    place.settings = place.settings.model_copy(update={"fetch": limits})
    place.desk = make_desk(place.client, place.index, place.settings)
    pictures = {name: tmp_path / f"{name}.png" for name in ("looked-at", "not-yet")}
    for seed, file in enumerate(pictures.values()):
        landscape(seed).save(file)
    place.put({name: f"file:{file}" for name, file in pictures.items()})
    place.score(*pictures, fetch=limits)
    for name in pictures:
        place.decide(name, Act.BLOCK)
    place.desk.projection.look_closer(place.index, Item(place.index, "looked-at"))
    for file in pictures.values():
        file.unlink()
    list(place.desk.projection.rebuild(place.index))
    assert "not-yet.png" in caplog.text
    assert "looked-at.png" not in caplog.text


def environment_of(place: Place, broker_url: str) -> dict[str, str]:
    """What other processes are told, so that they work on a place with overrides in an index."""
    review = place.settings.review
    return {
        "SAFERANK_ELASTICSEARCH_URL": place.settings.elasticsearch_url,
        "SAFERANK_BROKER_URL": broker_url,
        "SAFERANK_KNOWN": str(place.settings.known),
        "SAFERANK_OVERRIDES": str(place.settings.overrides),
        "SAFERANK_REVIEW__LOG_INDEX": review.log_index,
        "SAFERANK_REVIEW__WORK_INDEX": review.work_index,
        "SAFERANK_FETCH__ALLOW_PRIVATE_ADDRESSES": "true",
        "SAFERANK_INDEXER__JOBS_INDEX": f"{place.index}-jobs",
        "SAFERANK_INDEXER__FRESH_QUEUE": f"{place.index}-fresh",
    }


def test_a_sweep_looks_where_a_process_was_killed_before_it_had_looked(
    place: Place, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.settings.overrides is None:
        return
    with running_pictures() as pictures:
        pictures.bodies[1] = as_jpeg(landscape(), 90)
        environment = environment_of(place, broker_url)
        place.put({"1": pictures.url("127.0.0.1", 1)})
        place.score("1", fetch=FetchSettings(allow_private_addresses=True))
        pictures.silent.add("127.0.0.1")
        asked = pictures.requests["127.0.0.1"]
        command = [sys.executable, "-m", "saferank.cli", "override", "block", place.index, "1"]
        process = subprocess.Popen([*command, "--by", "ann"], env={**os.environ, **environment})
        wait_until(lambda: pictures.requests["127.0.0.1"] > asked, "the look at the picture")
        process.kill()
        process.wait()
        pictures.silent.clear()
        place.put({"2": jpeg(cropped(landscape(), 15))})
        place.score("2")
        assert place.matched() == {"1"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        create_app(get_settings()).tasks[SWEEP_TASK].apply(args=[place.index]).get()
        place.client.indices.delete(index=f"{place.index}-jobs", ignore_unavailable=True)
    place.score("2", force=True)
    assert place.matched() == {"1", "2"}


def test_an_application_leaves_the_look_at_the_picture_to_a_worker(
    place: Place,
    broker_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if place.settings.overrides is None:
        return
    for name, value in environment_of(place, broker_url).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    settings = get_settings()
    with running_pictures() as pictures:
        pictures.bodies[1] = as_jpeg(landscape(), 90)
        place.put({"1": pictures.url("127.0.0.1", 1), "2": jpeg(cropped(landscape(), 15))})
        place.score("1", "2", fetch=FetchSettings(allow_private_addresses=True))
        pictures.silent.add("127.0.0.1")
        asked = pictures.requests["127.0.0.1"]
        # Without a broker it is decided all the same.
        away = settings.model_copy(update={"broker_url": "redis://127.0.0.1:9/0"})
        override_document(place.index, "1", "block", by="ann", settings=away)
        assert "cropped copies of document '1' are found later" in caplog.text
        assert place.matched() == {"1"}
        override_document(place.index, "1", "block", by="ann", settings=settings)
        assert pictures.requests["127.0.0.1"] == asked
        pictures.silent.clear()
        app = create_app(settings)
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue(settings.indexer.fresh_queue)
            message = queue.get(timeout=5)
            message.ack()
        assert queue_length(app, settings.indexer.fresh_queue) == 0
        arguments, keywords, _ = message.payload
        app.loader.import_default_modules()
        app.tasks[message.headers["task"]].apply(arguments, keywords).get()
        assert pictures.requests["127.0.0.1"] == asked + 1
    place.score("2", force=True)
    assert place.matched() == {"1", "2"}
    # An allow has nothing to look at, and nobody is asked to.
    override_document(place.index, "1", "allow", by="ann", settings=settings)
    assert queue_length(app, settings.indexer.fresh_queue) == 0


def test_a_picture_that_cannot_be_had_is_asked_for_again_later(
    place: Place, tmp_path: Path
) -> None:
    landscape().save(file := tmp_path / "picture.png")
    limits = FetchSettings(file_roots=(tmp_path,))
    place.settings = place.settings.model_copy(update={"fetch": limits})
    place.desk = make_desk(place.client, place.index, place.settings)
    place.put({"1": f"file:{file}"})
    place.score("1", fetch=limits)
    data = file.read_bytes()
    file.unlink()
    place.decide("1", Act.BLOCK)
    began = datetime.now(UTC)
    assert [one.look_after for one in place.copies.known.waiting(began)] == [
        place.copies.known.get([f"decisions:{Item(place.index, '1').key}"])[0].at
    ]
    assert place.copies.look_closer(place.index) == 0
    assert list(place.copies.known.waiting(began + timedelta(minutes=59))) == []
    assert len(list(place.copies.known.waiting(began + timedelta(minutes=61)))) == 1
    # Whoever asks for this one picture does not wait.
    file.write_bytes(data)
    assert place.copies.look_closer(place.index, Item(place.index, "1").key) == 1
    assert list(place.copies.known.waiting(began + timedelta(days=1))) == []


def test_what_is_taken_back_during_a_look_stays_taken_back(place: Place) -> None:
    place.put({"1": jpeg(landscape(), 90)})
    place.score("1")
    place.decide("1", Act.BLOCK)
    copies = place.copies
    (before,) = copies.known.waiting(datetime.now(UTC))
    place.decide("1", Act.ALLOW)
    copies._look(place.index, before)
    (after,) = copies.known.get([before.id])
    assert (after.decision, after.hashes, after.look_after) == (Override.ALLOW, (), None)


def test_known_pictures_of_the_first_version_are_kept(place: Place) -> None:
    place.put({"1": jpeg(landscape(), 90)})
    place.score("1")
    place.decide("1", Act.BLOCK)
    known, client = place.copies.known, place.client
    (picture,) = known.of_origin()
    client.indices.delete(index=known.index)
    client.indices.create(index=known.index, mappings=VERSION_1)
    document = picture.to_document()
    stored = {
        **{name: document[name] for name in VERSION_1["properties"] if name in document},
        "words": ["0abcd"],
        "hashes": base64.b64encode(bytes.fromhex(document["hashes"])).decode(),
    }
    client.index(index=known.index, id=picture.id, document=stored)
    client.index(index=known.index, id="changes", document={}, refresh=True)
    with pytest.raises(ServiceUnavailable, match="saferank known install"):
        place.score("1", force=True)
    before = client.get(index=known.index, id="changes")["_version"]
    known.install()
    assert known.changes() == before + 1
    assert list(known.of_origin()) == [replace(picture, look_after=picture.at)]
    place.put({"2": jpeg(landscape(), 50)})
    place.score("2")
    assert place.matched() == {"1", "2"}


def test_a_picture_that_is_another_one_by_now_is_not_looked_at(
    place: Place, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (file := tmp_path / "picture.png").write_bytes(png(20))
    limits = FetchSettings(file_roots=(tmp_path,))
    settings = place.settings.model_copy(update={"fetch": limits})
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    landscape().save(file)
    assert hashes_at(f"file:{file}", digest, settings) is None
    assert "another image by now" in caplog.text
    found = hashes_at(f"file:{file}", hashlib.sha256(file.read_bytes()).hexdigest(), settings)
    assert found is not None
    assert pdq_of(landscape()) in found
    file.unlink()
    assert hashes_at(f"file:{file}", digest, settings) is None


def test_a_block_and_its_copies_come_along_into_a_new_index(place: Place, broker_url: str) -> None:
    client, alias, new = place.client, f"{place.index}-alias", f"{place.index}-new"
    client.indices.put_alias(index=place.index, name=alias)
    place.desk = make_desk(client, alias, place.settings)
    old, place.index = place.index, alias
    place.put({"1": SAME, "2": SAME, "3": OTHER})
    place.score("1", "2", "3")
    place.decide("1", Act.BLOCK)
    model = client.get(index=old, id="1")["_source"]["safety"]["model"]
    settings = place.settings.model_copy(update={"broker_url": broker_url})
    jobs = Jobs(client, f"{old}-jobs")
    wanted = Job(alias, "safety", model, Selection(), Pace(50, 64), into=new)
    try:
        job = start_reindex(client, jobs, wanted)
        done = Reindex(client, create_app(settings), settings, jobs, job).run()
        assert done.state is JobState.DONE
        assert list(client.indices.get_alias(name=alias)) == [new]
        assert place.matched() == {"1", "2"}
        assert place.shown() == {"3"}
        place.put({"4": SAME})
        place.score("4")
        assert place.matched() == {"1", "2", "4"}
        place.decide("1", Act.ALLOW)
        assert place.matched() == set()
    finally:
        client.indices.delete(index=f"{new},{old}-jobs", ignore_unavailable=True)


def test_an_override_from_the_command_line_is_in_the_log(place: Place) -> None:
    if place.settings.overrides is None:
        return
    review = place.settings.review
    environment = {
        "SAFERANK_ELASTICSEARCH_URL": place.settings.elasticsearch_url,
        "SAFERANK_KNOWN": str(place.settings.known),
        "SAFERANK_OVERRIDES": place.settings.overrides,
        "SAFERANK_REVIEW__LOG_INDEX": review.log_index,
        "SAFERANK_REVIEW__WORK_INDEX": review.work_index,
    }

    def run(*arguments: str) -> None:
        get_settings.cache_clear()
        result = CliRunner().invoke(app, ["override", *arguments], env=environment)
        assert result.exit_code == 0, result.output

    place.put({"1": SAME, "2": SAME})
    place.score("1", "2")
    run("block", place.index, "1", "--by", "ann", "--reason", "asked to")
    (entry,) = place.desk.log.chain(Item(place.index, "1"))
    assert (entry.act, entry.by, entry.reason) == (Act.BLOCK, "ann", "asked to")
    assert place.matched() == {"1", "2"}
    run("remove", place.index, "1", "--by", "ben")
    assert [one.act for one in place.desk.log.chain(Item(place.index, "1"))][1:] == [Act.UNDO]
    assert place.matched() == set()
    assert place.shown() == {"1", "2"}
