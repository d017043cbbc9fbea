"""What reviewers decide is kept, in force, and made again from the log."""

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from reviewed import document, fill, make_desk, policy_of, review_settings
from typer.testing import CliRunner

from saferank.cli import app
from saferank.errors import ConfigurationError, MappingError
from saferank.mappings import SafetyFields, add_to_index
from saferank.mappings.override_index import override, read_overrides
from saferank.mappings.overrides import OverrideRecord, override_in
from saferank.mappings.record import Override
from saferank.ranker import SafeSearch, load_policy
from saferank.review.desk import Desk, Form, Refused
from saferank.review.entries import Act, Entry, Item
from saferank.review.queues import policy_version
from saferank.review.sample import find_items, read_sample
from saferank.settings import CategorySettings, Settings


@pytest.fixture(params=[False, True], ids=["in-documents", "in-an-index"])
def settings(request: pytest.FixtureRequest, elasticsearch_url: str) -> Iterator[Settings]:
    with review_settings(elasticsearch_url, kept=request.param) as (made, _):
        yield made


@pytest.fixture
def desk(client: Elasticsearch, settings: Settings, index_name: str) -> Desk:
    fill(client, index_name, [0.1, 0.19, 0.2, 0.24, 0.5, 0.79, 0.8, 0.95, None, None])
    return make_desk(client, index_name, settings)


def form(desk: Desk, item: Item, **more: Any) -> Form:
    seen = len(desk.log.chain(item))
    return Form(uuid.uuid4().hex, seen, desk.see(item).version, **more)


def decide(desk: Desk, id: str, act: Act, person: str = "ann", **more: Any) -> Entry:
    item = Item(desk.index, id)
    return desk.decide(item, person, act, form(desk, item, **more))


def stored(client: Elasticsearch, desk: Desk, id: str) -> str | None:
    source = client.get(index=desk.index, id=id)["_source"]
    found = override_in(source, desk.fields.override_object)
    return None if found is None else found.override.value


def test_queues_have_what_they_say_in_their_order(desk: Desk) -> None:
    def all_of(name: str) -> list[str]:
        items = desk.take(desk.queues[name], "ann", 20)
        for item in items:
            desk.work.release(item, "ann")
        return [item.id for item in items]

    assert all_of("near-0.2")[:5] == ["2", "1", "3", "0", "4"]
    assert all_of("near-0.8")[:3] == ["6", "5", "7"]
    assert all_of("failed") == ["8", "9"]
    assert sorted(all_of("audit")) == ["0", "1"]
    assert all_of("reported") == []


def test_a_drawn_sample_is_a_queue_in_the_order_of_its_file(
    client: Elasticsearch, settings: Settings, index_name: str, tmp_path: Path
) -> None:
    fill(client, index_name, [0.1, 0.3, 0.5, 0.9])
    # A routed document is found without being told its routing.
    client.index(index=index_name, id="far", routing="r7", document=document(9, 0.4), refresh=True)
    file = tmp_path / "sample.csv"
    rows = [f"{index_name},{id}" for id in ("3", "far", "gone", "0", "3")]
    file.write_text("\n".join(["index,id", *rows, "other,1"]))
    items = find_items(client, index_name, read_sample(file))
    assert [(item.id, item.routing) for item in items] == [("3", None), ("far", "r7"), ("0", None)]
    desk = Desk(client, index_name, settings, policy_of(settings), items)
    desk.install()
    queue = desk.queues["sample"]
    assert next(iter(desk.queues)) == "sample"
    assert desk.take(queue, "ann", 9) == list(items)
    for item in items[:2]:
        desk.decide(item, "ann", Act.BLOCK, form(desk, item, queue="sample"))
    assert desk.take(queue, "ann", 9) == [items[2]]
    assert desk.take(queue, "lea", 9) == []


OF_BOTH = """version: 2
categories:
  nudity: {field: safety, override_field: decided}
  violence: {field: violence, override_field: decided}
levels:
  off: {}
  some:
    nudity: {hide_from: 0.9, unscored: show}
    violence: {hide_from: 0.4, unscored: show}
contexts: [{level: some}]
"""


