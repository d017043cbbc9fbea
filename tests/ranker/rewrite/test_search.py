from __future__ import annotations

import json
from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.mappings.fields import SafetyFields
from saferank.ranker.bodies import names
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Level
from saferank.ranker.rewrite.limits import Limits
from saferank.ranker.rewrite.neighbours import nearest_request, neighbours_query
from saferank.ranker.rewrite.query import without_hidden
from saferank.ranker.rewrite.ranking import demoting as multiplied
from saferank.ranker.rewrite.ranking import multiplying, ranked
from saferank.ranker.rewrite.search import restore_response, rewrite_count, rewrite_search

ALL = {"match_all": {}}
MATCH = {"match": {"title": "cat"}}
LOOKUP = {"terms": {"tag": {"index": "x", "id": "1", "path": "tags"}}}
KNN = {"field": "v", "query_vector": [1], "k": 3, "num_candidates": 5}
HITS = [
    {"_index": "i", "_id": "1", "_score": 0.5},
    {"_index": "i", "_id": "2", "_score": 0.25},
]
RESCORE = {"window_size": 20, "query": {"rescore_query": MATCH}}


def visible(decision: Decision, query: Any = ALL) -> dict[str, Any]:
    return without_hidden(query, decision)


def safe(decision: Decision, **more: Any) -> dict[str, Any]:
    return {**KNN, **more, "filter": [visible(decision)]}


@pytest.mark.parametrize("body", [None, {}, {"size": 3}])
def test_a_search_without_a_query(hiding: Decision, body: dict[str, Any] | None) -> None:
    assert rewrite_search(body, hiding) == {**(body or {}), "query": visible(hiding)}


def test_hiding_only(demoting: Decision) -> None:
    body = {"query": MATCH, "sort": ["price"], "min_score": 1, "rescore": RESCORE}
    found = rewrite_search(body, demoting, demote=False)
    assert found == {**body, "query": visible(demoting, MATCH), "rescore": [RESCORE]}


def test_demotion(demoting: Decision) -> None:
    found = rewrite_search({"query": MATCH, "rescore": RESCORE}, demoting)
    assert found == {
        "query": multiplied(visible(demoting, MATCH), demoting),
        "rescore": [{**RESCORE, "query": {"rescore_query": multiplied(MATCH, demoting)}}],
    }


def test_checked_parts_are_passed_as_they_are(hiding: Decision) -> None:
    body = {
        "post_filter": MATCH,
        "highlight": {"fields": {"title": {"highlight_query": MATCH}}},
        "collapse": {"field": "g", "inner_hits": {"name": "a"}},
        "aggregations": {"words": {"terms": {"field": "word"}}},
        "runtime_mappings": {"x": {"type": "keyword"}},
        "script_fields": {"y": {"script": "1"}},
        "rescore": [RESCORE],
    }
    assert rewrite_search(body, hiding) == {**body, "query": visible(hiding)}


def test_a_rescorer_that_lowers_scores_is_paged(demoting: Decision, hiding: Decision) -> None:
    lowering = {"query": {"rescore_query": MATCH, "score_mode": "multiply"}}
    for decision in (hiding, demoting):
        for body in ({"query": MATCH}, {"query": MATCH, "knn": KNN}):
            for limits, window in ((Limits(), 10_000), (Limits(500, 300), 300)):
                request = {**body, "rescore": lowering}
                found = rewrite_search(request, decision, limits=limits, nearest=[])["rescore"]
                assert {item.get("window_size") for item in found} == {None, window}


def test_the_body_is_not_changed(demoting: Decision) -> None:
    body = {
        "query": {"bool": {"must": [{"knn": KNN}]}},
        "aggs": {"all": {"global": {}, "aggs": {"words": {"terms": {"field": "word"}}}}},
        "sort": ["price"],
        "collapse": {"field": "g", "inner_hits": {"name": "a", "sort": ["price"]}},
        "min_score": 1,
    }
    before = json.dumps(body)
    rewrite_search(body, demoting)
    rewrite_search({**body, "knn": KNN}, demoting, nearest=HITS)
    nearest_request({**body, "knn": KNN}, demoting)
    assert json.dumps(body) == before


PASSED = names(
    """
    _source docvalue_fields explain fields from indices_boost min_score pit profile search_after
    seq_no_primary_term size slice stats stored_fields terminate_after timeout track_scores
    track_total_hits version
    """
)


