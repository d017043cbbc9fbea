"""``saferank explain`` on a real node: what it says of a document is what searches do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from typer.testing import CliRunner, Result

from saferank import SafeSearch, load_policy, override_document
from saferank.cli import app
from saferank.errors import DocumentNotFound, MappingError
from saferank.mappings import template
from saferank.mappings.fields import SafetyFields
from saferank.mappings.override_index import install_overrides
from saferank.ranker.why import because, why
from saferank.settings import get_settings

POLICY = """\
version: 1
levels:
  off: {}
  moderate: {demote_from: 0.2, blur_from: 0.4, hide_from: 0.8, unscored: demote, failed: blur}
  strict: {hide_from: 0.2, unscored: hide, no_image: hide}
contexts:
  - {when: {audience: child}, level: strict, locked: true}
  - {level: moderate}
"""
SAFETY: dict[str, dict[str, Any]] = {
    "low": {"probability": 0.1, "status": "scored"},
    "at-a-threshold": {"probability": 0.2, "status": "scored"},
    "middle": {"probability": 0.5, "status": "scored"},
    "high": {"probability": 0.9, "status": "scored"},
    "new": {},
    "failed": {"status": "failed", "error": "not_found"},
    "no-image": {"status": "no_image"},
    "odd-status": {"probability": 0.1, "status": "SCORED"},
    "odd-override": {"probability": 0.1, "status": "scored", "override": "BLOCK"},
    "allowed": {"probability": 0.9, "status": "scored", "override": "allow"},
    "blocked": {"probability": 0.1, "status": "scored", "override": "block"},
    "copy": {"probability": 0.1, "status": "scored", "matched": "block"},
}


@pytest.fixture
def filled(client: Elasticsearch, index_name: str) -> Iterator[str]:
    """An alias over an index with a document in each state."""
    client.indices.create(index=f"{index_name}-1", aliases={index_name: {}})
    template.add_to_index(client, index_name)
    for id, safety in SAFETY.items():
        client.index(index=index_name, id=id, document={"title": "cat", "safety": safety})
    client.indices.refresh(index=index_name)
    yield index_name
    client.indices.delete(index=f"{index_name}-1")


@pytest.fixture(autouse=True)
def policy_file(
    elasticsearch_url: str, index_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
    monkeypatch.setenv("SAFERANK_POLICY", str(path))
    monkeypatch.setenv("SAFERANK_REVIEW__LOG_INDEX", f"{index_name}-log")
    monkeypatch.setenv("SAFERANK_REVIEW__WORK_INDEX", f"{index_name}-work")
    get_settings.cache_clear()
    yield path
    get_settings.cache_clear()


@pytest.fixture
def overrides(
    client: Elasticsearch, index_name: str, policy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An index of overrides, which policy and settings name."""
    name = f"{index_name}-overrides"
    install_overrides(client, name)
    policy_file.write_text(POLICY.replace("version: 1", f"version: 1\noverrides: {name}"))
    monkeypatch.setenv("SAFERANK_OVERRIDES", name)
    get_settings.cache_clear()
    yield name
    client.indices.delete(
        index=[name, f"{index_name}-log", f"{index_name}-work"], ignore_unavailable=True
    )


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["explain", *arguments])


def explained(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.output)
    assert isinstance(found, dict)
    return found


def test_it_says_what_searches_do_with_each_document(client: Elasticsearch, filled: str) -> None:
    policy = load_policy(get_settings().policy)
    for level in policy.levels:
        safe = SafeSearch(client, policy).at_level(level)
        hits = safe.search(index=filled, size=100)["hits"]["hits"]
        done = {hit["_id"]: hit["saferank"] for hit in hits}
        for id in SAFETY:
            (found,) = why(client, filled, id, policy, [policy.decision_for(level)])
            (told,) = found.explanations
            if id in done:
                assert told.to_dict() == pytest.approx(done[id])
            else:
                assert told.action == "hidden", (level, id)


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("at-a-threshold", "its probability, 0.2, reaches hide_from 0.2"),
        ("new", "it has no probability that counts, and the level says 'unscored: hide'"),
        ("failed", "an image of it could not be scored, and the level says 'failed: hide'"),
        ("no-image", "it has no image, and the level says 'no_image: hide'"),
        ("odd-override", "it is blocked"),
        ("allowed", "it is allowed"),
        ("low", "nothing at this level speaks against it"),
    ],
)
def test_the_reason_names_the_rule(filled: str, id: str, reason: str) -> None:
    (told,) = explained(filled, id, "--level", "strict")["explanations"]
    assert told["because"] == reason