def test_a_review_of_a_category_decides_about_the_document(
    client: Elasticsearch, index_name: str, elasticsearch_url: str
) -> None:
    with review_settings(elasticsearch_url) as (made, _):
        several = {name: CategorySettings(field=name, model="m") for name in ("safety", "violence")}
        settings = made.model_copy(update={"categories": several, "override_field": "decided"})
        fill(client, index_name, [0.1, 0.2, 0.3])
        for field in several:
            add_to_index(client, index_name, SafetyFields(field, "decided"))
        for id, probability in (("0", 0.6), ("1", 0.41), ("2", 0.39)):
            record = {"probability": probability, "status": "scored", "model": "m"}
            client.update(index=index_name, id=id, doc={"violence": record}, refresh=True)
        policy, alone = load_policy(OF_BOTH), settings.of_category("violence")
        desk = Desk(client, index_name, alone, policy.about(SafetyFields.of(alone)))
        desk.install()
        near = [item.id for item in desk.take(desk.queues["near-0.4"], "ann", 3)]
        assert sorted(near[:2]) == ["1", "2"]
        decide(desk, "1", Act.ALLOW)
        decide(desk, "2", Act.BLOCK)
        client.indices.refresh(index=index_name)
        hits = SafeSearch(client, policy).search(index=index_name)["hits"]["hits"]
        assert [hit["_id"] for hit in hits] == ["1"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,label\n1,\n", "the column 'index' is missing"),
        ("index,probability\na,1\n", "the column 'id' is missing"),
        ("index,id\n", "it has no documents"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_sample_is_refused(tmp_path: Path, text: str | None, reason: str) -> None:
    file = tmp_path / "sample.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        read_sample(file)


def test_a_decision_is_in_the_log_and_in_force(client: Elasticsearch, desk: Desk) -> None:
    entry = decide(desk, "2", Act.BLOCK, queue="near-0.2", reason=" rude ")
    chain = desk.log.chain(entry.item)
    assert [one.number for one in chain] == [1]
    one = chain[0]
    assert (one.by, one.queue, one.reason, one.model) == ("ann", "near-0.2", "rude", "test-1")
    assert one.probability == 0.2
    assert one.policy == policy_version(desk.policy)
    assert one.digests == (f"{2:064x}",)
    assert stored(client, desk, "2") == "block"
    safe = SafeSearch(client, desk.policy)
    client.indices.refresh(index=desk.index)
    found = [hit["_id"] for hit in safe.search(index=desk.index, size=20)["hits"]["hits"]]
    assert "2" not in found
    # What is decided comes to nobody again, even before a refresh.
    decide(desk, "1", Act.ALLOW)
    assert [i.id for i in desk.take(desk.queues["near-0.2"], "ben", 2)] == ["3", "0"]


def test_the_same_form_sent_twice_is_one_entry(client: Elasticsearch, desk: Desk) -> None:
    item = Item(desk.index, "2")
    same = form(desk, item)
    first = desk.decide(item, "ann", Act.BLOCK, same)
    assert desk.decide(item, "ann", Act.BLOCK, same) == first
    assert len(desk.log.chain(item)) == 1


def test_a_decision_about_something_else_than_was_seen_is_refused(
    client: Elasticsearch, desk: Desk
) -> None:
    item = Item(desk.index, "2")
    early = form(desk, item)
    other = {**document(77, 0.2)}
    client.index(index=desk.index, id="2", document=other)
    with pytest.raises(Refused, match="other images than you saw"):
        desk.decide(item, "ann", Act.ALLOW, early)
    late = form(desk, item)
    desk.work.release(item, "ann")
    decide(desk, "2", Act.BLOCK, "ben")
    with pytest.raises(Refused, match="ben blocked this document meanwhile"):
        desk.decide(item, "ann", Act.ALLOW, late)
    assert [one.by for one in desk.log.chain(item)] == ["ben"]
    assert stored(client, desk, "2") == "block"


def test_a_report_in_between_does_not_stop_a_decision(desk: Desk) -> None:
    item = Item(desk.index, "2")
    early = form(desk, item)
    assert desk.report(item, "app", "complained about")
    assert not desk.report(item, "app", "again")
    assert desk.decide(item, "ann", Act.ALLOW, early).number == 2


def test_what_was_reported_waits_until_it_is_decided(
    client: Elasticsearch, desk: Desk, settings: Settings
) -> None:
    reported = desk.queues["reported"]
    decide(desk, "7", Act.ALLOW)
    assert desk.report(Item(desk.index, "7"), "app", "rude")
    client.indices.refresh(index=settings.review.work_index)
    assert [item.id for item in desk.take(reported, "ann")] == ["7"]
    decide(desk, "7", Act.BLOCK, queue="reported")
    client.indices.refresh(index=settings.review.work_index)
    assert desk.take(reported, "ann") == []
    assert desk.work.count(desk.index, "reported") == 0
    assert stored(client, desk, "7") == "block"
    with pytest.raises(MappingError, match="no document 'none'"):
        desk.report(Item(desk.index, "none"), "app")


def test_an_undo_is_an_entry_and_brings_back_what_others_had_decided(
    client: Elasticsearch, desk: Desk
) -> None:
    kept = desk.projection.overrides_index
    outside = OverrideRecord(Override.BLOCK, "operator", reason="law")
    override(client, kept, desk.fields, desk.index, "2", outside)
    entry = decide(desk, "2", Act.ALLOW)
    assert stored(client, desk, "2") == "allow"
    with pytest.raises(Refused, match="only your own"):
        desk.undo(entry, "ben")
    desk.undo(entry, "ben", others=True)
    with pytest.raises(Refused, match="taken back before"):
        desk.undo(entry, "ann")
    assert [one.act for one in desk.log.chain(entry.item)] == [Act.ALLOW, Act.UNDO]
    assert client.get(index=desk.index, id="2")["_source"]["safety"]["override_by"] == "operator"
    first = decide(desk, "3", Act.BLOCK)
    desk.undo(first, "ann")
    assert stored(client, desk, "3") is None


def test_undo_goes_back_step_by_step_and_a_batch_is_one_step(
    client: Elasticsearch, desk: Desk
) -> None:
    decide(desk, "0", Act.BLOCK)
    for id in ("1", "2", "3"):
        decide(desk, id, Act.ALLOW, batch="b1")
    decide(desk, "4", Act.SKIP)
    steps = []
    while last := desk.last_action("ann"):
        steps.append(sorted(entry.item.id for entry in last))
        for entry in last:
            desk.undo(entry, "ann")
    assert steps == [["4"], ["1", "2", "3"], ["0"]]
    assert [stored(client, desk, str(place)) for place in range(5)] == [None] * 5


def test_no_item_is_before_two_people_until_a_lease_ends(
    client: Elasticsearch, elasticsearch_url: str, index_name: str
) -> None:
    fill(client, index_name, [0.2] * 3)
    with review_settings(elasticsearch_url, lease=1.0) as (settings, _):
        desk = make_desk(client, index_name, settings)
        queue = desk.queues["near-0.2"]
        mine = desk.take(queue, "ann", 2)
        assert len(mine) == 2
        assert desk.take(queue, "ann", 2) == mine
        theirs = desk.take(queue, "ben", 3)
        assert len(theirs) == 1
        assert theirs[0] not in mine
        early = form(desk, theirs[0])
        with pytest.raises(Refused, match="another reviewer has"):
            desk.decide(theirs[0], "ann", Act.BLOCK, early)
        time.sleep(1.1)
        assert sorted(item.id for item in desk.take(queue, "cem", 3)) == ["0", "1", "2"]
        # Whoever was slow can still decide if nobody else has it.
        desk.work.release(theirs[0], "cem")
        assert desk.decide(theirs[0], "ben", Act.BLOCK, early).number == 1


def test_two_people_empty_a_queue_and_meet_nowhere(
    client: Elasticsearch, elasticsearch_url: str, index_name: str
) -> None:
    fill(client, index_name, [0.2] * 60)
    with review_settings(elasticsearch_url) as (settings, _):
        desks = [make_desk(client, index_name, settings) for _ in range(2)]
        shown: dict[str, list[str]] = {"ann": [], "ben": []}

        def work(desk: Desk, person: str) -> None:
            while items := desk.take(desk.queues["near-0.2"], person):
                shown[person].append(items[0].id)
                desk.decide(items[0], person, Act.BLOCK, form(desk, items[0]))

        threads = [
            threading.Thread(target=work, args=(desk, person))
            for desk, person in zip(desks, shown, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(shown["ann"]) + len(shown["ben"]) == 60
        assert set(shown["ann"]) & set(shown["ben"]) == set()
        assert len(list(desks[0].log.entries(index=index_name))) == 60


def test_of_two_opinions_the_second_person_is_asked_and_the_first_is_not(
    client: Elasticsearch, elasticsearch_url: str, index_name: str
) -> None:
    fill(client, index_name, [0.2, 0.2])
    with review_settings(elasticsearch_url, opinions=2) as (settings, _):
        desk = make_desk(client, index_name, settings)
        decide(desk, "0", Act.ALLOW)
        assert stored(client, desk, "0") is None
        client.indices.refresh(index=settings.review.work_index)
        second = desk.queues["second"]
        assert desk.take(second, "ann") == []
        assert [item.id for item in desk.take(second, "ben")] == ["0"]
        decide(desk, "0", Act.ALLOW, "ben")
        assert stored(client, desk, "0") == "allow"
        client.indices.refresh(index=settings.review.work_index)
        assert desk.take(second, "cem") == []


def test_a_log_that_is_gone_is_told_and_nothing_is_decided(
    client: Elasticsearch, desk: Desk, settings: Settings
) -> None:
    client.indices.delete(index=settings.review.log_index)
    with pytest.raises(MappingError, match=r"review log .* cannot be read .*no such index"):
        decide(desk, "1", Act.BLOCK)
    assert stored(client, desk, "1") is None


def test_a_reason_is_asked_where_the_queue_wants_one(
    client: Elasticsearch, elasticsearch_url: str, index_name: str
) -> None:
    fill(client, index_name, [0.2])
    with review_settings(elasticsearch_url, reason_for=("near-0.2",)) as (settings, _):
        desk = make_desk(client, index_name, settings)
        for reason in (None, "  "):
            with pytest.raises(Refused, match="needs a reason"):
                decide(desk, "0", Act.BLOCK, queue="near-0.2", reason=reason)
        with pytest.raises(Refused, match="at most 2000 characters"):
            decide(desk, "0", Act.BLOCK, queue="near-0.2", reason="x" * 2001)
        decide(desk, "0", Act.SKIP, queue="near-0.2")
        decide(desk, "0", Act.BLOCK, queue="near-0.2", reason="rude")


def test_what_a_process_had_in_hand_when_it_ended_is_finished_by_the_next(
    client: Elasticsearch, desk: Desk, settings: Settings
) -> None:
    item = Item(desk.index, "2")
    entry = Entry(item=item, act=Act.BLOCK, by="ann", token="t")
    desk.work.acquire(item, "ann")
    desk.work.mark(item)
    desk.log.append(entry, 0)  # and here it ends
    assert stored(client, desk, "2") is None
    make_desk(client, desk.index, settings)
    assert stored(client, desk, "2") == "block"
    assert desk.work.unsettled() == []


def test_all_overrides_are_made_again_from_the_log(
    client: Elasticsearch, desk: Desk, settings: Settings
) -> None:
    for place in range(8):
        decide(desk, str(place), Act.BLOCK if place % 2 else Act.ALLOW)
    desk.undo(decide(desk, "4", Act.BLOCK, "ben"), "ben")
    desk.undo(desk.last_action("ann")[0], "ann")  # of document 7
    desk.report(Item(desk.index, "1"), "app")
    before = [stored(client, desk, str(place)) for place in range(8)]
    assert before == ["allow", "block", "allow", "block", "allow", "block", "allow", None]
    # The application writes everything anew, and the work index is lost.
    for place in range(8):
        client.index(index=desk.index, id=str(place), document=document(place, 0.2))
    client.indices.delete(index=settings.review.work_index)
    desk.work.install()
    later = OverrideRecord(Override.BLOCK, "operator")
    override(client, settings.overrides, desk.fields, desk.index, "0", later)
    client.delete(index=desk.index, id="6")
    rebuilt = {one.item.id: one for one in desk.projection.rebuild(desk.index)}
    left = [stored(client, desk, str(place)) for place in (0, 1, 2, 3, 4, 5, 7)]
    assert left == ["block", "block", "allow", "block", "allow", "block", None]
    assert rebuilt["0"].kept
    assert "no document '6'" in (rebuilt["6"].problem or "")
    assert not any(one.kept or one.problem for id, one in rebuilt.items() if id not in "06")
    client.indices.refresh(index=settings.review.work_index)
    assert desk.work.count(desk.index, "reported") == 1
    if settings.overrides is not None:
        assert read_overrides(client, settings.overrides).blocked == {
            desk.index: ["0", "1", "3", "5"]
        }


def test_the_command_rebuilds_and_says_what_it_could_not(
    client: Elasticsearch, desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id in ("0", "1", "2"):
        decide(desk, id, Act.BLOCK)
    client.index(index=desk.index, id="0", document=document(0, 0.1))
    client.delete(index=desk.index, id="1")
    later = OverrideRecord(Override.ALLOW, "operator")
    override(client, settings.overrides, desk.fields, desk.index, "2", later)
    monkeypatch.setattr("saferank.cli.review_log.get_settings", lambda: settings)
    answer = CliRunner().invoke(app, ["review-log", "rebuild", desk.index])
    assert answer.exit_code == 1
    # Lines are as wide as the terminal.
    said = " ".join(answer.output.split())
    assert "1 documents are as the log says; 1 were decided about elsewhere" in said
    assert "has no document '1'" in said
    assert stored(client, desk, "0") == "block"
    assert stored(client, desk, "2") == "allow"
    document_again = {**document(1, 0.2)}
    client.index(index=desk.index, id="1", document=document_again)
    answer = CliRunner().invoke(app, ["review-log", "rebuild"])
    assert answer.exit_code == 0, answer.output
    assert stored(client, desk, "1") == "block"


def test_an_alias_takes_its_log_along_to_another_index(
    client: Elasticsearch, settings: Settings, index_name: str
) -> None:
    alias, copy = f"{index_name}-alias", f"{index_name}-copy"
    fill(client, index_name, [0.2, 0.2])
    client.indices.update_aliases(actions=[{"add": {"index": index_name, "alias": alias}}])
    try:
        desk = make_desk(client, alias, settings)
        decide(desk, "0", Act.BLOCK)
        with pytest.raises(MappingError, match="name the alias"):
            make_desk(client, index_name, settings).see(Item(index_name, "0"))
        fill(client, copy, [0.2, 0.2])
        moved = [{"remove": {"index": index_name, "alias": alias}}]
        client.indices.update_aliases(actions=[*moved, {"add": {"index": copy, "alias": alias}}])
        assert stored(client, desk, "0") is None
        assert [one.problem for one in desk.projection.rebuild(alias)] == [None]
        assert stored(client, desk, "0") == "block"
    finally:
        client.indices.delete(index=copy, ignore_unavailable=True)


def test_an_allow_is_for_the_images_that_were_seen(
    client: Elasticsearch, elasticsearch_url: str, index_name: str
) -> None:
    fill(client, index_name, [0.2])
    with review_settings(elasticsearch_url, kept=True) as (settings, _):
        desk = make_desk(client, index_name, settings)
        decide(desk, "0", Act.ALLOW)
        client.index(index=index_name, id="0", document=document(9, 0.9))
        assert [one.problem for one in desk.projection.rebuild()] == [None]
        assert stored(client, desk, "0") is None
        client.index(index=index_name, id="0", document=document(0, 0.2))
        assert [one.problem for one in desk.projection.rebuild()] == [None]
        assert stored(client, desk, "0") == "allow"
        assert policy_of(settings).overrides == settings.overrides
