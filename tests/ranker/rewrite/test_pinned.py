from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.pinned import pinned_request, with_pinned
from saferank.ranker.rewrite.query import without_hidden
from saferank.ranker.rewrite.ranking import multiplying
from saferank.ranker.rewrite.retriever import safe_retriever
from saferank.ranker.rewrite.search import rewrite_search

Json = dict[str, Any]
MATCH = {"match": {"title": "cat"}}
DOG = {"term": {"kind": "dog"}}
STANDARD = {"standard": {"query": MATCH}}
RRF = {"rrf": {"retrievers": [STANDARD, STANDARD]}}
OPTIONS: dict[str, Json] = {
    "pinned": {"ids": ["1", "2"]},
    "rule": {"ruleset_ids": ["s"], "match_criteria": {"query": "cat"}},
}
NOTHING = {"rescore_query": {"match_none": {}}}


def hit(name: str, *numbers: int, index: str = "i") -> Json:
    return {"_index": index, "_id": name, "matched_queries": ["visible", *map(str, numbers)]}


@pytest.mark.parametrize("kind", OPTIONS)
def test_in_front_of_a_plain_query_it_is_a_query_with_the_exclusion_around(
    hiding: Decision, demoting: Decision, kind: str
) -> None:
    options = OPTIONS[kind]
    given = {
        kind: {
            "retriever": {
                "standard": {"query": MATCH, "filter": DOG, "min_score": 1, "_name": "s"}
            },
            "filter": [DOG],
            "rank_window_size": 20,
            "min_score": 2,
            "_name": "p",
            **options,
        }
    }
    organic = {"bool": {"must": [MATCH], "filter": [DOG, DOG]}}

    def safe(decision: Decision) -> Json:
        query = without_hidden({kind: {"organic": organic, **options}}, decision)
        return {
            "rescorer": {
                "retriever": {"standard": {"query": query, "min_score": 1, "_name": "s"}},
                "rescore": [{"window_size": 20, "query": NOTHING}],
                "min_score": 2,
                "_name": "p",
            }
        }

    assert safe_retriever(given, "r", hiding, demote=True) == safe(hiding)
    assert safe_retriever(given, "r", demoting, demote=True) == {
        "rescorer": {
            "retriever": safe(demoting),
            "rescore": multiplying([], demoting, 20, ""),
        }
    }


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize(
    "retriever",
    [RRF, {"standard": {"query": MATCH, "collapse": {"field": "g"}}}, {**STANDARD, **RRF}, {}],
)
def test_in_front_of_others_a_body_is_refused(
    hiding: Decision, open_level: Decision, kind: str, retriever: Json
) -> None:
    given = {kind: {"retriever": retriever, **OPTIONS[kind]}}
    with pytest.raises(UnsafeRequest) as caught:
        safe_retriever(given, "r", hiding, demote=True)
    assert caught.value.key == f"r.{kind}"
    if retriever is RRF:
        assert safe_retriever(given, "r", open_level, demote=True) == given


def test_what_is_pinned_in_front_of_others_is_searched_first(hiding: Decision) -> None:
    docs = {"docs": [{"_index": "other", "_id": "3"}, {"_id": "4"}]}
    body = {
        "retriever": {
            "rrf": {
                "retrievers": [
                    {"pinned": {"retriever": RRF, "ids": ["1", "2"]}},
                    {"retriever": {"pinned": {"retriever": RRF, **docs}}, "weight": 2},
                    {"pinned": {"retriever": STANDARD, "ids": ["5"]}},
                ]
            }
        },
        "pit": {"id": "p"},
        "size": 3,
    }
    request = pinned_request(body, hiding)
    assert request is not None
    ids = [{"ids": {"values": [name]}} for name in "1234"]
    ids[2:3] = [ids[2], {"term": {"_index": "other"}}]
    wanted = [
        {"bool": {"filter": [ids[0]], "_name": "0"}},
        {"bool": {"filter": [ids[1]], "_name": "1"}},
        {"bool": {"filter": ids[2:4], "_name": "2"}},
        {"bool": {"filter": [ids[4]], "_name": "3"}},
    ]
    assert request == {
        "pit": {"id": "p"},
        "query": {
            "bool": {
                "filter": [{"bool": {"should": wanted}}],
                "should": [{"bool": {**hiding.visible, "_name": "visible"}}],
            }
        },
        "size": 10_000,
        "_source": False,
        "track_total_hits": False,
    }
    hits = [hit("4", 3, index="b"), hit("2", 1), hit("4", 3, index="a")]
    found = with_pinned(body, hits)["retriever"]["rrf"]["retrievers"]
    assert found[0] == {"pinned": {"retriever": RRF, "docs": [{"_index": "i", "_id": "2"}]}}
    assert found[1]["retriever"]["pinned"]["docs"] == [
        {"_index": "b", "_id": "4"},
        {"_index": "a", "_id": "4"},
    ]
    assert found[2] == body["retriever"]["rrf"]["retrievers"][2]  # type: ignore[index]


