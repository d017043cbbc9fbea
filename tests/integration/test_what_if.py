"""What a policy would do, and samples for labelling: held against searches and every document."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch, helpers
from typer.testing import CliRunner, Result

from saferank.calibration.what_if import Outcome, WhatIf, near_thresholds, what_if
from saferank.cli import app
from saferank.errors import ConfigurationError
from saferank.mappings import template
from saferank.mappings.float32 import as_float32
from saferank.mappings.override_index import install_overrides, override
from saferank.mappings.overrides import OverrideRecord
from saferank.mappings.record import Override
from saferank.ranker import Policy, SafeSearch, load_policy
from saferank.ranker.level.decision import explain
from saferank.ranker.level.explanation import Explanation
from saferank.ranker.level.verdicts import Action
from saferank.settings import get_settings

DOCUMENTS = 1500
PARTS = [as_float32(number / 20) for number in range(21)]
TREATMENTS = ("show", "blur", "demote", "hide")


def a_document(draw: random.Random, *, several: bool) -> dict[str, Any]:
    safety: dict[str, Any] = {"model": draw.choice(["one", "two"])}
    if draw.random() < 0.85:
        safety["probability"] = draw.choice([*PARTS, draw.random(), -0.0, -0.5, 7])
        if several and draw.random() < 0.2:
            safety["probability"] = [safety["probability"], draw.choice(PARTS)]
    if draw.random() < 0.5:
        safety["status"] = draw.choice(
            ["scored", "failed", "no_image", "odd", ["failed", "no_image"]]
        )
    if draw.random() < 0.2:
        safety["override"] = draw.choice(["allow", "block", "odd", ["allow", "block"]])
    return {"title": "picture", "image": "https://example.org/1.jpg", "safety": safety}


@pytest.fixture(params=[False, True], ids=["one-probability", "several"])
def filled(client: Elasticsearch, index_name: str, request: pytest.FixtureRequest) -> str:
    client.indices.create(index=index_name, settings={"number_of_shards": 2})
    template.add_to_index(client, index_name)
    draw = random.Random(7)
    documents = (
        {
            "_index": index_name,
            "_id": str(number),
            "_source": a_document(draw, several=request.param),
        }
        for number in range(DOCUMENTS)
    )
    helpers.bulk(client, documents, refresh=True)
    return index_name


def a_policy(draw: random.Random, extra: str = "") -> Policy:
    low, middle, high = sorted(draw.sample(PARTS, 3))

    def treatments(*least: str) -> list[str]:
        kept = ("hide", "blur")
        return ["hide" if one in kept else draw.choice(TREATMENTS) for one in least]

    loose = treatments(*TREATMENTS[:1] * 3)
    strict = treatments(*loose)
    keys = ("unscored", "failed", "no_image")
    loose_keys, strict_keys = (
        ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True))
        for values in (loose, strict)
    )
    return load_policy(f"""
version: 1
{extra}
levels:
  off: {{}}
  moderate: {{demote_from: {low}, blur_from: {middle}, hide_from: {high}, {loose_keys}}}
  strict: {{blur_from: {low}, hide_from: {middle}, {strict_keys}}}
contexts:
  - {{when: {{audience: [child, pupil]}}, level: strict}}
  - {{when: {{audience: adult}}, level: off}}
  - {{level: moderate}}
