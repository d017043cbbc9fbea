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


def test_hits_of_a_rescorer_are_demoted_in_all_of_its_window(
    hiding: Decision, demoting: Decision
) -> None:
    for rescore, window in (
        (RESCORE, 20),
        ([RESCORE], 20),
        ([{**RESCORE, "window_size": 50}, RESCORE], 20),
        ({"query": {"rescore_query": MATCH}}, 10),
        ([{**RESCORE, "window_size": "wide"}], 10),
    ):
        given = {
            "rescorer": {
                "retriever": STANDARD,
                "rescore": rescore,
                "filter": MATCH,
                "min_score": 1,
            }
        }
        own = rescore if isinstance(rescore, list) else [rescore]

        def safe(decision: Decision, given: Any = given, own: Any = own) -> dict[str, Any]:
            retriever = {"standard": {"query": without_hidden(MATCH, decision)}}
            return {"rescorer": {**given["rescorer"], "retriever": retriever, "rescore": own}}

        assert safe_retriever(given, "retriever", hiding, demote=True) == safe(hiding)
        assert safe_retriever(given, "retriever", demoting, demote=True) == {
            "rescorer": {
                "retriever": safe(demoting),
                "rescore": multiplying([], demoting, window, ""),
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


@pytest.mark.parametrize("window", [{}, {"rank_window_size": 40}, {"rank_window_size": "40"}])
@pytest.mark.parametrize("kind", ["rrf", "linear", "text_similarity_reranker"])
def test_fusions_are_demoted_in_all_of_their_window(
    demoting: Decision, kind: str, window: dict[str, Any]
) -> None:
    options = {"min_score": 0.1, **window}
    own = (
        {"retriever": STANDARD}
        if kind == "text_similarity_reranker"
        else {"retrievers": [STANDARD, {"retriever": {"knn": KNN}}]}
    )
    safe = safe_retriever({kind: {**own, **options}}, "r", demoting, demote=False)
    assert safe[kind].items() >= options.items()
    assert safe_retriever({kind: {**own, **options}}, "r", demoting, demote=True) == {
        "rescorer": {
            "retriever": safe,
            "rescore": multiplying([], demoting, 40 if window else 10, ""),
        }
    }


def test_fusions_in_each_other_are_demoted_once(demoting: Decision) -> None:
    inner = {"linear": {"retrievers": [{"retriever": STANDARD}], "rank_window_size": 50}}
    outer = {"rrf": {"retrievers": [inner, {"retriever": inner, "weight": 2}]}}
    found = safe_retriever(outer, "r", demoting, demote=True)
    assert str(found).count("function_score") == str(multiplying([], demoting, 1, "")).count(
        "function_score"
    )
    assert str(found).count(str(without_hidden(MATCH, demoting))) == 2


@pytest.mark.parametrize("kind", ["rrf", "linear"])
@pytest.mark.parametrize("filters", [[], MATCH, [MATCH, ALL]])
def test_the_short_form_gets_a_filter_for_the_retrievers_it_stands_for(
    hiding: Decision, open_level: Decision, kind: str, filters: Any
) -> None:
    given = {
        kind: {"query": "cat", "fields": ["title^2"], **({"filter": filters} if filters else {})}
    }
    own = filters if isinstance(filters, list) else [filters]
    found = safe_retriever(given, "r", hiding, demote=True)
    assert found == {kind: {**given[kind], "filter": [*own, without_hidden(ALL, hiding)]}}
    assert safe_retriever(given, "r", open_level, demote=True) == given


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
        ({"pinned": {"retriever": {"knn": KNN}, "ids": ["1"]}}, "retriever.pinned"),
        ({"pinned": {"retriever": STANDARD, "other": 1}}, "retriever.pinned.other"),
        (
            {"pinned": {"retriever": {"standard": {"query": {"x": 1}}}, "ids": ["1"]}},
            "retriever.pinned.retriever.standard.query.x",
        ),
        ({"rule": {"retriever": {"knn": KNN}}}, "retriever.rule"),
        ({"rule": {"retriever": STANDARD, "filter": {"x": 1}}}, "retriever.rule.filter.0.x"),
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
        ({"rrf": {"query": "cat", "other": 1}}, "retriever.rrf.other"),
        ({"rrf": {"query": "cat", "filter": {"x": 1}}}, "retriever.rrf.filter.x"),
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


def test_a_negative_weight_before_the_factor_is_refused(demoting: Decision) -> None:
    rescore = {"query": {**RESCORE["query"], "rescore_query_weight": -1}}
    given = {"rescorer": {"retriever": STANDARD, "rescore": rescore, "min_score": 1}}
    with pytest.raises(UnsafeRequest) as caught:
        safe_retriever(given, "r", demoting, demote=True)
    assert caught.value.key == "r.rescorer.rescore.query.rescore_query_weight"
