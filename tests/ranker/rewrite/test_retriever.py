from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.query import without_hidden
from saferank.ranker.rewrite.ranking import multiplying, ranked
from saferank.ranker.rewrite.retriever import as_search, safe_retriever

ALL = {"match_all": {}}
MATCH = {"match": {"title": "cat"}}
KNN = {"field": "v", "query_vector": [1], "k": 1, "num_candidates": 1}
RESCORE = {"window_size": 20, "query": {"rescore_query": MATCH}}
STANDARD = {"standard": {"query": MATCH}}


def safe_knn(decision: Decision) -> dict[str, Any]:
    return {"knn": {**KNN, "filter": [without_hidden(ALL, decision)]}}


def test_a_standard_retriever_is_a_search_of_its_own(hiding: Decision, demoting: Decision) -> None:
    given = {"query": MATCH, "min_score": 1, "sort": ["price"], "_name": "x"}
    rest = {"min_score": 1, "sort": ["price"], "_name": "x"}
    found = safe_retriever({"standard": given}, "retriever", hiding, demote=True)
    assert found == {"standard": {**rest, "query": without_hidden(MATCH, hiding)}}
    found = safe_retriever({"standard": given}, "retriever", demoting, demote=True)
    assert found == {"standard": ranked(rest, MATCH, demoting)}
    found = safe_retriever({"standard": given}, "retriever", demoting, demote=False)
    assert found == {"standard": {**rest, "query": without_hidden(MATCH, demoting)}}


@pytest.mark.parametrize(
    ("body", "search"),
    [
        ({"query": MATCH}, None),
        ({"retriever": STANDARD, "size": 3}, {"query": MATCH, "size": 3}),
        (
            {"retriever": {"standard": {"filter": MATCH, "sort": ["price"], "min_score": 1}}},
            {
                "query": {"bool": {"must": [ALL], "filter": [MATCH]}},
                "sort": ["price"],
                "min_score": 1,
            },
        ),
        ({"retriever": STANDARD, "query": MATCH}, None),
        ({"retriever": {"standard": {**STANDARD["standard"], "_name": "x"}}}, None),
        ({"retriever": {**STANDARD, "knn": KNN}}, None),
        ({"retriever": {"knn": KNN}}, None),
        ({"retriever": {"standard": []}}, None),
        ({"retriever": 3}, None),
    ],
)
def test_a_standard_retriever_as_a_search(
    body: dict[str, Any], search: dict[str, Any] | None
) -> None:
    before = str(body)
    assert as_search(body) == (body if search is None else search)
    assert str(body) == before


@pytest.mark.parametrize("filters", [MATCH, [MATCH], None, []])
def test_filters_of_a_standard_retriever(hiding: Decision, filters: Any) -> None:
    found = safe_retriever({"standard": {"filter": filters}}, "retriever", hiding, demote=True)
    query = {"bool": {"must": [ALL], "filter": [MATCH]}} if filters else ALL
    assert found == {"standard": {"query": without_hidden(query, hiding)}}


def test_nearest_neighbours_are_demoted_by_a_last_rescorer(
    hiding: Decision, demoting: Decision
) -> None:
    given = {"knn": KNN}
    assert safe_retriever(given, "retriever", hiding, demote=True) == safe_knn(hiding)
    assert safe_retriever(given, "retriever", demoting, demote=False) == safe_knn(demoting)
    assert safe_retriever(given, "retriever", demoting, demote=True) == {
        "rescorer": {
            "retriever": safe_knn(demoting),
            "rescore": multiplying([], demoting, 1, ""),
        }
    }


