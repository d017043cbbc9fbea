"""Decisions about copies, as a real node and as numbers see them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from saferank.mappings.template import component_template
from saferank.ranker import SafeSearch
from saferank.ranker.hits import deciding_record
from saferank.ranker.level.decision import Decision, explain
from saferank.ranker.policy.load import load_policy
from saferank.ranker.policy.policy import Policy

INDEX = "ranker-matches"
EARLIER = "ranker-before-matches"
SAID: tuple[object, ...] = (None, "allow", "block", ["allow", "block"], "BLOCK")
POLICY = """\
version: 1
levels:
  off:      {blocked: demote}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote, blocked: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: moderate}]
"""
DOCUMENTS: dict[str, dict[str, Any]] = {
    f"{probability}, {override}, {matched}": {
        "probability": probability,
        "override": override,
        "matched": matched,
    }
    for probability, override, matched in product((0.1, 0.5, 0.9), SAID, SAID)
}


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    client = Elasticsearch(elasticsearch_url, request_timeout=60)
    mappings = component_template()["template"]["mappings"]
    properties = {**mappings["properties"], "title": {"type": "text"}}
    client.options(ignore_status=404).indices.delete(index=f"{INDEX},{EARLIER}")
    client.indices.create(index=INDEX, mappings={"properties": properties})
    del properties["safety"]["properties"]["matched"]
    client.indices.create(index=EARLIER, mappings={"properties": properties})
    for name, safety in DOCUMENTS.items():
        client.index(index=INDEX, id=name, document={"title": "cat", "safety": safety})
        known = {key: value for key, value in safety.items() if key != "matched"}
        client.index(index=EARLIER, id=name, document={"title": "cat", "safety": known})
    client.indices.refresh(index=f"{INDEX},{EARLIER}")
    yield client
    client.indices.delete(index=f"{INDEX},{EARLIER}")
    client.close()


def shown(node: Elasticsearch, policy: Policy, level: str, index: str) -> dict[str, str]:
    """What the node shows, each with the action that its hit names."""
    search = SafeSearch(node, policy).at_level(level)
    hits = search.search(index=index, query={"match": {"title": "cat"}}, size=200)["hits"]["hits"]
    return {hit["_id"]: hit["saferank"]["action"] for hit in hits}


def expected(decision: Decision) -> dict[str, str]:
    hits = [{"_source": {"safety": safety}} for safety in DOCUMENTS.values()]
    records = [deciding_record(hit, decision) for hit in hits]
    told = zip(DOCUMENTS, explain(records, decision), strict=True)
    return {name: one.action.value for name, one in told if one.action != "hidden"}


@pytest.mark.parametrize("level", ["off", "moderate", "strict"])
@pytest.mark.parametrize("matched", ["true", "false"])
def test_the_node_and_the_numbers_agree(node: Elasticsearch, level: str, matched: str) -> None:
    policy = load_policy(f"{POLICY}matched: {matched}\n")
    found = shown(node, policy, level, INDEX)
    assert found == expected(policy.decision_for(level))
    assert ("0.1, None, block" in found) is (matched == "false" or level != "strict")
    assert ("0.9, None, allow" in found) is (matched == "true" or level == "off")
    assert "0.9, allow, block" in found


def test_an_index_of_an_earlier_mapping_is_searched_as_before(node: Elasticsearch) -> None:
    policy = load_policy(POLICY)
    found = shown(node, policy, "strict", EARLIER)
    without = load_policy(f"{POLICY}matched: false\n").decision_for("strict")
    assert found == expected(without)