def test_pinned_documents_that_are_visible_are_pinned(hiding: Decision, demoting: Decision) -> None:
    body = {"retriever": {"pinned": {"retriever": RRF, "ids": ["1", "2"], "rank_window_size": 7}}}
    for decision in (hiding, demoting):
        given = with_pinned(body, [hit("1", 0)])
        rrf = safe_retriever(RRF, "r", decision, demote=False)
        pinned = {"retriever": rrf, "docs": [{"_index": "i", "_id": "1"}], "rank_window_size": 7}
        found = rewrite_search(given, decision)["retriever"]
        if decision is demoting:
            assert found["rescorer"]["rescore"] == multiplying([], demoting, 7, "")
            found = found["rescorer"]["retriever"]
        assert found == {"pinned": pinned}


def test_where_nothing_pinned_is_visible_the_others_are_as_many_as_ever(hiding: Decision) -> None:
    pinned = {"retriever": RRF, "ids": ["1"], "rank_window_size": 7, "filter": DOG, "min_score": 1}
    found = rewrite_search(with_pinned({"retriever": {"pinned": pinned}}, ()), hiding)
    assert found["retriever"] == {
        "rescorer": {
            "retriever": safe_retriever(RRF, "r", hiding, demote=True),
            "rescore": [{"window_size": 7, "query": NOTHING}],
            "filter": DOG,
            "min_score": 1,
        }
    }


def test_nothing_is_searched_first_where_nothing_can_be_hidden(
    hiding: Decision, open_level: Decision
) -> None:
    body = {"retriever": {"pinned": {"retriever": RRF, "ids": ["1"]}}}
    assert pinned_request(body, open_level) is None
    assert pinned_request({"query": {"pinned": {"organic": MATCH, "ids": ["1"]}}}, hiding) is None
    for retriever in (STANDARD, RRF, 3, {"pinned": 3}, {"rrf": {"retrievers": 3}}):
        assert pinned_request({"retriever": retriever}, hiding) is None


@pytest.mark.parametrize("item", ["1", {"id": "1"}, {"_id": None}])
def test_a_pinned_document_that_is_not_named_is_refused(hiding: Decision, item: Any) -> None:
    body = {"retriever": {"pinned": {"retriever": RRF, "docs": [item]}}}
    with pytest.raises(UnsafeRequest) as caught:
        pinned_request(body, hiding)
    assert caught.value.key == "retriever.pinned.docs"


def test_the_word_of_an_application_does_not_make_pinned_documents_visible(
    hiding: Decision,
) -> None:
    given = {"pinned": {"retriever": RRF, "docs": [{"_index": "i", "_id": "1"}]}}
    with pytest.raises(UnsafeRequest):
        safe_retriever(given, "r", hiding, demote=True)


def test_what_is_refused_is_named_as_it_was_given(hiding: Decision) -> None:
    pinned = {"retriever": RRF, "ids": ["1"], "filter": {"wrapper": {"query": ""}}}
    with pytest.raises(UnsafeRequest) as refused:
        rewrite_search(with_pinned({"retriever": {"pinned": pinned}}, None), hiding)
    assert refused.value.key == "retriever.pinned.filter.wrapper"


def test_an_id_that_a_hidden_document_has_too_is_not_pinned(hiding: Decision) -> None:
    body = {"retriever": {"pinned": {"retriever": RRF, "ids": ["1", "2"]}}}
    hidden = {**hit("1", index="i"), "matched_queries": ["0"]}
    found = with_pinned(body, [hit("1", 0), hidden, hit("2", 1), hit("1", 0, index="b")])
    assert found["retriever"]["pinned"]["docs"] == [
        {"_index": "b", "_id": "1"},
        {"_index": "i", "_id": "2"},
    ]
