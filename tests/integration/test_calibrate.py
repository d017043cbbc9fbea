"""``saferank calibrate`` with an index: its share of positives, and overrides as labels."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from elasticsearch import Elasticsearch, helpers
from labelled import drawn
from typer.testing import CliRunner, Result

from saferank.cli import app
from saferank.errors import ConfigurationError
from saferank.mappings import SafetyFields, template
from saferank.mappings.float32 import as_float32
from saferank.ranker import load_policy
from saferank.settings import get_settings

DOCUMENTS = 6000
TRUTH = drawn(5, DOCUMENTS, 0.1)


@pytest.fixture
def filled(client: Elasticsearch, index_name: str) -> str:
    client.indices.create(index=index_name)
    template.add_to_index(client, index_name)
    documents = (
        {
            "_index": index_name,
            "_id": str(number),
            "_source": {"safety": {"probability": value, "status": "scored", "model": "m"}},
        }
        for number, value in enumerate(TRUTH.probabilities.tolist())
    )
    helpers.bulk(client, documents, refresh=True)
    return index_name


@pytest.fixture(autouse=True)
def environment(elasticsearch_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def run(*arguments: object) -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.exception
    return result


def test_a_half_and_half_file_tells_the_index_s_own_share(filled: str, tmp_path: Path) -> None:
    labels = drawn(9, 3000, 0.5)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "probability", "label"))
        values, truth = labels.probabilities.tolist(), labels.truth.astype(int).tolist()
        table.writerows(zip(labels.names, values, truth, strict=True))
    told = tmp_path / "figures.json"
    run(
        "calibrate",
        tmp_path / "labels.csv",
        "--max-miss",
        0.05,
        "--index",
        filled,
        "--figures",
        told,
    )
    live = json.loads(told.read_text())["live"]
    assert live["documents"] == DOCUMENTS
    low, high = live["prevalence"]["interval"]
    assert low <= TRUTH.truth.mean() <= high
    (row,) = live["thresholds"]
    reaching = TRUTH.probabilities >= np.float32(row["threshold"])
    assert row["share"] == pytest.approx(reaching.mean(), abs=1e-12)
    low, high = row["precision"]["interval"]
    assert low <= TRUTH.truth[reaching].mean() <= high


def test_an_audit_sample_that_people_decided_about_is_a_sample_of_the_index(
    client: Elasticsearch, filled: str, tmp_path: Path
) -> None:
    sample, told = tmp_path / "sample.csv", tmp_path / "figures.json"
    run("sample", filled, "--stratified", 2000, "--out", sample)
    with sample.open(newline="") as file:
        ids = [int(row["id"]) for row in csv.DictReader(file)]
    actions = (
        {
            "_op_type": "update",
            "_index": filled,
            "_id": str(id),
            "doc": {"safety": {"override": "block" if TRUTH.truth[id] else "allow"}},
        }
        for id in ids
    )
    helpers.bulk(client, actions, refresh=True)
    result = run(
        "calibrate", "--from-index", filled, "--audit", sample, "--index", filled,
        "--figures", told, "--max-false-alarm", 0.1,
    )  # fmt: skip
    assert "mostly of documents near" not in result.output
    found = json.loads(told.read_text())
    assert found["labels"]["count"] == len(ids)
    assert found["labels"]["weighted"]
    assert found["live"]["weighted"]
    low, high = found["live"]["prevalence"]["interval"]
    assert low <= TRUTH.truth.mean() <= high
    result = run("calibrate", "--from-index", filled)
    assert "these figures say nothing of others" in result.output


CATEGORIES = json.dumps(
    {name: {"field": name, "model": "m"} for name in ("safety", "safety_violence")}
)
OF_BOTH = """\
version: 2
categories: {nudity: {field: safety}, violence: {field: safety_violence}}
levels:
  off: {}
  strict:
    nudity: {hide_from: 0.5, unscored: hide}
    violence: {hide_from: 0.5, unscored: hide}
contexts: [{level: strict}]
"""


def test_a_category_is_calibrated_by_its_own_probabilities_and_decisions(
    client: Elasticsearch, filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFERANK_CATEGORIES", CATEGORIES)
    get_settings.cache_clear()
    template.add_to_index(client, filled, SafetyFields("safety_violence"))
    ids = range(0, DOCUMENTS, 10)
    actions = (
        {
            "_op_type": "update",
            "_index": filled,
            "_id": str(id),
            "doc": {
                # What is decided about the first category says the opposite.
                "safety": {"override": "allow" if TRUTH.truth[id] else "block"},
                "safety_violence": {
                    "probability": float(TRUTH.probabilities[id]) / 2,
                    "status": "scored",
                    "model": "m",
                    "override": "block" if TRUTH.truth[id] else "allow",
                },
            },
        }
        for id in ids
    )
    helpers.bulk(client, actions, refresh=True)
    (policy := tmp_path / "policy.yaml").write_text(OF_BOTH)
    told = tmp_path / "figures.json"
    run(
        "calibrate", "--from-index", filled, "--category", "safety_violence", "--figures", told,
        "--max-miss", 0.2, "--level", "strict", "--policy", policy, "--out", tmp_path / "out",
    )  # fmt: skip
    found = json.loads(told.read_text())
    assert (found["labels"]["count"], found["labels"]["positives"]) == (
        len(ids),
        int(TRUTH.truth[::10].sum()),
    )
    made = load_policy(tmp_path / "out" / "policy.yaml").by_category()
    assert made["nudity"].levels["strict"].hide_from == 0.5
    threshold = made["violence"].levels["strict"].hide_from
    assert threshold is not None
    positives = TRUTH.probabilities[::10][TRUTH.truth[::10]] / 2
    assert (positives < threshold).mean() <= 0.2 < threshold * 2
    # Nobody has decided about these, and so they may be drawn; their probability is the other one.
    client.update(
        index=filled, id="1", refresh=True,
        doc={"safety_violence": {"probability": 0.25, "status": "scored", "model": "m"}},
    )  # fmt: skip
    drawn_here = run("sample", filled, "--random", 5, "--category", "safety_violence").stdout
    assert [row.split(",")[1:4:2] for row in drawn_here.splitlines()[1:]] == [["1", "0.25"]]


def test_a_category_with_decisions_of_its_own_is_not_reviewed_by_those_of_the_first(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFERANK_CATEGORIES", CATEGORIES)
    get_settings.cache_clear()
    (policy := tmp_path / "policy.yaml").write_text(OF_BOTH)
    arguments = ["review", filled, "--policy", str(policy), "--category", "safety_violence"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert "SAFERANK_OVERRIDE_FIELD" in str(result.exception)


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "thresholds.md").read_text()


def test_the_guide_leads_from_an_index_to_a_policy(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the page, in order, with the labels filled in by what is known."""
    monkeypatch.chdir(tmp_path)
    (policy,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    Path("policy.yaml").write_text(policy)
    commands = re.findall(r"^\$ (.+)$", PAGE, re.M)
    assert len(commands) == 6
    for command in commands:
        program, *words = shlex.split(command.replace("photos", filled))
        if program == "cp":
            Path(words[1]).write_text(Path(words[0]).read_text())
        else:
            run(*words)
        if words[0] == "sample":
            _label(Path("sample.csv"))
    found = json.loads(Path("figures.json").read_text())
    miss, alarm = found["thresholds"]
    level = load_policy(Path("policy.yaml")).levels["moderate"]
    assert level.demote_from == as_float32(min(miss["threshold"], alarm["threshold"]))
    assert "# a guess" in Path("policy.yaml").read_text()


def _label(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = str(int(TRUTH.truth[int(row["id"])]))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