@pytest.mark.parametrize(("size", "window"), [({}, 10), ({"size": 4}, 4), ({"size": "4"}, 4)])
def test_a_choice_of_different_hits_is_demoted_by_a_last_rescorer(
    hiding: Decision, demoting: Decision, size: dict[str, Any], window: int
) -> None:
    options = {"type": "mmr", "field": "v", "rank_window_size": 30, "filter": [MATCH], **size}
    given = {"diversify": {"retriever": {"knn": KNN}, **options}}

    def safe(decision: Decision) -> dict[str, Any]:
        return {"diversify": {"retriever": safe_knn(decision), **options}}

    assert safe_retriever(given, "retriever", hiding, demote=True) == safe(hiding)
    assert safe_retriever(given, "retriever", demoting, demote=False) == safe(demoting)
    assert safe_retriever(given, "retriever", demoting, demote=True) == {
        "rescorer": {
            "retriever": safe(demoting),
            "rescore": multiplying([], demoting, window, ""),
        }
    }


def test_a_rescorer_ends_with_the_factor(hiding: Decision, demoting: Decision) -> None:
    for rescore, window in (
        (RESCORE, 20),
        ([RESCORE], 20),
        ([{**RESCORE, "window_size": 50}, RESCORE], 50),
        ({"query": {"rescore_query": MATCH}}, 10),
        ([{**RESCORE, "window_size": "wide"}], 10),
    ):
        given = {"rescorer": {"retriever": STANDARD, "rescore": rescore, "filter": MATCH}}
        own = rescore if isinstance(rescore, list) else [rescore]
        for decision in (hiding, demoting):
            rescorers = multiplying(own, decision, window, "") if decision is demoting else own
            assert safe_retriever(given, "retriever", decision, demote=True) == {
                "rescorer": {
                    "retriever": {"standard": {"query": without_hidden(MATCH, decision)}},
                    "rescore": rescorers,
                    "filter": MATCH,
                }
            }


def test_fusions_get_filters_in_every_leaf(hiding: Decision) -> None:
    standard = {"standard": {"query": without_hidden(MATCH, hiding)}}
    weighted = {"retriever": {"knn": KNN}, "weight": 2, "normalizer": "l2_norm"}
    for kind, rest in (("rrf", {"rank_constant": 20}), ("linear", {"normalizer": "minmax"})):
        given = {"retrievers": [STANDARD, weighted], "filter": [MATCH], **rest}
        assert safe_retriever({kind: given}, "retriever", hiding, demote=True) == {
            kind: {
                "retrievers": [standard, {**weighted, "retriever": safe_knn(hiding)}],
                "filter": [MATCH],
                **rest,
            }
        }
    reranker = {"retriever": STANDARD, "field": "title", "inference_text": "cat"}
    found = safe_retriever({"text_similarity_reranker": reranker}, "r", hiding, demote=True)
    assert found == {"text_similarity_reranker": {**reranker, "retriever": standard}}


