from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.query import without_hidden
from saferank.ranker.rewrite.ranking import (
    DEPTH,
    Order,
    demoting,
    multiplying,
    order_of,
    paged,
    ranked,
    safe_collapse,
    safe_rescore,
)

MATCH = {"match": {"title": "cat"}}
LOOKUP = {"terms": {"tag": {"index": "x", "id": "1", "path": "tags"}}}
BAND = {"_score": "desc"}


@pytest.fixture(scope="module")
def demoted(demoting: Decision) -> Decision:
    return demoting


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (None, Order.RELEVANCE),
        ([], Order.RELEVANCE),
        ("_score", Order.RELEVANCE),
        (["_score", "price"], Order.RELEVANCE),
        ([{"_score": {"order": "desc"}}], Order.RELEVANCE),
        ({"_score": "DESC"}, Order.RELEVANCE),
        ({"_score": {}}, Order.RELEVANCE),
        ({"_score": "asc"}, Order.FIELD),
        ({"_score": {"order": "asc"}}, Order.FIELD),
        ("price", Order.FIELD),
        ([{"price": "desc"}, "_score"], Order.FIELD),
        ("_doc", Order.NOTHING),
        ([{"_doc": "asc"}], Order.NOTHING),
        (["_shard_doc"], Order.NOTHING),
        ([{"_geo_distance": {"place": [0, 0]}}], Order.FIELD),
    ],
)
def test_what_a_sort_orders_by(hiding: Decision, sort: Any, order: Order) -> None:
    assert order_of(sort, "sort", hiding) is order


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        (3, "sort"),
        ([["price"]], "sort"),
        ({"n": {"nested": {"path": "p", "filter": LOOKUP}}}, "sort.n.nested.filter.terms.tag"),
        (
            {"n": {"nested": {"path": "p", "nested": {"filter": LOOKUP}}}},
            "sort.n.nested.nested.filter.terms.tag",
        ),
    ],
)
def test_sorts_that_are_refused(hiding: Decision, sort: Any, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        order_of(sort, "sort", hiding)
    assert caught.value.key == key


def test_relevance_is_multiplied(demoted: Decision) -> None:
    body = {"size": 3, "sort": ["_score", "price"]}
    assert ranked(body, MATCH, demoted) == {
        "size": 3,
        "sort": ["_score", "price"],
        "query": {
            "function_score": {
                "query": without_hidden(MATCH, demoted),
                "functions": demoted.functions,
                "score_mode": "min",
            }
        },
    }


def test_a_bound_on_the_relevance_goes_inside(demoted: Decision) -> None:
    bounded = {"function_score": {"query": without_hidden(MATCH, demoted), "min_score": 0}}
    found = ranked({"min_score": 0}, MATCH, demoted)
    assert found == {"query": demoting(bounded, demoted)}
    found = ranked({"min_score": 0, "sort": ["price"]}, MATCH, demoted)
    assert "min_score" not in found
    assert found["query"]["function_score"]["query"] == {"constant_score": {"filter": bounded}}


def test_a_bound_on_boosted_relevance_cannot_be_kept(demoted: Decision) -> None:
    body = {"min_score": 1, "indices_boost": [{"x": 2}]}
    for sort in ({}, {"sort": ["price"]}):
        with pytest.raises(UnsafeRequest) as caught:
            ranked({**body, **sort}, MATCH, demoted)
        assert caught.value.key == "min_score"


def test_reading_everything_is_not_demoted(demoted: Decision) -> None:
    body = {"sort": "_doc", "min_score": 1}
    assert ranked(body, MATCH, demoted) == {**body, "query": without_hidden(MATCH, demoted)}


@pytest.mark.parametrize("sort", ["price", ["price"], {"price": "desc"}])
def test_a_sort_by_fields_gets_the_band_first(demoted: Decision, sort: Any) -> None:
    found = ranked({"sort": sort, "indices_boost": [{"x": 2}]}, MATCH, demoted)
    keys = sort if isinstance(sort, list) else [sort]
    assert found == {
        "sort": [BAND, *keys],
        "query": {
            "function_score": {
                "query": {"constant_score": {"filter": without_hidden(MATCH, demoted)}},
                "functions": [{"filter": demoted.demoted, "weight": 0.5}],
            }
        },
    }


@pytest.mark.parametrize("sort", [["price", "_score"], {"_score": "asc"}, [{"a": "asc", **BAND}]])
def test_the_score_cannot_be_band_and_sort_key_at_once(demoted: Decision, sort: Any) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        ranked({"sort": sort}, MATCH, demoted, "retriever.standard.")
    assert caught.value.key == "retriever.standard.sort"


@pytest.mark.parametrize(
    ("values", "pit", "fits"),
    [
        ([1, 5], False, True),
        ([5], False, False),
        ([1, 5, 7], False, False),
        ([5], True, False),
        ([1, 5], True, True),
        ([1, 5, 7], True, True),
        ([1, 5, 7, 8], True, False),
    ],
)
def test_a_cursor_must_come_from_the_same_kind_of_page(
    demoted: Decision, values: list[int], pit: bool, fits: bool
) -> None:
    body = {"sort": ["price"], "search_after": values, **({"pit": {"id": "x"}} if pit else {})}
    if fits:
        assert ranked(body, MATCH, demoted)["search_after"] == values
        return
    with pytest.raises(UnsafeRequest, match="2 values are expected") as caught:
        ranked(body, MATCH, demoted)
    assert caught.value.key == "search_after"


def test_a_cursor_into_relevance_is_the_applications_own(demoted: Decision) -> None:
    body = {"sort": ["_score", "price"], "search_after": [1, 2]}
    assert ranked(body, MATCH, demoted)["search_after"] == [1, 2]


def test_groups_under_a_sort_by_fields(demoted: Decision) -> None:
    inner = {"name": "a", "sort": ["price"]}
    for given, expected in (
        ({"field": "g"}, {"field": "g"}),
        (
            {"field": "g", "inner_hits": inner},
            {"field": "g", "inner_hits": {"name": "a", "sort": [BAND, "price"]}},
        ),
        (
            {"field": "g", "inner_hits": [inner]},
            {"field": "g", "inner_hits": [{"name": "a", "sort": [BAND, "price"]}]},
        ),
    ):
        found = ranked({"sort": ["price"], "collapse": given}, MATCH, demoted)
        assert found["collapse"] == expected
        assert ranked({"collapse": given}, MATCH, demoted)["collapse"] == given
    for sort in ({}, {"sort": "_score"}):
        collapse = {"field": "g", "inner_hits": {"name": "a", **sort}}
        with pytest.raises(UnsafeRequest) as caught:
            ranked({"sort": ["price"], "collapse": collapse}, MATCH, demoted)
        assert caught.value.key == "collapse.inner_hits.sort"


@pytest.mark.parametrize(
    ("collapse", "key"),
    [
        ("g", "collapse"),
        ({"inner_hits": ["x"]}, "collapse.inner_hits"),
        ({"inner_hits": {"sort": 3}}, "collapse.inner_hits.sort"),
        (
            {"inner_hits": {"highlight": {"highlight_query": LOOKUP}}},
            "collapse.inner_hits.highlight.highlight_query.terms.tag",
        ),
    ],
)
def test_groups_that_are_refused(hiding: Decision, collapse: Any, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        safe_collapse(collapse, "collapse", hiding)
    assert caught.value.key == key


def rescorer(**spec: Any) -> dict[str, Any]:
    return {"window_size": 20, "query": {"rescore_query": MATCH, **spec}}


@pytest.mark.parametrize("mode", [None, "total", "avg", "max", "min", "MIN"])
def test_a_rescore_query_is_demoted_like_the_query(demoted: Decision, mode: str | None) -> None:
    spec = {} if mode is None else {"score_mode": mode}
    found = safe_rescore(rescorer(**spec), "rescore", demoted, demote=True)
    assert found == [
        {"window_size": 20, "query": {**spec, "rescore_query": demoting(MATCH, demoted)}}
    ]


def test_a_product_needs_one_demoted_side_only(demoted: Decision) -> None:
    given = rescorer(score_mode="Multiply")
    assert safe_rescore([given], "rescore", demoted, demote=True) == [given]


def test_rescorers_stay_as_they_are_where_nothing_is_demoted(demoted: Decision) -> None:
    given = [rescorer(), rescorer(score_mode="avg")]
    assert safe_rescore(given, "rescore", demoted, demote=False) == given


@pytest.mark.parametrize(
    ("rescore", "key"),
    [
        ({"learning_to_rank": {"model_id": "x"}}, "rescore"),
        ([rescorer(), {"script": {}}], "rescore.1"),
        ({"query": "x"}, "rescore"),
        ("x", "rescore"),
        ({**rescorer(), "other": 1}, "rescore.other"),
        ({"query": {"rescore_query": LOOKUP}}, "rescore.query.rescore_query.terms.tag"),
        ({"query": {}}, "rescore.query.rescore_query"),
    ],
)
def test_rescorers_that_are_refused(hiding: Decision, rescore: Any, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        safe_rescore(rescore, "rescore", hiding, demote=True)
    assert caught.value.key == key


LOOK_AT_ALL = {"window_size": DEPTH, "query": {"rescore_query": {"match_none": {}}}}


@pytest.mark.parametrize(
    ("spec", "raises"),
    [
        ({}, True),
        ({"score_mode": "max", "query_weight": 0, "rescore_query_weight": 0.5}, True),
        ({"score_mode": "avg"}, False),
        ({"score_mode": "min"}, False),
        ({"score_mode": "multiply"}, False),
        ({"query_weight": -1}, False),
        ({"rescore_query_weight": -0.1}, False),
        ({"query_weight": "1"}, False),
    ],
)
def test_rescorers_that_lower_scores_look_at_everything(spec: dict[str, Any], raises: bool) -> None:
    assert DEPTH == 10_000
    one = [rescorer(**spec)]
    assert paged(one) == (one if raises else [*one, LOOK_AT_ALL])
    both = [rescorer(), *one]
    assert paged(both) == (both if raises else [*both, LOOK_AT_ALL])


def test_a_last_rescorer_multiplies(demoted: Decision, hiding: Decision) -> None:
    query = {"rescore_query": demoting({"match_all": {}}, demoted), "score_mode": "multiply"}
    assert multiplying(demoted) == [{"window_size": 10_000, "query": query}]
    assert multiplying(hiding) == []
    assert demoting(MATCH, hiding) is MATCH
