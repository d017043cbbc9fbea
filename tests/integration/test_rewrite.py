"""Who is shown, demoted and hidden on a real node, and with which score."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from saferank.ranker.hits import deciding_record
from saferank.ranker.level.decision import Decision, explain
from saferank.ranker.level.demotion import CURVES
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.policy.load import load_policy
from saferank.ranker.policy.policy import Policy
from saferank.ranker.rewrite.query import without_hidden
from saferank.ranker.rewrite.ranking import demoting
from saferank.ranker.rewrite.search import rewrite_count, rewrite_search

INDEX = "ranker-rewrite"
ODD_INDEX = "ranker-rewrite-odd"
MAPPINGS = {
    "properties": {
        "title": {"type": "text"},
        "safety": {
            "properties": {
                "probability": {"type": "float"},
                "model": {"type": "keyword"},
                "status": {"type": "keyword"},
                "override": {"type": "keyword"},
            }
        },
    }
}
POLICY = """\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
demotion: {curve: exponential, floor: 0.1}
contexts: [{level: moderate}]
"""
# In the order of their relevance: each title is longer than the one before.
DOCUMENTS: dict[str, dict[str, Any]] = {
    "zero": {"probability": 0.0},
    "minus_zero": {"probability": -0.0},
    "just_below_0.2": {"probability": 0.1999999},
    "0.2": {"probability": 0.2},
    "0.5": {"probability": 0.5},
    "just_below_0.8": {"probability": 0.7999999},
    "0.8": {"probability": 0.8},
    "one": {"probability": 1.0},
    "missing": {},
    "failed": {"status": "failed"},
    "failed_but_0.9": {"status": "failed", "probability": 0.9},
    "not_read": {"status": "not_read"},
    "not_read_beside_0.1": {"status": "not_read", "probability": 0.1},
    "failed_and_not_read": {"status": ["failed", "not_read"], "probability": 0.1},
    "no_image": {"status": "no_image"},
    "allowed": {"probability": 0.99, "override": "allow"},
    "blocked": {"probability": 0.01, "override": "block"},
    "both": {"probability": 0.01, "override": ["allow", "block"]},
}
# Values that nobody checks, written by others than saferank.
ODD: dict[str, dict[str, Any]] = {
    "negative": {"probability": -1},
    "barely_negative": {"probability": -1e-30},
    "stored_as_minus_zero": {"probability": -1e-50},
    "two": {"probability": 2},
    "stored_as_one": {"probability": 1.00000001},
    "text": {"probability": "0.5"},
    "several": {"probability": [0.1, 0.9]},
    "several_and_negative": {"probability": [0.1, -0.5]},
    "BLOCK": {"probability": 0.01, "override": "BLOCK"},
    "decided_by_nothing": {"probability": 0.01, "override": ""},
    "ALLOW": {"probability": 0.99, "override": "Allow"},
    "allow_and_BLOCK": {"probability": 0.99, "override": ["allow", "BLOCK"]},
    "FAILED": {"probability": 0.01, "status": "FAILED"},
    "FAILED_and_nothing": {"status": "FAILED"},
    "scored_and_failed": {"probability": 0.01, "status": ["scored", "failed"]},
    "scored_and_FAILED": {"probability": 0.01, "status": ["scored", "FAILED"]},
    "scored_without": {"status": "scored"},
    "of_the_model": {"probability": 0.3, "model": "m"},
    "negative_of_the_model": {"probability": -1, "model": "m"},
    "nulls": {"probability": [None], "status": [None], "override": [None]},
}
ALL = {**DOCUMENTS, **ODD}
QUERY = {"match": {"title": "cat"}}


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    client = Elasticsearch(elasticsearch_url, request_timeout=60)
    for index, documents in ((INDEX, DOCUMENTS), (ODD_INDEX, ALL)):
        client.options(ignore_status=404).indices.delete(index=index)
        client.indices.create(index=index, mappings=MAPPINGS, settings={"number_of_shards": 1})
        for position, (name, safety) in enumerate(documents.items()):
            title = "cat" + " word" * position
            client.index(index=index, id=name, document={"title": title, "safety": safety})
        client.indices.refresh(index=index)
    yield client
    client.indices.delete(index=f"{INDEX},{ODD_INDEX}")
    client.close()


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(POLICY)


def search(node: Elasticsearch, body: dict[str, Any], index: str = INDEX) -> Any:
    return node.search(index=index, **{"size": 100, **body}).body


def scores(response: Any) -> dict[str, float]:
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


END = 0.1 ** ((np.float32(0.7999999) - 0.2) / 0.6)
EXPECTED: dict[str, dict[str, float]] = {
    "off": {name: 1 for name in DOCUMENTS if name not in ("blocked", "both")},
    "moderate": {
        "zero": 1,
        "minus_zero": 1,
        "just_below_0.2": 1,
        "0.2": 1,
        "0.5": 0.1**0.5,
        "just_below_0.8": END,
        "missing": 0.1,
        "failed": 0.1,
        "not_read": 0.1,
        "not_read_beside_0.1": 0.1,
        "failed_and_not_read": 0.1,
        "no_image": 0.1,
        "allowed": 1,
    },
    "strict": {"zero": 1, "minus_zero": 1, "just_below_0.2": 1, "allowed": 1},
}


@pytest.mark.parametrize("level", EXPECTED)
def test_who_is_shown_demoted_and_hidden(node: Elasticsearch, policy: Policy, level: str) -> None:
    decision = policy.decision_for(level)
    relevance = scores(search(node, {"query": QUERY}))
    response = search(node, rewrite_search({"query": QUERY}, decision))
    found = scores(response)
    expected = {name: relevance[name] * factor for name, factor in EXPECTED[level].items()}
    assert found == pytest.approx(expected, rel=1e-5)
    assert list(found) == sorted(found, key=lambda name: -expected[name])
    count = node.count(index=INDEX, **rewrite_count({"query": QUERY}, decision))["count"]
    assert count == response["hits"]["total"]["value"] == len(expected)
    hits = response["hits"]["hits"]
    records = [deciding_record(hit, decision) for hit in hits]
    explained = {hit["_id"]: e for hit, e in zip(hits, explain(records, decision), strict=True)}
    assert {name: e.factor for name, e in explained.items()} == pytest.approx(
        EXPECTED[level], rel=1e-5
    )
    demoted = {name for name, e in explained.items() if e.action == "demoted"}
    at_the_edge = {"0.2"} if level == "moderate" else set()
    assert demoted == {name for name, factor in EXPECTED[level].items() if factor < 1} | at_the_edge


def test_a_score_of_another_model_counts_as_unscored(node: Elasticsearch) -> None:
    policy = load_policy(POLICY.replace("levels:", "model: other\nlevels:"))
    body = rewrite_search({"query": QUERY}, policy.decision_for("moderate"))
    relevance = scores(search(node, {"query": QUERY}))
    unscored = {name for name in DOCUMENTS if name not in ("allowed", "blocked", "both")}
    expected = {name: relevance[name] * 0.1 for name in unscored}
    expected["allowed"] = relevance["allowed"]
    assert scores(search(node, body)) == pytest.approx(expected, rel=1e-5)
    hidden = scores(search(node, rewrite_search({}, policy.decision_for("strict"))))
    assert set(hidden) == {"allowed"}


def test_a_threshold_of_zero_hides_minus_zero(node: Elasticsearch) -> None:
    decision = Decision.of(level_name="none", level=Level(hide_from=0.0, unscored="show"))
    found = scores(search(node, rewrite_search({}, decision)))
    assert set(found) == {"missing", "failed", "not_read", "no_image", "allowed"}


@pytest.mark.parametrize("threshold", [0.2, 0.8, 0.1999999, 0.7999999, 1.0, 1e-40])
@pytest.mark.parametrize("side", ["hide_from", "demote_from"])
def test_engine_and_python_put_a_threshold_on_the_same_side(
    node: Elasticsearch, threshold: float, side: str
) -> None:
    rules = Level.model_validate({side: threshold, "unscored": "show"})
    decision = Decision.of(level_name="x", level=rules, demotion=Demotion(curve="step", floor=0.5))
    found = scores(search(node, rewrite_search({}, decision)))
    passed = {name for name, score in found.items() if score == 1}
    over = {
        name
        for name, safety in DOCUMENTS.items()
        if np.float32(safety.get("probability", np.nan)) >= np.float32(threshold)
    }
    assert passed == set(DOCUMENTS) - over - {"blocked", "both"} | {"allowed"}


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    thresholds = st.none() | st.floats(0, 1, width=32) | st.sampled_from([0.2, 0.5, 0.8])
    start, end = draw(thresholds), draw(thresholds)
    assume(start is None or end is None or np.float32(start) < np.float32(end))
    blur = draw(thresholds)
    if None not in (blur, end) and np.float32(blur) >= np.float32(end):
        blur = None
    treatments = st.sampled_from(["show", "blur", "demote", "hide"])
    kinds = ("unscored", "failed", "not_read", "no_image", "blocked")
    treated = {kind: draw(treatments) for kind in kinds}
    rules = Level(blur_from=blur, demote_from=start, hide_from=end, **treated)
    curve = draw(st.sampled_from(sorted(CURVES)))
    floor = draw(st.floats(0.001, 1))
    demotion = Demotion(curve=curve, floor=floor)
    model = draw(st.sampled_from([None, None, "m"]))
    return Decision.of(level_name="random", level=rules, demotion=demotion, model=model)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(decisions())
def test_the_engine_scores_what_python_computes(node: Elasticsearch, decision: Decision) -> None:
    relevance = scores(search(node, {"query": QUERY}, ODD_INDEX))
    explained = dict(zip(ALL, explain(ALL.values(), decision), strict=True))
    expected = {
        name: relevance[name] * found.factor
        for name, found in explained.items()
        if found.factor is not None
    }
    found = scores(search(node, rewrite_search({"query": QUERY}, decision), ODD_INDEX))
    assert found == pytest.approx(expected, rel=1e-5)
    few = demoting(without_hidden(QUERY, decision), decision, few=True)
    assert scores(search(node, {"query": few}, ODD_INDEX)) == pytest.approx(expected, rel=1e-5)


SAFE = {"stored_as_minus_zero", "scored_and_FAILED", "allow_and_BLOCK"}
"""Odd documents of which a value that is known says that they are safe."""


@pytest.mark.parametrize("level", ["moderate", "strict"])
def test_what_nobody_can_read_is_never_read_as_safe(
    node: Elasticsearch, policy: Policy, level: str
) -> None:
    body = rewrite_search({"query": QUERY}, policy.decision_for(level))
    relevance = scores(search(node, {"query": QUERY}, ODD_INDEX))
    found = scores(search(node, body, ODD_INDEX))
    as_relevant = {name for name in ODD if found.get(name) == pytest.approx(relevance[name])}
    assert as_relevant == SAFE
    assert {"BLOCK", "ALLOW", "decided_by_nothing"}.isdisjoint(found)
    assert {"negative", "barely_negative", "two", "several_and_negative"}.isdisjoint(found)


def test_an_unknown_decision_blocks_at_every_level(node: Elasticsearch, policy: Policy) -> None:
    found = scores(search(node, rewrite_search({}, policy.decision_for("off")), ODD_INDEX))
    assert set(ALL) - set(found) == {"blocked", "both", "BLOCK", "ALLOW", "decided_by_nothing"}


HARDER = {
    "show": ("show", "blur", "demote", "hide"),
    "blur": ("blur", "hide"),
    "demote": ("demote", "hide"),
    "hide": ("hide",),
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(decisions(), st.data())
def test_a_stricter_level_shows_nothing_that_a_looser_one_hides(
    node: Elasticsearch, looser: Decision, data: st.DataObject
) -> None:
    kinds = ("unscored", "failed", "not_read", "no_image", "blocked")
    (category,) = looser.categories
    level = category.level
    treatments = {kind: data.draw(st.sampled_from(HARDER[getattr(level, kind)])) for kind in kinds}
    end = 1.0 if level.hide_from is None else level.hide_from
    stricter = Level(hide_from=data.draw(st.floats(0, end, width=32)), **treatments)
    assert stricter.hides_less_than(level) is None
    strict = dataclasses.replace(
        looser, categories=(dataclasses.replace(category, level=stricter),)
    )
    found = [
        set(scores(search(node, rewrite_search({}, decision), ODD_INDEX)))
        for decision in (strict, looser)
    ]
    assert found[0] <= found[1]