def test_what_is_passed_on(hiding: Decision) -> None:
    body = {key: [key] for key in PASSED}
    assert rewrite_search(body, hiding) == {**body, "query": visible(hiding)}


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"ext": {}}, "ext"),
        ({"rank": {"rrf": {}}}, "rank"),
        ({"sub_searches": []}, "sub_searches"),
        ({"unknown": 1}, "unknown"),
        ({"query": LOOKUP}, "query.terms.tag"),
        ({"query": None}, "query"),
        ({"post_filter": LOOKUP}, "post_filter.terms.tag"),
        ({"aggs": {"a": {"filter": LOOKUP}}}, "aggs.a.filter.terms.tag"),
        ({"aggregations": {"a": {"filter": LOOKUP}}}, "aggregations.a.filter.terms.tag"),
        ({"highlight": {"highlight_query": LOOKUP}}, "highlight.highlight_query.terms.tag"),
        ({"collapse": "g"}, "collapse"),
        ({"sort": 1}, "sort"),
        ({"knn": KNN, "sort": 1}, "sort"),
        ({"suggest": {"s": {"text": "x", "term": {"field": "t"}}}}, "suggest"),
        ({"suggest": {"s": {"text": "x", "term": {"unknown": 1}}}}, "suggest.s.term.unknown"),
        ({"suggest": {"s": {"prefix": "x", "completion": {"field": "t"}}}}, "suggest"),
        ({"explain": True, "query": {"fuzzy": {"title": "cat"}}}, "explain"),
        ({"runtime_mappings": [{"x": {"type": "lookup"}}]}, "runtime_mappings"),
        ({"runtime_mappings": {"x": [{"type": "lookup"}]}}, "runtime_mappings.x"),
        ({"rescore": {"script": {}}}, "rescore"),
        ({"knn": KNN, "rescore": {"script": {}}}, "rescore"),
        ({"knn": {**KNN, "filter": LOOKUP}}, "knn.filter.0.terms.tag"),
        ({"knn": [KNN, {**KNN, "filter": [LOOKUP]}]}, "knn.1.filter.0.terms.tag"),
        ({"knn": KNN, "query": LOOKUP}, "query.terms.tag"),
        ({"retriever": {"x": {}}}, "retriever.x"),
        ({"retriever": {"knn": {**KNN, "x": 1}}}, "retriever.knn.x"),
        ({"retriever": {"knn": {**KNN, "filter": LOOKUP}}}, "retriever.knn.filter.0.terms.tag"),
        (
            {"retriever": {"knn": KNN}, "collapse": {"field": "g", "inner_hits": {"name": "a"}}},
            "retriever.knn",
        ),
        (
            {
                "retriever": {"knn": KNN},
                "search_after": [1],
                "collapse": {"field": "g", "inner_hits": {"name": "a"}},
            },
            "collapse.inner_hits",
        ),
        ({"runtime_mappings": {"x": {"type": "lookup"}}}, "runtime_mappings.x"),
        ({"runtime_mappings": {"safety": {"type": "composite"}}}, "runtime_mappings.safety"),
        (
            {"runtime_mappings": {"safety.probability": {"type": "double"}}},
            "runtime_mappings.safety.probability",
        ),
        ({"script_fields": {"safety.status": {"script": "1"}}}, "script_fields.safety.status"),
    ],
)
@pytest.mark.parametrize("level", ["hiding", "demoting"])
def test_what_is_refused(
    request: pytest.FixtureRequest, level: str, body: dict[str, Any], key: str
) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        rewrite_search(body, request.getfixturevalue(level))
    assert caught.value.key == key


def test_a_suggestion_is_fine_where_nothing_is_hidden(open_level: Decision) -> None:
    body = {"suggest": {"s": {"text": "x", "term": {"field": "t"}}}}
    assert rewrite_search(body, open_level) == {**body, "query": ALL}


def test_runtime_fields_beside_the_safety_fields(hiding: Decision) -> None:
    mappings = {
        "safe": {"type": "keyword"},
        "safety_note": {"type": "keyword"},
        "other": {"type": "composite", "fields": {"probability": {"type": "double"}}},
    }
    body = {"runtime_mappings": mappings, "script_fields": {"safety_sum": {"script": "1"}}}
    assert rewrite_search(body, hiding)["runtime_mappings"] == mappings
    assert rewrite_search(body, hiding)["script_fields"] == body["script_fields"]