""")


def told(client: Elasticsearch, index: str, policy: Policy, level: str) -> dict[str, Explanation]:
    """What happens to each document, by looking at it."""
    hits = client.search(index=index, size=DOCUMENTS)["hits"]["hits"]
    records = [hit["_source"]["safety"] for hit in hits]
    found = explain(records, policy.decision_for(level))
    return {hit["_id"]: one for hit, one in zip(hits, found, strict=True)}


def outcome_of(found: WhatIf, level: str) -> Outcome:
    return next(one for one in found.outcomes if one.level == level)


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_what_searches_return_and_what_becomes_of_each_document(
    client: Elasticsearch, filled: str, seed: int
) -> None:
    draw = random.Random(seed)
    model = "model: one" if seed % 2 else ""
    old, new = a_policy(draw, model), a_policy(draw, "" if seed == 5 else model)
    found = what_if(client, filled, new, old)
    assert found.documents == DOCUMENTS
    for level in new.levels:
        outcome = outcome_of(found, level)
        searched = (
            SafeSearch(client, new)
            .at_level(level)
            .search(index=filled, size=0, track_total_hits=True)
        )
        assert searched["hits"]["total"]["value"] == DOCUMENTS - outcome.now[Action.HIDDEN]
        now = told(client, filled, new, level)
        assert Counter(one.action for one in now.values()) == +Counter(outcome.now)
        assert outcome.before == level
        before = told(client, filled, old, level)
        actions = [(before[id].action, now[id].action) for id in now]
        assert outcome.changed == Counter(pair for pair in actions if pair[0] is not pair[1])
        assert outcome.blurred == sum(one.blur for one in now.values())
        assert outcome.blurred_before == sum(one.blur for one in before.values())


def test_states_and_the_histogram_are_counts(client: Elasticsearch, filled: str) -> None:
    found = what_if(client, filled, a_policy(random.Random(1)))
    sources = [
        hit["_source"] for hit in client.search(index=filled, size=DOCUMENTS)["hits"]["hits"]
    ]
    decided = sum("override" in source["safety"] for source in sources)
    undecided = [s["safety"] for s in sources if "override" not in s["safety"]]
    assert found.categories[None].states["overridden"] == decided
    assert sum(found.categories[None].histogram.values()) == sum(
        "probability" in one for one in undecided
    )
    assert not found.compared
    assert found.outcomes[0].changed == {}


def test_blocks_outside_of_the_documents_count(
    client: Elasticsearch, filled: str, overrides_index: str
) -> None:
    policy = a_policy(random.Random(3), f"overrides: {overrides_index}")
    before = what_if(client, filled, policy)
    record = OverrideRecord(Override.BLOCK, "test")
    for id in ("1", "2", "3"):
        override(client, overrides_index, policy.fields, filled, id, record)
    # As an application does that writes its documents anew.
    fresh = {"title": "picture", "safety": {"probability": 0.0, "status": "scored"}}
    client.index(index=filled, id="2", document=fresh)
    client.indices.refresh(index=filled)
    found = what_if(client, filled, policy)
    for level in policy.levels:
        outcome = outcome_of(found, level)
        searched = SafeSearch(client, policy).at_level(level).count(index=filled)["count"]
        assert found.documents - outcome.now[Action.HIDDEN] == searched
    assert (
        found.categories[None].states["overridden"] >= before.categories[None].states["overridden"]
    )
    without = a_policy(random.Random(3))
    compared = what_if(client, filled, policy, without)
    assert outcome_of(compared, "off").changed == {(Action.SHOWN, Action.HIDDEN): 1}


@pytest.fixture
def overrides_index(client: Elasticsearch, index_name: str) -> Iterator[str]:
    name = f"{index_name}-overrides"
    install_overrides(client, name)
    yield name
    client.indices.delete(index=name)


def test_the_nearest_documents_stand_on_both_sides(client: Elasticsearch, filled: str) -> None:
    policy = a_policy(random.Random(2))
    found = near_thresholds(client, filled, policy, 2)
    assert len(found) == 3
    for near in found:
        assert len(near.below) == 2
        assert all(one.probability < near.threshold for one in near.below)
        assert all(one.probability >= near.threshold for one in near.from_there)
        assert len(near.from_there) == 2


@pytest.fixture
def policy_file(
    elasticsearch_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    path = tmp_path / "policy.yaml"
    path.write_text(
        "version: 1\nlevels:\n  off: {}\n  strict: {hide_from: 0.5, unscored: hide}\n"
        "contexts:\n  - {when: {audience: child}, level: strict}\n  - {level: off}\n"
    )
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
    get_settings.cache_clear()
    yield path
    get_settings.cache_clear()


def run(*arguments: object) -> Result:
    words = [str(each) for each in arguments]
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, words)


def test_the_command_says_what_would_change(
    client: Elasticsearch, filled: str, policy_file: Path
) -> None:
    old = policy_file.with_name("old.yaml")
    old.write_text(policy_file.read_text().replace("0.5", "0.9"))
    result = run("policy", "what-if", filled, "--policy", policy_file, "--against", old)
    assert result.exit_code == 0, result.output
    found = what_if(client, filled, load_policy(policy_file), load_policy(old))
    hidden = outcome_of(found, "strict").now[Action.HIDDEN]
    assert f"{hidden:,}" in result.output
    assert "audience = child" in result.output
    assert "hide_from of strict" in result.output


def test_a_missing_index_is_named(client: Elasticsearch, policy_file: Path) -> None:
    result = run("policy", "what-if", "nowhere", "--policy", policy_file)
    assert "there is no index 'nowhere'" in str(result.exception)


def sample(index: str, *options: object) -> list[dict[str, str]]:
    result = run("sample", index, *options)
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(result.stdout.splitlines()))


def test_a_random_sample_is_the_same_again_and_has_nothing_decided(
    client: Elasticsearch, filled: str, policy_file: Path
) -> None:
    first = sample(filled, "--random", 100, "--seed", 3)
    assert first == sample(filled, "--random", 100, "--seed", 3)
    assert first != sample(filled, "--random", 100, "--seed", 4)
    sources = {
        hit["_id"]: hit["_source"]
        for hit in client.search(index=filled, size=DOCUMENTS)["hits"]["hits"]
    }
    for row in first:
        safety = sources[row["id"]]["safety"]
        assert "override" not in safety
        assert row["image"] == "https://example.org/1.jpg"
        assert row["label"] == ""
    eligible = sum(
        "override" not in one["safety"] and "probability" in one["safety"]
        for one in sources.values()
    )
    assert {row["weight"] for row in first} == {f"{eligible / 100:.9g}"}


def test_the_weights_of_strata_add_up_to_the_index(filled: str, policy_file: Path) -> None:
    rows = sample(filled, "--stratified", 200)
    everything = sample(filled, "--random", 2000)
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(len(everything))
    assert len({row["weight"] for row in rows}) > 2
    assert len({row["id"] for row in rows}) == len(rows)


def test_documents_near_thresholds_are_the_nearest(filled: str, policy_file: Path) -> None:
    rows = sample(filled, "--near-threshold", 10, "--policy", policy_file)
    assert len(rows) == 10
    assert {row["drawn"] for row in rows} == {"near_threshold"}
    assert {row["weight"] for row in rows} == {""}
    values = [float(row["probability"]) for row in rows]
    assert sum(value >= 0.5 for value in values) == 5
    assert max(abs(value - 0.5) for value in values) < 0.1


def test_one_way_of_drawing_must_be_asked_for(filled: str, policy_file: Path) -> None:
    assert run("sample", filled).exit_code == 2
    assert run("sample", filled, "--random", 3, "--stratified", 3).exit_code == 2
    result = run("sample", filled, "--random", 10_001)
    assert isinstance(result.exception, ConfigurationError)