def test_all_levels_or_the_one_of_a_request(filled: str) -> None:
    levels = [told["level"] for told in explained(filled, "middle")["explanations"]]
    assert levels == ["off", "moderate", "strict"]
    request = ("--context", "audience=child", "--context", "requested=off")
    (told,) = explained(filled, "middle", *request)["explanations"]
    assert (told["level"], told["action"]) == ("strict", "hidden")
    assert "is ignored: the entry is locked" in run(filled, "middle", *request).output


@pytest.mark.parametrize(
    ("id", "change"),
    [
        ("high", "saferank override allow {index} high --by NAME"),
        ("new", "saferank index {index} new"),
        ("copy", "It is blocked as a copy. To show this document all the same: saferank override"),
        ("blocked", "To take the block back: saferank override remove {index} blocked"),
    ],
)
def test_what_would_change_it(filled: str, id: str, change: str) -> None:
    assert change.format(index=filled) in run(filled, id).output


def test_nothing_is_advised_about_what_is_shown(filled: str) -> None:
    assert "saferank " not in run(filled, "allowed").output


def test_a_block_that_the_document_does_not_have(
    client: Elasticsearch, filled: str, overrides: str
) -> None:
    override_document(filled, "low", "block", by="ann", reason="asked for by the owner")
    client.index(
        index=filled, id="low", document={"title": "saved anew"}, refresh=True
    )  # The copy is gone.
    told = explained(filled, "low", "--level", "off")
    assert [one["rule"] for one in told["explanations"]] == ["override_block"]
    assert [entry["by"] for entry in told["entries"]] == ["ann"]
    output = run(filled, "low").output
    assert "override block by ann" in output
    assert f"(asked for by the owner), in index '{overrides}'" in output
    assert f"saferank override remove {filled} low" in output


def test_what_was_decided_and_undone(filled: str, overrides: str) -> None:
    override_document(filled, "low", "block", by="ann")
    override_document(filled, "low", None, by="lea")
    output = run(filled, "low").output
    assert "review log, entry 1: block by ann" in output
    assert "review log, entry 2: undo of entry 1 by lea" in output
    assert "override block" not in output


def test_the_images_and_what_was_wrong_with_them(client: Elasticsearch, filled: str) -> None:
    image = {"reference": "http://a/b.jpg", "error": "not_found", "cause": "status 404; correct it"}
    safety = {"status": "failed", "error": "not_found", "model": "m", "images": [image]}
    client.update(index=filled, id="failed", doc={"safety": safety}, refresh=True)
    output = run(filled, "failed").output
    assert "image http://a/b.jpg: not_found: status 404; correct it" in output
    assert "The image's cause says what to change" in output


def test_each_category_says_what_is_stored(
    client: Elasticsearch, filled: str, policy_file: Path
) -> None:
    policy_file.write_text(
        "version: 2\n"
        "categories: {nudity: {field: safety}, violence: {field: second}}\n"
        "levels: {off: {}, strict: {nudity: {hide_from: 0.8, unscored: hide}, "
        "violence: {hide_from: 0.3, unscored: show}}}\n"
        "contexts: [{level: strict}]\n"
    )
    template.add_to_index(client, filled, SafetyFields("second"))
    client.update(index=filled, id="low", doc={"second": {"probability": 0.4}}, refresh=True)
    (told,) = explained(filled, "low", "--level", "strict")["explanations"]
    assert (told["category"], told["action"]) == ("violence", "hidden")
    assert told["because"] == "its probability of violence, 0.4, reaches hide_from 0.3"
    assert told["probabilities"] == {"nudity": 0.1, "violence": 0.4}


def test_what_is_not_there(client: Elasticsearch, filled: str, index_name: str) -> None:
    error = run(filled, "nobody").exception
    assert isinstance(error, DocumentNotFound)
    assert "finds a document 'nobody'" in str(error)
    assert isinstance(run(f"{index_name}-none", "low").exception, MappingError)


def test_a_reason_is_as_short_as_the_number_is(client: Elasticsearch, filled: str) -> None:
    policy = load_policy(get_settings().policy)
    (found,) = why(client, filled, "middle", policy, [policy.decision_for("moderate")])
    assert because(found.explanations[0]) == "its probability, 0.5, reaches demote_from 0.2"