@pytest.mark.parametrize("kind", ["rrf", "linear", "text_similarity_reranker"])
def test_fusions_cannot_carry_a_factor(demoting: Decision, kind: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        safe_retriever({kind: {"retrievers": []}}, "retriever", demoting, demote=True)
    assert caught.value.key == f"retriever.{kind}"


def test_fusions_where_the_caller_demotes(demoting: Decision) -> None:
    standard = {"standard": {"query": without_hidden(MATCH, demoting)}}
    given = {"retrievers": [STANDARD, {"retriever": STANDARD}]}
    found = safe_retriever({"rrf": given}, "retriever", demoting, demote=False)
    assert found == {"rrf": {"retrievers": [standard, {"retriever": standard}]}}
    given = {"retriever": STANDARD}
    found = safe_retriever({"text_similarity_reranker": given}, "r", demoting, demote=False)
    assert found == {"text_similarity_reranker": {"retriever": standard}}


def test_the_place_of_a_sort_in_a_retriever(demoting: Decision) -> None:
    given = {"sort": ["price", "_score"], "collapse": {"field": "g"}}
    with pytest.raises(UnsafeRequest) as caught:
        safe_retriever({"standard": given}, "retriever", demoting, demote=True)
    assert caught.value.key == "retriever.standard.sort"
    found = safe_retriever({"standard": given}, "retriever", demoting, demote=False)
    assert found == {"standard": {**given, "query": without_hidden(ALL, demoting)}}


@pytest.mark.parametrize(
    ("retriever", "key"),
    [
        ({}, "retriever"),
        ("standard", "retriever"),
        ({"standard": {}, "knn": {}}, "retriever"),
        ({"standard": []}, "retriever.standard"),
        ({"pinned": {"retriever": STANDARD, "ids": ["1"]}}, "retriever.pinned"),
        ({"rule": {"retriever": STANDARD}}, "retriever.rule"),
        ({"diversify": {"retriever": {"x": {}}}}, "retriever.diversify.retriever.x"),
        ({"diversify": {"retriever": STANDARD, "other": 1}}, "retriever.diversify.other"),
        (
            {"diversify": {"retriever": STANDARD, "query_vector_builder": {"lookup": {}}}},
            "retriever.diversify.query_vector_builder",
        ),
        ({"standard": {"other": 1}}, "retriever.standard.other"),
        ({"knn": {**KNN, "other": 1}}, "retriever.knn.other"),
        ({"standard": {"query": {"x": 1}}}, "retriever.standard.query.x"),
        ({"standard": {"filter": [{"x": 1}]}}, "retriever.standard.filter.0.x"),
        ({"standard": {"sort": 3}}, "retriever.standard.sort"),
        ({"standard": {"collapse": 3}}, "retriever.standard.collapse"),
        ({"knn": {**KNN, "filter": {"x": 1}}}, "retriever.knn.filter.0.x"),
        ({"rescorer": {"retriever": STANDARD, "other": 1}}, "retriever.rescorer.other"),
        ({"rescorer": {"rescore": RESCORE}}, "retriever.rescorer.retriever"),
        (
            {"rescorer": {"retriever": {"standard": {"query": {"x": 1}}}, "rescore": RESCORE}},
            "retriever.rescorer.retriever.standard.query.x",
        ),
        (
            {"rescorer": {"retriever": STANDARD, "rescore": RESCORE, "filter": {"x": 1}}},
            "retriever.rescorer.filter.x",
        ),
        (
            {"rescorer": {"retriever": STANDARD, "rescore": {"script": {}}}},
            "retriever.rescorer.rescore",
        ),
        ({"rrf": {"query": "cat", "fields": ["title"]}}, "retriever.rrf.query"),
        ({"rrf": {"retrievers": [{"x": {}}]}}, "retriever.rrf.retrievers.0.x"),
        ({"rrf": {"retrievers": [STANDARD, 3]}}, "retriever.rrf.retrievers.1"),
        (
            {"linear": {"retrievers": [STANDARD, {"retriever": {"x": {}}}]}},
            "retriever.linear.retrievers.1.retriever.x",
        ),
        (
            {"linear": {"retrievers": [{"retriever": STANDARD, "other": 1}]}},
            "retriever.linear.retrievers.0.other",
        ),
        ({"rrf": {"retrievers": [], "filter": [{"x": 1}]}}, "retriever.rrf.filter.0.x"),
        (
            {"text_similarity_reranker": {"retriever": {"x": {}}}},
            "retriever.text_similarity_reranker.retriever.x",
        ),
    ],
)
def test_what_is_refused(hiding: Decision, retriever: Any, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        safe_retriever(retriever, "retriever", hiding, demote=True)
    assert caught.value.key == key


def test_a_bound_after_rescoring_would_see_the_factor(hiding: Decision, demoting: Decision) -> None:
    given = {"rescorer": {"retriever": STANDARD, "rescore": RESCORE, "min_score": 1}}
    with pytest.raises(UnsafeRequest) as caught:
        safe_retriever(given, "retriever", demoting, demote=True)
    assert caught.value.key == "retriever.rescorer.min_score"
    assert safe_retriever(given, "retriever", hiding, demote=True)["rescorer"]["min_score"] == 1
