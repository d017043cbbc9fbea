"""Who is shown, demoted and hidden on a real node, and with which score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from saferank.ranker.hits import deciding_values
from saferank.ranker.level.decision import Decision, explain
from saferank.ranker.level.demotion import CURVES
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.policy.policy import Policy, load_policy
from saferank.ranker.rewrite.search import rewrite_count, rewrite_search

INDEX = "ranker-rewrite"
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
    "no_image": {"status": "no_image"},
    "allowed": {"probability": 0.99, "override": "allow"},
    "blocked": {"probability": 0.01, "override": "block"},
    "both": {"probability": 0.01, "override": ["allow", "block"]},
}
QUERY = {"match": {"title": "cat"}}


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    client = Elasticsearch(elasticsearch_url, request_timeout=60)
    client.options(ignore_status=404).indices.delete(index=INDEX)
    client.indices.create(index=INDEX, mappings=MAPPINGS, settings={"number_of_shards": 1})
    for position, (name, safety) in enumerate(DOCUMENTS.items()):
        title = "cat" + " word" * position
        client.index(index=INDEX, id=name, document={"title": title, "safety": safety})
    client.indices.refresh(index=INDEX)
    yield client
    client.indices.delete(index=INDEX)
    client.close()


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(POLICY)


def search(node: Elasticsearch, body: dict[str, Any]) -> Any:
    return node.search(index=INDEX, **{"size": 100, **body}).body


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
    records = [deciding_values(hit, decision.fields) for hit in hits]
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
    decision = Decision(level_name="none", level=Level(hide_from=0.0, unscored="show"))
    found = scores(search(node, rewrite_search({}, decision)))
    assert set(found) == {"missing", "failed", "no_image", "allowed"}


@pytest.mark.parametrize("threshold", [0.2, 0.8, 0.1999999, 0.7999999, 1.0, 1e-40])
@pytest.mark.parametrize("side", ["hide_from", "demote_from"])
def test_engine_and_python_put_a_threshold_on_the_same_side(
    node: Elasticsearch, threshold: float, side: str
) -> None:
    rules = Level.model_validate({side: threshold, "unscored": "show"})
    decision = Decision(level_name="x", level=rules, demotion=Demotion(curve="step", floor=0.5))
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
    treatments = st.sampled_from(["show", "demote", "hide"])
    kinds = ("unscored", "failed", "no_image", "blocked")
    rules = Level(demote_from=start, hide_from=end, **{kind: draw(treatments) for kind in kinds})
    curve = draw(st.sampled_from(sorted(CURVES)))
    floor = draw(st.floats(0.001, 1))
    return Decision(level_name="random", level=rules, demotion=Demotion(curve=curve, floor=floor))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(decisions())
def test_the_engine_scores_what_python_computes(node: Elasticsearch, decision: Decision) -> None:
    relevance = scores(search(node, {"query": QUERY}))
    explained = dict(zip(DOCUMENTS, explain(DOCUMENTS.values(), decision), strict=True))
    expected = {
        name: relevance[name] * found.factor
        for name, found in explained.items()
        if found.factor is not None
    }
    found = scores(search(node, rewrite_search({"query": QUERY}, decision)))
    assert found == pytest.approx(expected, rel=1e-5)


HARDER = {"show": ("show", "demote", "hide"), "demote": ("demote", "hide"), "hide": ("hide",)}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(decisions(), st.data())
def test_a_stricter_level_shows_nothing_that_a_looser_one_hides(
    node: Elasticsearch, looser: Decision, data: st.DataObject
) -> None:
    kinds = ("unscored", "failed", "no_image", "blocked")
    treatments = {
        kind: data.draw(st.sampled_from(HARDER[getattr(looser.level, kind)])) for kind in kinds
    }
    end = 1.0 if looser.level.hide_from is None else looser.level.hide_from
    stricter = Level(hide_from=data.draw(st.floats(0, end, width=32)), **treatments)
    assert stricter.hides_less_than(looser.level) is None
    found = [
        set(scores(search(node, rewrite_search({}, decision))))
        for decision in (Decision(level_name="stricter", level=stricter), looser)
    ]
    assert found[0] <= found[1]
