"""Policies of several categories on a real node, held against what each category alone would do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch, helpers

from saferank.calibration.what_if import what_if
from saferank.errors import MappingError
from saferank.mappings import template
from saferank.mappings.fields import SafetyFields
from saferank.ranker import Policy, SafeSearch, load_policy, rerank
from saferank.ranker.alias import install_aliases, remove_aliases
from saferank.ranker.level.verdicts import Action

INDEX = "test-categories"
COUNT = 300
FIELDS = {"nudity": "safety", "violence": "safety_violence", "drawing": "media.drawing"}
VERSION_1 = """\
version: 1
field: safety
levels:
  off: {}
  moderate: {blur_from: 0.1, demote_from: 0.2, hide_from: 0.8, unscored: demote, not_read: blur}
  strict: {demote_from: 0.05, hide_from: 0.1, unscored: hide}
contexts: [{level: moderate}]
"""
ONE_OF_VERSION_2 = """\
version: 2
categories: {nudity: {field: safety}}
levels:
  off: {}
  moderate:
    nudity:
      {blur_from: 0.1, demote_from: 0.2, hide_from: 0.8, unscored: demote, not_read: blur}
  strict:
    nudity: {demote_from: 0.05, hide_from: 0.1, unscored: hide}
contexts: [{level: moderate}]
"""
THREE = """\
version: 2
categories:
  nudity: {field: safety}
  violence: {field: safety_violence, model: m}
  drawing: {field: media.drawing}
levels:
  off: {}
  moderate:
    nudity: {demote_from: 0.3, hide_from: 0.8, unscored: demote, failed: hide}
    violence: {blur_from: 0.2, demote_from: 0.5, unscored: show}
    drawing: {blur_from: 0.6, hide_from: 0.9, unscored: blur}
  strict:
    nudity: {demote_from: 0.1, hide_from: 0.5, unscored: hide}
    violence: {hide_from: 0.2, unscored: demote}
    drawing: {demote_from: 0.3, blur_from: 0.4, hide_from: 0.6, unscored: hide}