@pytest.mark.parametrize(
    "mappings",
    [
        {"a": {"type": "composite", "fields": {"b.probability": {"type": "double"}}}},
        {"a.b": {"type": "composite", "fields": {"status": {"type": "keyword"}}}},
        {"people": {"type": "keyword"}},
        {"people.override": {"type": "keyword"}},
        {"people.override.text": {"type": "keyword"}},
        {"a.b.model": {"type": "keyword"}},
    ],
)
def test_runtime_fields_in_the_place_of_renamed_ones(mappings: dict[str, Any]) -> None:
    decision = Decision.of(
        level_name="x",
        level=Level(hide_from=0.5, unscored="hide"),
        fields=SafetyFields("a.b", "people"),
    )
    with pytest.raises(UnsafeRequest, match="take the place"):
        rewrite_search({"runtime_mappings": mappings}, decision)


def test_neighbours_stay_beside_the_query_where_nothing_is_demoted(hiding: Decision) -> None:
    assert rewrite_search({"knn": KNN, "size": 3}, hiding) == {"knn": [safe(hiding)], "size": 3}
    both = rewrite_search({"knn": [KNN, KNN], "query": MATCH, "rescore": RESCORE}, hiding)
    assert both == {
        "knn": [safe(hiding), safe(hiding)],
        "query": visible(hiding, MATCH),
        "rescore": [RESCORE],
    }


@pytest.mark.parametrize("sort", [{}, {"sort": "_score"}, {"sort": ["_score"]}])
def test_neighbours_alone_are_demoted_by_a_last_rescorer(
    demoting: Decision, sort: dict[str, Any]
) -> None:
    found = rewrite_search({"knn": KNN, "rescore": RESCORE, "min_score": 1, **sort}, demoting)
    assert found == {
        "knn": [safe(demoting)],
        "rescore": multiplying([RESCORE], demoting, 3, "rescore"),
        "min_score": 1,
        **sort,
    }
    nested = {**KNN, "field": "parts.v", "inner_hits": {}}
    assert rewrite_search({"knn": [nested]}, demoting)["knn"] == [
        {**safe(demoting), "field": "parts.v", "inner_hits": {}}
    ]


def test_neighbours_and_a_query_are_demoted_together(demoting: Decision) -> None:
    nothing = {
        "field": "v",
        "query_vector": [1],
        "k": 1,
        "num_candidates": 1,
        "filter": {"match_none": {}},
    }
    body = {"knn": KNN, "query": MATCH, "size": 3}
    assert rewrite_search(body, demoting, nearest=HITS) == {
        **ranked({"size": 3}, neighbours_query(HITS, MATCH), demoting),
        "knn": nothing,
    }
    with pytest.raises(UnsafeRequest) as caught:
        rewrite_search({**body, "knn": [{**KNN, "inner_hits": {}}]}, demoting, nearest=HITS)
    assert caught.value.key == "knn.inner_hits"


@pytest.mark.parametrize(
    "rest",
    [
        {"sort": ["price"]},
        {"sort": ["_score", "price"], "search_after": [1, 2]},
        {"sort": ["_score"], "search_after": [1]},
        {"sort": [{"_score": "desc"}, "price"]},
        {"collapse": {"field": "g"}},
    ],
)
def test_neighbours_in_another_order_are_found_first(
    demoting: Decision, rest: dict[str, Any]
) -> None:
    body = {"knn": KNN, **rest}
    expected = ranked(rest, neighbours_query(HITS), demoting)
    assert rewrite_search(body, demoting, nearest=HITS) == expected
    with pytest.raises(UnsafeRequest, match="nearest_request") as caught:
        rewrite_search(body, demoting)
    assert caught.value.key == "knn"


@pytest.mark.parametrize("nothing", [None, []])
def test_no_neighbours_leave_the_query_alone(demoting: Decision, nothing: Any) -> None:
    found = rewrite_search({"query": MATCH, "knn": nothing}, demoting)
    assert found == {**rewrite_search({"query": MATCH}, demoting), "knn": nothing}


def test_in_a_scroll_without_rescorers_neighbours_are_found_first(
    demoting: Decision, hiding: Decision
) -> None:
    for body in ({"knn": KNN}, {"retriever": {"knn": KNN}}):
        found = rewrite_search(body, demoting, scroll=True, nearest=HITS)
        assert found == ranked({}, neighbours_query(HITS), demoting)
        assert rewrite_search(body, hiding, scroll=True) == {"knn": [safe(hiding)]}
    standard = {"retriever": {"standard": {"query": MATCH}}}
    assert rewrite_search(standard, demoting, scroll=True) == rewrite_search(standard, demoting)
    with pytest.raises(UnsafeRequest) as caught:
        rewrite_search({"retriever": {"rescorer": {}}}, demoting, scroll=True)
    assert caught.value.key == "retriever"


def test_neighbours_whose_hits_the_caller_demotes(demoting: Decision) -> None:
    body = {"knn": KNN, "sort": ["price"], "rescore": RESCORE}
    found = rewrite_search(body, demoting, demote=False)
    assert found == {"knn": [safe(demoting)], "sort": ["price"], "rescore": [RESCORE]}


def test_a_number_of_neighbours_that_is_none_is_for_the_engine_to_refuse(
    demoting: Decision,
) -> None:
    assert rewrite_search({"knn": {**KNN, "k": "many"}}, demoting)["knn"] == [
        {**safe(demoting), "k": "many"}
    ]


def test_more_neighbours_than_a_rescorer_reaches_are_found_first(demoting: Decision) -> None:
    most = {**KNN, "k": 5000, "num_candidates": 5000}
    assert "knn" in rewrite_search({"knn": [most, most]}, demoting)
    more = rewrite_search({"knn": [most, most, KNN]}, demoting, nearest=HITS)
    assert "knn" not in more
    assert "rescore" not in more
    fewer = rewrite_search({"knn": [most]}, demoting, limits=Limits(5000, 4999), nearest=HITS)
    assert fewer == ranked({}, neighbours_query(HITS), demoting)


def test_groups_of_neighbours_need_a_query_where_anything_is_hidden(
    hiding: Decision, open_level: Decision
) -> None:
    collapse = {"field": "g", "inner_hits": {"name": "a"}}
    body = {"knn": KNN, "collapse": collapse}
    found = rewrite_search(body, hiding, nearest=HITS)
    assert found == {"collapse": collapse, "query": visible(hiding, neighbours_query(HITS))}
    assert rewrite_search(body, open_level) == {"knn": [KNN], "collapse": collapse}
    both = rewrite_search({"knn": KNN, "query": MATCH, "collapse": collapse}, hiding)
    assert both["knn"] == [safe(hiding)]
    plain = rewrite_search({"knn": KNN, "collapse": {"field": "g"}}, hiding)
    assert plain == {"knn": [safe(hiding)], "collapse": {"field": "g"}}


def test_a_retriever_is_made_safe_and_keeps_what_stands_beside_it(
    hiding: Decision, demoting: Decision
) -> None:
    collapse = {"field": "g", "inner_hits": {"name": "a"}}
    body = {"retriever": {"standard": {"query": MATCH}}, "size": 3, "collapse": collapse}
    standard = {"standard": {"query": visible(hiding, MATCH)}}
    assert rewrite_search({**body, "min_score": 1}, hiding) == {
        **body,
        "min_score": 1,
        "retriever": standard,
    }
    with pytest.raises(UnsafeRequest) as caught:
        rewrite_search({**body, "min_score": 0}, demoting)
    assert caught.value.key == "min_score"
    knn = {"retriever": {"knn": KNN}, "collapse": {"field": "g"}}
    found = rewrite_search(knn, demoting, demote=False)
    assert found == {"knn": [safe(demoting)], "collapse": {"field": "g"}}


def test_a_count_counts_visible_documents_and_takes_only_a_query(demoting: Decision) -> None:
    assert rewrite_count(None, demoting) == {"query": visible(demoting)}
    assert rewrite_count({"query": MATCH}, demoting) == {"query": visible(demoting, MATCH)}
    for body, key in (({"min_score": 1}, "min_score"), ({"query": LOOKUP}, "query.terms.tag")):
        with pytest.raises(UnsafeRequest) as caught:
            rewrite_count(body, demoting)
        assert caught.value.key == key


def test_a_response_gets_its_shape_back() -> None:
    wrapped = {"all": {"doc_count": 9, "saferank-visible": {"doc_count": 2}}}
    response = {"hits": {"hits": []}, "aggregations": wrapped}
    assert restore_response(response) == {
        "hits": {"hits": []},
        "aggregations": {"all": {"doc_count": 2}},
    }
    assert response["aggregations"] is wrapped
    assert restore_response({"took": 1}) == {"took": 1}


NESTED = {"nested": {"path": "parts", "query": MATCH}}


@pytest.mark.parametrize(
    "body",
    [
        {"query": NESTED, "min_score": 1},
        {"retriever": {"standard": {"query": NESTED, "min_score": 1}}},
    ],
)
def test_highlights_are_of_the_query_as_given(body: dict[str, Any], demoting: Decision) -> None:
    highlight = {"fields": {"title": {}}}
    found = rewrite_search({**body, "highlight": highlight}, demoting)["highlight"]
    assert found == {**highlight, "highlight_query": NESTED}
    own = {**highlight, "highlight_query": MATCH}
    assert rewrite_search({**body, "highlight": own}, demoting)["highlight"] == own