contexts: [{level: moderate}]
"""
LEVELS = ("off", "moderate", "strict")
BODIES: dict[str, dict[str, Any]] = {
    "page": {"query": {"match": {"title": "cat"}}},
    "deep": {"query": {"match": {"title": "cat dog"}}, "size": COUNT},
    "sorted": {"query": {"match": {"title": "cat"}}, "sort": ["number"], "size": COUNT},
    "without_source": {"query": {"match": {"title": "cat"}}, "size": COUNT, "_source": False},
    "counted": {"size": 0, "aggs": {"all": {"value_count": {"field": "number"}}}},
}


def a_record(draw: random.Random) -> dict[str, Any]:
    record: dict[str, Any] = {"model": draw.choice("mmmn")}
    if draw.random() < 0.9:
        values = [draw.random() ** 2, draw.choice([0.1, 0.2, 0.3, 0.5, 0.6, 0.8, 0.9])]
        odd = [-1, [0.0, 2]] if draw.random() < 0.1 else []
        record["probability"] = draw.choice([*values, *odd])
    if draw.random() < 0.15:
        record["status"] = draw.choice(["failed", "not_read", "no_image", ["failed", "not_read"]])
    if draw.random() < 0.1:
        record["override"] = draw.choice(["allow", "block", "odd"])
    return record


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        mappings = {"properties": {"title": {"type": "text"}, "number": {"type": "integer"}}}
        client.indices.create(index=INDEX, mappings=mappings)
        for field in FIELDS.values():
            template.add_to_index(client, INDEX, SafetyFields(field))
        draw = random.Random(11)
        documents = (
            {
                "_id": str(number),
                "title": " ".join(draw.choices(["cat", "dog", "tree"], k=draw.randint(1, 5))),
                "number": number,
                "safety": a_record(draw),
                "safety_violence": a_record(draw),
                "media": {"drawing": a_record(draw)},
            }
            for number in range(COUNT)
        )
        helpers.bulk(client, documents, index=INDEX, refresh=True)
        yield client
        client.indices.delete(index=INDEX)


def searched(node: Elasticsearch, policy: Policy, level: str, body: dict[str, Any]) -> Any:
    return SafeSearch(node, policy).at_level(level).search(index=INDEX, body=body).body


def alone(category: str) -> Policy:
    """What the policy of three categories says about one of them."""
    return load_policy(THREE).by_category()[category]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("body", BODIES)
def test_a_policy_of_version_1_and_its_translation_answer_alike(
    node: Elasticsearch, level: str, body: str
) -> None:
    one, translated = load_policy(VERSION_1), load_policy(ONE_OF_VERSION_2)
    answers = [searched(node, policy, level, BODIES[body]) for policy in (one, translated)]
    for hit in answers[1]["hits"]["hits"]:
        told = hit["saferank"]
        assert told.pop("category") == "nudity"
        assert told.pop("probabilities") == {"nudity": told["probability"]}
    for answer in answers:
        answer["took"] = answer["_shards"] = None
    assert answers[0] == answers[1]


def test_the_hardest_category_decides_and_all_are_named(node: Elasticsearch) -> None:
    body = {"query": {"match_all": {}}, "size": COUNT}
    for level in LEVELS:
        each = {
            category: {
                hit["_id"]: hit
                for hit in searched(node, alone(category), level, body)["hits"]["hits"]
            }
            for category in FIELDS
        }
        found = searched(node, load_policy(THREE), level, body)["hits"]["hits"]
        shown = set.intersection(*(set(hits) for hits in each.values()))
        assert {hit["_id"] for hit in found} == shown
        assert [hit["_score"] for hit in found] == sorted(
            (hit["_score"] for hit in found), reverse=True
        )
        for hit in found:
            told = {name: hits[hit["_id"]]["saferank"] for name, hits in each.items()}
            factor = min(one["factor"] for one in told.values())
            assert hit["_score"] == pytest.approx(factor, rel=1e-6)
            here = hit["saferank"]
            assert here["factor"] == pytest.approx(factor)
            assert here["blur"] == any(one["blur"] for one in told.values())
            assert here["probabilities"] == {k: one["probability"] for k, one in told.items()}
            decided = told[here["category"]]
            assert (here["action"], here["rule"]) == (decided["action"], decided["rule"])


def test_each_level_shows_less_of_each_category_and_as_a_whole(node: Elasticsearch) -> None:
    for policy in (load_policy(THREE), *map(alone, FIELDS)):
        plain, shown = [], []
        for level in LEVELS:
            hits = searched(node, policy, level, {"size": COUNT})["hits"]["hits"]
            shown.append({hit["_id"] for hit in hits})
            plain.append({hit["_id"] for hit in hits if not hit["saferank"]["blur"]})
        assert shown[0] > shown[1] > shown[2] or shown[0] >= shown[1] > shown[2]
        assert plain[0] >= plain[1] >= plain[2]


@pytest.mark.parametrize("level", LEVELS)
def test_what_comes_from_elsewhere_is_judged_likewise(node: Elasticsearch, level: str) -> None:
    policy = load_policy(THREE)
    plain = node.search(index=INDEX, size=COUNT)["hits"]["hits"]
    again = {hit["_id"]: hit["saferank"] for hit in rerank(plain, policy.decision_for(level))}
    found = searched(node, policy, level, {"size": COUNT})["hits"]["hits"]
    assert again == {hit["_id"]: hit["saferank"] for hit in found}


def test_an_alias_and_a_forecast_count_what_searches_find(node: Elasticsearch) -> None:
    policy = load_policy(THREE)
    install_aliases(node, INDEX, policy)
    forecast = what_if(node, INDEX, policy, load_policy(VERSION_1))
    assert forecast.documents == COUNT
    assert set(forecast.categories) == set(FIELDS)
    for outcome in forecast.outcomes:
        hits = searched(node, policy, outcome.level, {"size": COUNT})["hits"]["hits"]
        assert sum(outcome.now.values()) == COUNT
        assert outcome.now[Action.HIDDEN] == COUNT - len(hits)
        assert outcome.now[Action.DEMOTED] == sum(
            hit["saferank"]["action"] == "demoted" for hit in hits
        )
        assert outcome.blurred == sum(hit["saferank"]["blur"] for hit in hits)
        assert sum(outcome.changed.values()) > 0
    for level in LEVELS:
        hits = searched(node, policy, level, {"size": COUNT})["hits"]["hits"]
        through = node.search(index=f"{INDEX}-{level}", size=COUNT)["hits"]["hits"]
        assert {hit["_id"] for hit in through} == {hit["_id"] for hit in hits}
    remove_aliases(node, INDEX, policy)


def test_every_category_must_be_in_every_index(node: Elasticsearch) -> None:
    bare = f"{INDEX}-bare"
    node.indices.delete(index=bare, ignore_unavailable=True)
    node.indices.create(index=bare)
    for field in ("safety", "safety_violence"):
        template.add_to_index(node, bare, SafetyFields(field))
    try:
        with pytest.raises(MappingError, match=r"no field 'media\.drawing\.probability'"):
            SafeSearch(node, load_policy(THREE)).search(index=f"{INDEX},{bare}")
    finally:
        node.indices.delete(index=bare)