def test_highlights_without_a_bound_or_a_query_stay_as_they_are(demoting: Decision) -> None:
    highlight = {"fields": {"title": {}}}
    for body in ({"knn": KNN}, {"query": NESTED}, {"min_score": 1}):
        found = rewrite_search({**body, "highlight": highlight}, demoting)
        assert found["highlight"] == highlight


@pytest.mark.parametrize(
    "retriever",
    [
        {"standard": {"query": MATCH, "min_score": 1}},
        {"rescorer": {"retriever": {"standard": {"query": MATCH, "min_score": 1}}}},
    ],
)
def test_a_bound_in_a_retriever_must_not_see_boosts_and_demotion_together(
    retriever: dict[str, Any], demoting: Decision, hiding: Decision
) -> None:
    body = {"retriever": retriever, "indices_boost": [{"x": 2}]}
    with pytest.raises(UnsafeRequest) as caught:
        rewrite_search(body, demoting)
    assert caught.value.key == "indices_boost"
    assert rewrite_search(body, hiding)["indices_boost"] == [{"x": 2}]
    bare = {"retriever": {"standard": {"query": MATCH}}, "indices_boost": [{"x": 2}]}
    assert rewrite_search(bare, demoting)["indices_boost"] == [{"x": 2}]


def test_what_is_not_known_is_refused_wherever_it_stands(hiding: Decision) -> None:
    for body in ({"query": MATCH, "ext": {}}, {"ext": {}, "query": MATCH}):
        with pytest.raises(UnsafeRequest, match="ext"):
            rewrite_search(body, hiding)


CHILD = {"has_child": {"type": "part", "query": MATCH}}


def test_queries_in_places_of_their_own_see_the_decision(hiding: Decision) -> None:
    """Where such a query is checked for a level, it must be that of the request."""
    nested_sort = [{"price": {"order": "asc", "nested": {"path": "p", "filter": CHILD}}}]
    highlight = {"fields": {"title": {}}, "highlight_query": CHILD}
    body = {"query": MATCH, "sort": nested_sort, "highlight": highlight}
    found = rewrite_search(body, hiding)
    assert (found["sort"], found["highlight"]) == (nested_sort, highlight)
    assert rewrite_search({"knn": KNN, "sort": nested_sort}, hiding)["sort"] == nested_sort


@pytest.mark.parametrize("query", [{}, {"query": MATCH}])
def test_children_in_a_rescorer_beside_neighbours_are_filtered(
    hiding: Decision, query: dict[str, Any]
) -> None:
    rescore = {"window_size": 5, "query": {"rescore_query": CHILD}}
    found = rewrite_search({"knn": KNN, "rescore": rescore, **query}, hiding)
    relative = found["rescore"][0]["query"]["rescore_query"]["has_child"]
    assert relative == {**CHILD["has_child"], "query": visible(hiding, MATCH)}


def test_children_in_a_rescorer_of_demoted_neighbours_are_filtered(demoting: Decision) -> None:
    rescore = {"window_size": 5, "query": {"rescore_query": CHILD}}
    found = rewrite_search({"knn": KNN, "rescore": rescore}, demoting)
    relative = found["rescore"][0]["query"]["rescore_query"]["has_child"]
    assert relative == {**CHILD["has_child"], "query": visible(demoting, MATCH)}


def test_children_in_a_count_are_filtered(hiding: Decision) -> None:
    filtered = {"has_child": {**CHILD["has_child"], "query": visible(hiding, MATCH)}}
    assert rewrite_count({"query": CHILD}, hiding) == {"query": visible(hiding, filtered)}


def test_a_window_that_no_rescorer_reaches_is_refused_where_it_is_demoted(
    hiding: Decision, demoting: Decision
) -> None:
    limits = Limits(rescore_window=30)
    for window, refused in ((30, False), (31, True)):
        body = {"retriever": {"rrf": {"retrievers": [], "rank_window_size": window}}}
        assert rewrite_search(body, hiding, limits=limits) == body
        if refused:
            with pytest.raises(
                UnsafeRequest, match=r"31 are more .* 'index.max_rescore_window' \(30"
            ):
                rewrite_search(body, demoting, limits=limits)
        else:
            assert rewrite_search(body, demoting, limits=limits)["retriever"]["rescorer"]
